//! Spreads pods of one selector over the domains of a node label: refuses nodes that would break a DoNotSchedule
//! constraint, and prefers nodes in domains with few such pods.
//!
//! This is the plain definition: it walks all pods for each pod. A pod without constraints of its own is spread over
//! hosts and zones by the selectors of its services and its owner, as a wish (upstream's system defaults).

mod constraint;
mod filter;
mod score;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Change, Filter, Plugin, Score, Subject, Wakeup};
use crate::pod::PodInfo;
use constraint::{Constraint, Need};

/// Upstream's PodTopologySpread.
#[derive(Debug)]
pub struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::PodAssigned,
            Wakeup::PodRemoved,
            Wakeup::PodLabels,
            Wakeup::NodeAdded,
            Wakeup::NodeDeleted,
            Wakeup::NodeLabels,
            Wakeup::NodeTaints,
            Wakeup::OwnLabels,
            Wakeup::OwnTolerations,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        let constraints = constraint::own(pod, Need::Required);
        match change.subject {
            // Its labels may be what stopped matching, so a relabelled pod always counts.
            Subject::Pod(_) if change.kinds.contains(Wakeup::PodLabels) => true,
            Subject::Pod(other) => {
                other.namespace() == pod.namespace()
                    && constraints.iter().any(|constraint| constraint.selector.matches(other.labels()))
            }
            Subject::Node { now, before } => {
                let has_keys = |labels: Option<&std::collections::BTreeMap<String, String>>| {
                    let has = |key: &String| labels.is_some_and(|labels| labels.contains_key(key));
                    constraints.iter().all(|constraint| has(&constraint.key))
                };
                has_keys(Some(now.labels()))
                    || before.is_some_and(|node| has_keys(node.metadata.labels.as_ref()))
            }
            Subject::Own(_) | Subject::Other => true,
        }
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

/// The domain of a node under a constraint.
fn domain<'n>(node: &'n NodeInfo, constraint: &Constraint) -> Option<&'n str> {
    node.labels().get(&constraint.key).map(String::as_str)
}

/// True when the node has the label of every constraint.
fn has_all_keys(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| node.labels().contains_key(&constraint.key))
}

/// The constraints that stand in for a pod's own when it has none.
fn by_default(pod: &PodInfo, cluster: &Snapshot) -> Vec<Constraint> {
    let selector = cluster.selectors().for_pod(pod);
    if selector.is_everything() {
        return Vec::new();
    }
    constraint::system_defaults(&selector)
}

#[cfg(test)]
mod tests;
