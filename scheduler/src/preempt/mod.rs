//! Making room: which pods of lower priority would have to go so that a pod fits somewhere.
//!
//! Looks at every node whose refusal other pods caused (upstream samples a tenth), takes all lower-priority pods off
//! a copy of it, puts back as many as still fit, the most important and those under a disruption budget first, and
//! picks the node where it costs least. Pure: a dry run on copies. Upstream: `framework/preemption`.

mod budgets;

pub use budgets::Budget;

use crate::cache::{NodeInfo, Snapshot};
use crate::cycle::{Checks, Trial};
use crate::failure::{Failure, Rejection, histogram};
use crate::framework::{Profile, Reason, Verdict};
use crate::pod::{NodeName, PodInfo};
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod that fitted nowhere, and all there is to know about it.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The pod that wants room.
    pub pod: &'a Arc<PodInfo>,
    /// The plugins that decide for it.
    pub profile: &'a Profile,
    /// The cluster as the failed cycle saw it.
    pub cluster: &'a Snapshot,
    /// What each node said.
    pub failure: &'a Failure,
    /// The disruption budgets of all namespaces.
    pub budgets: &'a [Budget],
    /// The time; pods that have not started count as started now.
    pub now: Timestamp,
}

/// The outcome of an [`Attempt`].
#[derive(Clone, Debug, PartialEq)]
pub enum Room {
    /// The pod will fit `node` once the victims are gone.
    Made {
        /// Where.
        node: NodeName,
        /// Who has to go; most important first.
        victims: Vec<Arc<PodInfo>>,
    },
    /// There is none.
    None {
        /// Why, for the user.
        why: String,
        /// An earlier promise of room is void. False while its victims are still on their way out.
        promise_is_void: bool,
    },
}

impl Room {
    /// The node and its victims, if room is made.
    pub fn made(&self) -> Option<(&NodeName, &[Arc<PodInfo>])> {
        match self {
            Self::Made { node, victims } => Some((node, victims)),
            Self::None { .. } => None,
        }
    }
}

/// Finds the cheapest node to make room on.
pub fn find(attempt: &Attempt<'_>) -> Room {
    let none = |reasons: &BTreeMap<Reason, usize>| Room::None {
        why: format!("0/{} nodes are available: {}.", attempt.failure.nodes, histogram(reasons).join(", ")),
        promise_is_void: true,
    };
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let curable = |rejection: &&Rejection| matches!(rejection.verdict, Verdict::Later(_));
    let asked = attempt.failure.rejections.iter().filter(curable).count();
    let prepare = || Checks::prepare(attempt.pod, attempt.profile, attempt.cluster).ok();
    let Some(checks) = (asked > 0).then(prepare).flatten() else {
        reasons.insert(NOT_HELPFUL.into(), attempt.failure.nodes);
        return none(&reasons);
    };
    let mut best: Option<(Cost, Candidate)> = None;
    for rejection in attempt.failure.rejections.iter().filter(curable) {
        match candidate(attempt, &checks, &attempt.cluster.nodes()[rejection.node]) {
            Ok(candidate) => {
                let cost = candidate.cost(attempt.now);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, candidate));
                }
            }
            Err(verdict) => {
                for reason in verdict.reasons() {
                    *reasons.entry(reason.clone()).or_default() += 1;
                }
            }
        }
    }
    match best {
        Some((_, candidate)) => Room::Made { node: candidate.node, victims: candidate.victims },
        None => {
            let not_asked = attempt.failure.nodes - asked;
            if not_asked > 0 {
                *reasons.entry(NOT_HELPFUL.into()).or_default() += not_asked;
            }
            none(&reasons)
        }
    }
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node on which room can be made.
#[derive(Debug)]
struct Candidate {
    node: NodeName,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    /// How many victims break a disruption budget.
    violations: usize,
}

/// Compared field by field, less is better: broken budgets, the highest priority of a victim, the sum of priorities
/// (each moved above zero, so that more victims cost more), victims, and the start of the oldest top victim (later
/// is better).
type Cost = (usize, i32, i64, usize, Reverse<Timestamp>);

impl Candidate {
    fn cost(&self, now: Timestamp) -> Cost {
        let highest = self.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        let sum = self.victims.iter().map(|pod| i64::from(pod.priority) + (1 << 31)).sum();
        let oldest = self
            .victims
            .iter()
            .filter(|pod| pod.priority == highest)
            .map(|pod| pod.start_time.unwrap_or(now))
            .min()
            .unwrap_or(now);
        (self.violations, highest, sum, self.victims.len(), Reverse(oldest))
    }
}

/// The least set of victims on one node, or why none helps.
fn candidate(attempt: &Attempt<'_>, checks: &Checks<'_>, node: &NodeInfo) -> Result<Candidate, Verdict> {
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|pod| pod.priority < attempt.pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Verdict::Never(NO_VICTIMS.into()));
    }
    lower.sort_by_key(|pod| importance(pod, attempt.now));
    let mut trial = checks.trial(node);
    for ahead in attempt.cluster.nominated(&node.name) {
        if ahead.priority >= attempt.pod.priority && ahead.uid != attempt.pod.uid {
            trial.add_pod(ahead);
        }
    }
    lower.iter().for_each(|pod| trial.remove_pod(pod));
    if let Some((_, verdict)) = trial.ask() {
        return Err(verdict);
    }
    let (violating, others) = budgets::split(&lower, attempt.budgets);
    let mut victims = Vec::new();
    let mut violations = 0;
    for pod in violating {
        if !reprieve(&mut trial, &pod) {
            violations += 1;
            victims.push(pod);
        }
    }
    victims.extend(others.into_iter().filter(|pod| !reprieve(&mut trial, pod)));
    victims.sort_by_key(|pod| importance(pod, attempt.now));
    Ok(Candidate { node: node.name.clone(), victims, violations })
}

/// Puts a pod back if the incoming pod still fits then.
fn reprieve(trial: &mut Trial<'_>, pod: &Arc<PodInfo>) -> bool {
    trial.add_pod(pod);
    let fits = trial.ask().is_none();
    if !fits {
        trial.remove_pod(pod);
    }
    fits
}

/// Sorts the more important first: higher priority, then longer running.
fn importance(pod: &PodInfo, now: Timestamp) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority), pod.start_time.unwrap_or(now))
}

#[cfg(test)]
mod tests;
