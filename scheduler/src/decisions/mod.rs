//! What was decided, and why: a record of the last decisions, for `explain`.
//!
//! Written by the scheduler's one task, a short entry a decision: the chosen node and among how many, or what each
//! filter said and how making room ended. The scores behind a choice cost far more than the note of it, so they are
//! written down only as far as [`DETAIL_STEPS_A_SECOND`] reaches, which in a quiet cluster is always; otherwise
//! `explain` computes them anew and says so. Bounded by number and by bytes; the oldest goes first.

mod desk;
mod ring;
mod trail;

pub use desk::{Asked, Desk, Look, Unanswered};
pub use ring::{Ring, Weighs};
pub use trail::{Moved, Trail};

use crate::cache::Snapshot;
use crate::cycle::Placement;
use crate::explain::{Ranking, rank};
use crate::failure::{Count, Failure};
use crate::framework::Profile;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::queue::History;
use jiff::Timestamp;
use std::sync::Arc;

/// Decisions remembered.
const DECISIONS_LIMIT: usize = 50_000;
/// Bytes they may take.
const DECISIONS_BYTES: usize = 16 << 20;
/// How much work a second may go into writing scores down. A step is a node asked by a plugin, or a pod looked at:
/// about 50 ns, so that this is about a hundredth of a core.
const DETAIL_STEPS_A_SECOND: u64 = 200_000;
/// The most steps for one decision, about 2 ms: beyond, it would be felt by the pods behind it.
const DETAIL_STEPS_AT_ONCE: u64 = 40_000;
/// Plugins that look at each node, roughly.
const PLUGINS: u64 = 16;
/// Nodes whose scores are written down.
const DETAIL_NODES: usize = 5;

/// One decision about one pod.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The pod.
    pub uid: Uid,
    /// `NAMESPACE/NAME` of the pod.
    pub pod: Box<str>,
    /// When it was made.
    pub at: Timestamp,
    /// The how manieth try it was.
    pub attempt: u32,
    /// Since when the pod could be tried.
    pub ready_since: Option<Timestamp>,
    /// What was decided.
    pub outcome: Outcome,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The pod goes to a node.
    Placed {
        /// Which.
        node: NodeName,
        /// How many nodes it was chosen from.
        feasible: usize,
        /// How the best nodes compared, if it was written down.
        ranking: Option<Box<Ranking>>,
    },
    /// No node fits.
    Refused {
        /// How many nodes there were.
        nodes: usize,
        /// What the filters said.
        counts: Box<[Count]>,
        /// The text of `FailedScheduling`.
        text: Box<str>,
        /// The node on which room is being made, and whose pods are evicted for it.
        room: Option<Box<(NodeName, Vec<Arc<str>>)>>,
    },
    /// The node was chosen, but binding failed.
    NotBound {
        /// What the API server said.
        error: Box<str>,
    },
}

impl Weighs for Decision {
    fn bytes_outside(&self) -> usize {
        let outcome = match &self.outcome {
            Outcome::Placed { ranking, .. } => ranking.as_ref().map_or(0, |ranking| ranking.bytes()),
            Outcome::Refused { counts, text, room, .. } => {
                let victims = room.as_ref().map_or(0, |room| 64 + room.1.len() * 64);
                size_of_val::<[Count]>(counts) + text.len() + victims
            }
            Outcome::NotBound { error } => error.len(),
        };
        self.pod.len() + outcome
    }
}

/// The last decisions. See the file header.
#[derive(Debug)]
pub struct Decisions {
    last: Ring<Decision>,
    /// Steps that may go into details now, and since when that is so.
    steps: u64,
    counted: Timestamp,
}

impl Default for Decisions {
    fn default() -> Self {
        let last = Ring::new(DECISIONS_LIMIT, DECISIONS_BYTES);
        Self { last, steps: DETAIL_STEPS_A_SECOND, counted: Timestamp::UNIX_EPOCH }
    }
}

impl Decisions {
    /// A node was chosen. `cluster` is as the choice saw it: without the pod.
    pub fn placed(
        &mut self,
        pod: &PodInfo,
        history: History,
        chosen: &Placement,
        (profile, cluster): (&Profile, &Snapshot),
        now: Timestamp,
    ) {
        let worth = chosen.feasible > 1 && self.affords(cluster, now);
        let ranking = worth.then(|| {
            let mut ranking = rank(pod, profile, cluster, usize::MAX);
            ranking.keep(DETAIL_NODES, &chosen.node);
            Box::new(ranking)
        });
        let outcome = Outcome::Placed { node: chosen.node.clone(), feasible: chosen.feasible, ranking };
        self.push(pod, Some(history), outcome, now);
    }

    /// No node fits.
    pub fn refused(
        &mut self,
        pod: &PodInfo,
        history: History,
        failure: &Failure,
        text: &str,
        room: Option<(&NodeName, &[Arc<PodInfo>])>,
        now: Timestamp,
    ) {
        let room = room.map(|(node, victims)| {
            let names = victims.iter().map(|victim| victim.to_string().into());
            Box::new((node.clone(), names.collect()))
        });
        let counts = failure.counts().into();
        let outcome = Outcome::Refused { nodes: failure.nodes, counts, text: text.into(), room };
        self.push(pod, Some(history), outcome, now);
    }

    /// The API server did not carry a placement out.
    pub fn not_bound(&mut self, pod: &PodInfo, error: &str, now: Timestamp) {
        self.push(pod, None, Outcome::NotBound { error: error.into() }, now);
    }

    /// The decisions about one pod, the oldest first.
    pub fn of(&self, uid: &Uid) -> Vec<Decision> {
        self.last.iter().filter(|decision| decision.uid == *uid).cloned().collect()
    }

    /// The last decisions about pods of a namespace, or of all, the newest first.
    pub fn last(&self, namespace: Option<&str>, most: usize) -> Vec<Decision> {
        let wanted = |decision: &&Decision| {
            namespace.is_none_or(|namespace| {
                decision.pod.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        self.last.iter().rev().filter(wanted).take(most).cloned().collect()
    }

    fn push(&mut self, pod: &PodInfo, history: Option<History>, outcome: Outcome, now: Timestamp) {
        let (uid, name) = (pod.uid.clone(), pod.to_string().into());
        let attempt = history.map_or(0, |history| history.attempts);
        let ready_since = history.and_then(|history| history.ready_since);
        self.last.push(Decision { uid, pod: name, at: now, attempt, ready_since, outcome });
    }

    /// Whether the scores of a choice in this cluster may be written down now; takes the work off what is left.
    fn affords(&mut self, cluster: &Snapshot, now: Timestamp) -> bool {
        let passed = now.duration_since(self.counted).as_millis().clamp(0, 1000);
        let earned = u64::try_from(passed).unwrap_or(0) * DETAIL_STEPS_A_SECOND / 1000;
        if earned > 0 {
            self.steps = (self.steps + earned).min(DETAIL_STEPS_A_SECOND);
            self.counted = now;
        }
        let nodes = cluster.len() as u64 * PLUGINS;
        if nodes > self.steps.min(DETAIL_STEPS_AT_ONCE) {
            return false; // Pods are not even counted then: that would be a step a node.
        }
        let pods: usize = cluster.nodes().iter().map(|node| node.pods.len()).sum();
        let steps = nodes + 2 * pods as u64;
        let affordable = steps <= self.steps.min(DETAIL_STEPS_AT_ONCE);
        if affordable {
            self.steps -= steps;
        }
        affordable
    }
}

#[cfg(test)]
mod tests;
