//! The framework: what a scheduling plugin is, and how plugins make up a profile.
//!
//! A plugin is one file in `plugins/`: a name, the changes after which a pod it refused should be tried again, and
//! the roles it plays ([`Gate`], [`Order`], [`Filter`], [`Score`], [`Preempt`], [`Reserve`], [`Permit`], [`PreBind`],
//! [`Bind`]). A filter or score is asked
//! once a pod and answers with a check that is then run on each node; `Nothing` when the pod does not concern it.
//! That one shape stands for upstream's PreFilter, PreScore, Skip and CycleState. Nothing here names a plugin.

mod binding;
mod lack;
mod profile;
mod verdict;
mod wakeup;

pub use binding::{Permission, Permit, PreBind, Reserve, Settled, Target, Write};
pub(crate) use lack::Offer;
pub use lack::{Atom, Lack, Space};
pub use profile::{EXTENDER, Enabled, Points, Profile, Profiles};
pub use verdict::{Reason, Verdict, Why};
pub use wakeup::{Change, Subject, Wakeup, WakeupSet};

use crate::cache::{Gauge, NodeInfo, Snapshot};
use crate::pod::{NodeName, PodInfo};
use crate::preempt::{Attempt, Room, Rooms};
use jiff::Timestamp;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// The best score a plugin may give a node after normalising; the worst is 0.
pub const MAX_NODE_SCORE: i64 = 100;

/// One scheduling plugin. The role methods answer `Some(self)` for each role it plays.
pub trait Plugin: Debug + Send + Sync {
    /// Upstream's name, as it stands in configuration, metrics and `FailedScheduling`.
    fn name(&self) -> &'static str;

    /// After which changes a pod that this plugin refused should be looked at again.
    fn wakeups(&self) -> &'static [Wakeup] {
        &[]
    }

    /// Whether `change`, one of [`Self::wakeups`], may help this pod. When in doubt: true.
    fn helps(&self, _pod: &PodInfo, _change: &Change<'_>) -> bool {
        true
    }

    /// What its answers about a node depend on.
    fn reads(&self) -> Reads {
        Reads::Cluster
    }

    /// True when it has nothing to say about this pod in any role, whatever the cluster is like.
    fn ignores(&self, _pod: &PodInfo) -> bool {
        false
    }

    /// Itself, for plugins that the engine has its own tables for.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Where a pod that this plugin refused is to be found when a change of this kind comes. A plugin that says more than
    /// [`Lack::Anything`] spares all other waiting pods the question [`Self::helps`].
    fn lacks(&self, _pod: &PodInfo, _kind: Wakeup) -> Lack {
        Lack::Anything
    }

    /// What it says at upstream's PostFilter, where it makes no room itself.
    fn says_after_filters(&self, _pod: &PodInfo) -> Option<&'static str> {
        None
    }

    /// The role at upstream's PreEnqueue.
    fn gate(&self) -> Option<&dyn Gate> {
        None
    }
    /// The role at QueueSort.
    fn order(&self) -> Option<&dyn Order> {
        None
    }
    /// The role at PreFilter and Filter.
    fn filter(&self) -> Option<&dyn Filter> {
        None
    }
    /// The role at PreScore, Score and NormalizeScore.
    fn score(&self) -> Option<&dyn Score> {
        None
    }
    /// The role at PostFilter.
    fn preempt(&self) -> Option<&dyn Preempt> {
        None
    }
    /// The role at Reserve.
    fn reserve(&self) -> Option<&dyn Reserve> {
        None
    }
    /// The role at Permit.
    fn permit(&self) -> Option<&dyn Permit> {
        None
    }
    /// The role at PreBind.
    fn pre_bind(&self) -> Option<&dyn PreBind> {
        None
    }
    /// The role at Bind.
    fn bind(&self) -> Option<&dyn Bind> {
        None
    }
}

/// What the answers of a plugin about a node depend on, which is how long the engine may keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Anything: nothing is kept.
    Cluster,
    /// The node, the pods on it, and of the incoming pod no more than its requests, host ports, images, tolerations,
    /// node selector, affinity, spread constraints and `spec.nodeName`. Scores are prepared without the feasible nodes.
    Node,
    /// The same, and on how many of how many nodes an image is.
    NodeAndImages,
}

/// How the raw scores of the feasible nodes become normalised ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In a way of its own ([`NodeScore::normalise`]).
    Own,
    /// They are normalised already.
    AsIs,
    /// By [`normalise_by_max`].
    ByMax {
        /// The lowest raw score is best.
        reverse: bool,
    },
}

/// Keeps a pod out of the queue until it may be tried at all.
pub trait Gate: Plugin {
    /// `Never` with the reason while the pod has to wait, whatever else there is. Asked when it is queued.
    fn admit(&self, _pod: &PodInfo) -> Verdict {
        Verdict::Fits
    }

    /// Whether what it says depends on other pods: then it is asked [`Self::admit_among`], and not [`Self::admit`].
    fn needs_others(&self) -> bool {
        false
    }

    /// `Never` with the reason while the pod has to wait for others. Asked when it would be tried; it is asked again
    /// after a change that the plugin wants to know about.
    fn admit_among(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Verdict {
        Verdict::Fits
    }
}

/// Where a pod stands in the active queue: smaller goes first.
pub type Rank = (i64, Timestamp);

/// Orders the active queue.
pub trait Order: Plugin {
    /// The rank of a pod that was queued at `since`.
    fn rank(&self, pod: &PodInfo, since: Timestamp) -> Rank;
}

/// Says on which nodes a pod can run.
pub trait Filter: Plugin {
    /// Prepares the check of one pod: all work that does not depend on the node happens here, once.
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a>;
}

/// What a filter answers for a pod before it sees a node.
#[derive(Debug)]
pub enum ForPod<'a> {
    /// The plugin has nothing to say about this pod.
    Nothing,
    /// To be asked for each node.
    Check {
        /// What is asked.
        check: Box<dyn NodeCheck + 'a>,
        /// The only nodes worth asking, by name, if the pod names them.
        only: Option<Vec<&'a str>>,
    },
    /// The pod fits nowhere, whatever the nodes are like.
    Refuse(Verdict),
}

impl<'a> ForPod<'a> {
    /// A check for every node.
    pub fn check(check: impl NodeCheck + 'a) -> Self {
        Self::Check { check: Box::new(check), only: None }
    }
}

/// The part of a filter that is run for each node.
pub trait NodeCheck: Debug + Send + Sync {
    /// May the pod run on this node.
    fn check(&self, node: &NodeInfo) -> Verdict;

    /// Asks about many nodes of the cluster that it was prepared with: of the places in `left` those that fit stay, the
    /// others go to `refused`. For those that can tell most of it by the gauges: [`check_doubtful`].
    fn check_each(&self, cluster: &Snapshot, left: &mut Vec<u32>, refused: &mut Vec<(u32, Verdict)>) {
        check_doubtful(self, cluster, |_| true, left, refused);
    }

    /// A copy for a dry run, for checks that keep something about other pods. `None`: shared as it is.
    fn fork(&self) -> Option<Box<dyn NodeCheck + '_>> {
        None
    }

    /// In a dry run `pod` was put on `node`, whose state already contains it.
    fn pod_added(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}

    /// In a dry run `pod` was taken off `node`, whose state no longer contains it.
    fn pod_removed(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}
}

/// What [`NodeCheck::check_each`] does, where nodes whose gauge leaves no doubt are known to fit.
pub fn check_doubtful<C: NodeCheck + ?Sized>(
    check: &C,
    cluster: &Snapshot,
    doubt: impl Fn(&Gauge) -> bool,
    left: &mut Vec<u32>,
    refused: &mut Vec<(u32, Verdict)>,
) {
    let (nodes, gauges) = (cluster.nodes(), cluster.gauges());
    left.retain(|at| {
        let place = *at as usize;
        if !doubt(&gauges[place]) {
            return true;
        }
        match check.check(&nodes[place]) {
            Verdict::Fits => true,
            refusal => {
                refused.push((*at, refusal));
                false
            }
        }
    });
}

/// Ranks the nodes on which a pod can run.
pub trait Score: Plugin {
    /// What [`NodeScore::normalise`] does.
    fn scale(&self) -> Scale {
        Scale::Own
    }

    /// Prepares scoring one pod over the nodes it fits. `None`: the plugin gives no points to any of them.
    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>>;
}

/// The part of a score that is run for each node.
pub trait NodeScore: Debug + Send + Sync {
    /// The raw score of this node.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Adds to `scores` the raw scores of the nodes at these places of the cluster that it was prepared with.
    fn score_each(&self, cluster: &Snapshot, places: &[u32], scores: &mut Vec<i64>) {
        scores.extend(places.iter().map(|at| self.score(&cluster.nodes()[*at as usize])));
    }

    /// Brings the raw scores of all feasible nodes (same order) into 0..=[`MAX_NODE_SCORE`].
    fn normalise(&self, _scores: &mut [i64], _nodes: &[&NodeInfo]) {}
}

/// Makes room for a pod that fits nowhere.
pub trait Preempt: Plugin {
    /// Which pods would have to go, or why that does not help. `rooms` does the searching.
    fn make_room(&self, attempt: &Attempt<'_>, rooms: &dyn Rooms) -> Room;
}

/// Carries a decision to the API server.
pub trait Bind: Plugin {
    /// The body to POST to `pods/NAME/binding`.
    fn binding(&self, pod: &Arc<PodInfo>, node: &NodeName) -> serde_json::Value;
}

/// Upstream's DefaultNormalizeScore: scales to 0..=100 by the greatest score; `reverse` turns it round, so that the
/// lowest raw score gets 100. When all are 0 a reversed score gives 100 to all.
pub fn normalise_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if max == 0 { 0 } else { *score * MAX_NODE_SCORE / max };
        *score = if reverse { MAX_NODE_SCORE - scaled } else { scaled };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_by_max_matches_upstream() {
        for (name, reverse, raw, want) in [
            ("scales", false, vec![1, 2, 4], vec![25, 50, 100]),
            ("rounds down", false, vec![1, 3], vec![33, 100]),
            ("reversed", true, vec![0, 1, 4], vec![100, 75, 0]),
            ("all zero", false, vec![0, 0], vec![0, 0]),
            ("all zero reversed", true, vec![0, 0], vec![100, 100]),
        ] {
            let mut scores = raw;
            normalise_by_max(&mut scores, reverse);
            assert_eq!(scores, want, "{name}");
        }
    }
}
