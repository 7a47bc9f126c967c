//! Spreads pods of one selector over the domains of a node label: refuses nodes that would break a DoNotSchedule
//! constraint, and prefers nodes in domains with few such pods.
//!
//! This is the plain definition: it walks all pods for each pod. A pod without constraints of its own is spread over
//! hosts and zones by the selectors of its services and its owner, as a wish (upstream's system defaults), or as
//! configuration lists. It concerns pods with `topologySpreadConstraints`, and those that such a selector means.

mod constraint;
mod filter;
mod score;
mod skew;

use super::args::{DefaultingType, PodTopologySpreadArgs};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Atom, Change, Filter, Lack, Plugin, Score, Subject, Wakeup};
use crate::pod::PodInfo;
use constraint::Need;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
pub use skew::{Skew, skews};
use std::any::Any;

pub(crate) use constraint::{Constraint, HOSTNAME};

/// Upstream's PodTopologySpread.
#[derive(Debug, Default)]
pub struct PodTopologySpread {
    defaults: Defaults,
}

/// The constraints of pods that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Defaults {
    /// Upstream's: hosts with a skew of 3 and zones with one of 5, both as a wish.
    #[default]
    System,
    /// Those that configuration lists.
    List(Vec<TopologySpreadConstraint>),
}

impl PodTopologySpread {
    /// The plugin with these arguments.
    pub fn new(args: &PodTopologySpreadArgs) -> Self {
        let defaults = match args.defaulting_type {
            DefaultingType::System => Defaults::System,
            DefaultingType::List => Defaults::List(args.default_constraints.clone()),
        };
        Self { defaults }
    }

    /// What holds for pods that have no constraints of their own.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The DoNotSchedule constraints that hold for a pod.
    pub(crate) fn required(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Constraint> {
        self.constraints(pod, cluster, Need::Required)
    }

    /// The ScheduleAnyway constraints that hold for a pod, and whether nodes that lack one of their labels are left
    /// out: only under the system's defaults are they not.
    pub(crate) fn preferred(&self, pod: &PodInfo, cluster: &Snapshot) -> (Vec<Constraint>, bool) {
        let all_keys =
            !pod.spec().topology_spread_constraints.is_empty() || self.defaults != Defaults::System;
        (self.constraints(pod, cluster, Need::Preferred), all_keys)
    }

    /// The constraints of this kind that hold for a pod: its own, or the defaults if it has none of either kind.
    fn constraints(&self, pod: &PodInfo, cluster: &Snapshot, need: Need) -> Vec<Constraint> {
        if !pod.spec().topology_spread_constraints.is_empty() {
            return constraint::own(pod, need);
        }
        let nothing = match &self.defaults {
            Defaults::System => need == Need::Required,
            Defaults::List(list) => list.is_empty(),
        };
        if nothing {
            return Vec::new();
        }
        let selector = cluster.selectors().for_pod(pod);
        match &self.defaults {
            _ if selector.is_everything() => Vec::new(),
            Defaults::System => constraint::system_defaults(&selector),
            Defaults::List(list) => constraint::listed(list, need, &selector, pod),
        }
    }
}

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
        if pod.spec().topology_spread_constraints.is_empty() {
            return true; // Refused by listed defaults, whose selector is not known here.
        }
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
            Subject::Own(_) | Subject::Related(_) | Subject::Other => true,
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn lacks(&self, pod: &PodInfo, kind: Wakeup) -> Lack {
        if pod.spec().topology_spread_constraints.is_empty()
            || !matches!(kind, Wakeup::PodAssigned | Wakeup::PodRemoved)
        {
            return Lack::Anything;
        }
        let constraints = constraint::own(pod, Need::Required);
        let atoms = constraints.iter().map(|constraint| Atom::of_selector(&constraint.selector));
        let atoms: Option<Vec<_>> = atoms.collect();
        atoms.map_or(Lack::Anything, |atoms| Lack::OneOf(atoms.concat()))
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

#[cfg(test)]
mod tests;
