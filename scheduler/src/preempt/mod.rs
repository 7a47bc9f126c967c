//! Making room: which pods of lower priority would have to go so that a pod fits somewhere.
//!
//! Looks at every node whose refusal other pods caused (upstream samples a tenth; so do we when asked to), takes all lower-priority pods off
//! a copy of it, puts back as many as still fit, the most important and those under a disruption budget first, and
//! picks the node where it costs least. Pure: a dry run on copies. Upstream: `framework/preemption`.

mod budgets;

pub use budgets::Budget;

use crate::cache::{NodeInfo, Snapshot};
use crate::cycle::{Checks, Trial};
use crate::extender::Offer;
use crate::failure::{Failure, histogram};
use crate::framework::{Profile, Reason, Verdict};
use crate::pod::{NodeName, PodInfo};
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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
        /// The plugins that refuse the pod even where all it could evict are gone: what they wait for, it waits for.
        refused_by: Vec<&'static str>,
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

/// What is told of a pod for which no room was made: by upstream's PostFilter plugins, in their order. `None` if it was.
pub(crate) fn told(room: Option<&Room>, profile: &Profile, pod: &PodInfo) -> Option<String> {
    let why = match room {
        Some(Room::Made { .. }) => return None,
        Some(Room::None { why, .. }) => Some(format!("preemption: {why}")),
        None => None,
    };
    let said = profile.plugins().filter_map(|plugin| plugin.says_after_filters(pod)).map(str::to_owned);
    let said: Vec<String> = said.chain(why).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Finds room for plugins: [`find`], or somebody who remembers what the last search found.
pub trait Rooms {
    /// What [`find`] answers.
    fn find(&self, attempt: &Attempt<'_>, limit: Option<Limit>) -> Room;
}

/// A search that ends before it has looked at every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The candidates after which it ends, as soon as one of them breaks no disruption budget.
    pub enough: usize,
    /// The node it begins with, counted among those that eviction may help.
    pub start: usize,
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct Afresh;

impl Rooms for Afresh {
    fn find(&self, attempt: &Attempt<'_>, limit: Option<Limit>) -> Room {
        find(attempt, limit)
    }
}

/// Finds the cheapest node to make room on: of all, or of those within the limit.
pub fn find(attempt: &Attempt<'_>, limit: Option<Limit>) -> Room {
    candidates(attempt, limit).map_or_else(|none| none, |found| cheapest(&found, attempt.now).room())
}

/// The nodes on which room can be made, at least one; or why there is none.
pub(crate) fn candidates(attempt: &Attempt<'_>, limit: Option<Limit>) -> Result<Vec<Candidate>, Room> {
    let mut against = Against::default();
    let nodes: Vec<usize> = curable(attempt.failure).collect();
    let asked = nodes.len();
    let prepare = || Checks::prepare(attempt.pod, attempt.profile, attempt.cluster).ok();
    let Some(checks) = (asked > 0).then(prepare).flatten() else {
        return Err(against.room(attempt.failure.nodes, 0));
    };
    let Limit { enough, start } = limit.unwrap_or(Limit { enough: usize::MAX, start: 0 });
    let (mut found, mut harmless) = (Vec::new(), false);
    for &at in nodes[start..].iter().chain(&nodes[..start]) {
        if harmless && found.len() >= enough {
            break;
        }
        match candidate(attempt, &checks, &attempt.cluster.nodes()[at]) {
            Ok(candidate) => {
                harmless |= candidate.violations == 0;
                found.push(candidate);
            }
            Err(refusal) => against.count(&refusal, 1),
        }
    }
    if found.is_empty() { Err(against.room(attempt.failure.nodes, asked)) } else { Ok(found) }
}

/// The one of several that costs least; of equals the first.
pub(crate) fn cheapest(candidates: &[Candidate], now: Timestamp) -> &Candidate {
    candidates.iter().min_by_key(|candidate| candidate.cost(now)).expect("there is at least one")
}

/// The nodes that eviction may help, in order.
pub(crate) fn curable(failure: &Failure) -> impl Iterator<Item = usize> {
    let refusals = failure.rejections.iter();
    refusals.filter(|(_, _, verdict)| matches!(verdict, Verdict::Later(_))).map(|(at, ..)| at)
}

/// What stands against evicting on a node: the plugin that refuses the pod even then, if it is one, and why.
pub(crate) type Refusal = (Option<&'static str>, Verdict);

/// What stands against evicting, over all nodes that were asked.
#[derive(Debug, Default)]
pub(crate) struct Against {
    reasons: BTreeMap<Reason, usize>,
    plugins: BTreeSet<&'static str>,
}

impl Against {
    /// So many more nodes, at least one.
    pub(crate) fn count(&mut self, (plugin, verdict): &Refusal, nodes: usize) {
        self.plugins.extend(plugin);
        for reason in verdict.reasons() {
            match self.reasons.get_mut(reason) {
                Some(count) => *count += nodes,
                None => _ = self.reasons.insert(reason.clone(), nodes),
            }
        }
    }

    /// There is none, and those of all `nodes` that were not asked were not worth it.
    pub(crate) fn room(mut self, nodes: usize, asked: usize) -> Room {
        if nodes > asked {
            *self.reasons.entry(NOT_HELPFUL.into()).or_default() += nodes - asked;
        }
        let why = format!("0/{nodes} nodes are available: {}.", histogram(&self.reasons).join(", "));
        Room::None { why, promise_is_void: true, refused_by: self.plugins.into_iter().collect() }
    }
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node on which room can be made.
#[derive(Debug)]
pub(crate) struct Candidate {
    node: NodeName,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    /// How many victims break a disruption budget.
    violations: usize,
    /// The highest priority of a victim.
    highest: i32,
    /// The sum of their priorities, each moved above zero, so that more victims cost more.
    sum: i64,
    /// The first start of a victim of that priority; and whether one has none, which counts as now.
    oldest: Option<Timestamp>,
    not_started: bool,
    /// The order of its pods, and so the victims, stays the same as time passes.
    lasts: bool,
}

/// Compared field by field, less is better: broken budgets, the highest priority of a victim, the sum of priorities,
/// victims, and the start of the oldest top victim (later is better).
pub(crate) type Cost = (usize, i32, i64, usize, Reverse<Timestamp>);

/// The same, without saying when.
pub(crate) type LastingCost = (usize, i32, i64, usize, Reverse<Start>);

/// When a victim started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Start {
    /// Then, which is past.
    At(Timestamp),
    /// Not yet, which counts as whatever time it is.
    Now,
}

impl Candidate {
    pub(crate) fn new(node: NodeName, victims: Vec<Arc<PodInfo>>, violations: usize, lasts: bool) -> Self {
        let highest = victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        let top = || victims.iter().filter(|pod| pod.priority == highest).map(|pod| pod.start_time);
        Self {
            violations,
            highest,
            sum: victims.iter().map(|pod| i64::from(pod.priority) + (1 << 31)).sum(),
            oldest: top().flatten().min(),
            not_started: top().any(|start| start.is_none()),
            lasts,
            node,
            victims,
        }
    }

    pub(crate) fn cost(&self, now: Timestamp) -> Cost {
        let now_counts = self.not_started || self.oldest.is_none();
        let oldest = self.oldest.into_iter().chain(now_counts.then_some(now)).min().unwrap_or(now);
        (self.violations, self.highest, self.sum, self.victims.len(), Reverse(oldest))
    }

    pub(crate) fn room(&self) -> Room {
        Room::Made { node: self.node.clone(), victims: self.victims.clone() }
    }

    /// What extenders are asked about it.
    pub(crate) fn offer(self, cluster: &Snapshot) -> Option<Offer> {
        let node = cluster.nodes().get(cluster.position(&self.node)?)?.clone();
        Some(Offer { node, victims: self.victims, violations: self.violations })
    }

    /// What it costs at any later time, in the order of [`Cost`]; `None`: by then it may be another one.
    pub(crate) fn lasting_cost(&self) -> Option<LastingCost> {
        // Who has started did so before now, and is older than who has not.
        let start = self.oldest.map_or(Start::Now, Start::At);
        self.lasts.then_some((self.violations, self.highest, self.sum, self.victims.len(), Reverse(start)))
    }
}

/// The least set of victims on one node, or why none helps.
pub(crate) fn candidate(
    attempt: &Attempt<'_>,
    checks: &Checks<'_>,
    node: &NodeInfo,
) -> Result<Candidate, Refusal> {
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|pod| pod.priority < attempt.pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err((None, Verdict::Never(NO_VICTIMS.into())));
    }
    lower.sort_by_key(|pod| importance(pod, attempt.now));
    let lasts = lower.iter().all(|pod| pod.start_time.is_none_or(|start| start < attempt.now));
    let mut trial = checks.trial(node);
    for ahead in attempt.cluster.nominated(&node.name) {
        if ahead.priority >= attempt.pod.priority && ahead.uid != attempt.pod.uid {
            trial.add_pod(ahead);
        }
    }
    lower.iter().for_each(|pod| trial.remove_pod(pod));
    if let Some((plugin, verdict)) = trial.ask() {
        return Err((Some(plugin), verdict));
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
    Ok(Candidate::new(node.name.clone(), victims, violations, lasts))
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
