//! One spread constraint, parsed: which pods count, and on which nodes.

use crate::cache::{Gauge, NodeInfo};
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use objects::labels::Selector;
use objects::{affinity, taints};

pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What happens when a constraint cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// DoNotSchedule: the node is refused.
    Required,
    /// ScheduleAnyway: the node is worth less.
    Preferred,
}

#[derive(Clone, Debug)]
pub(crate) struct Constraint {
    /// The node label whose values are the domains.
    pub(crate) key: String,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: usize,
    pub(crate) selector: Selector,
    /// Nodes that the pod's node affinity excludes do not count.
    honour_affinity: bool,
    /// Nodes whose taints the pod does not tolerate do not count.
    honour_taints: bool,
}

/// The constraints of this kind that the pod itself has.
pub(super) fn own(pod: &PodInfo, need: Need) -> Vec<Constraint> {
    of_kind(&pod.spec().topology_spread_constraints, need).map(|given| parse(given, pod)).collect()
}

/// Those of a list of defaults, with the selector that holds for the pod.
pub(super) fn listed(
    list: &[TopologySpreadConstraint],
    need: Need,
    selector: &Selector,
    pod: &PodInfo,
) -> Vec<Constraint> {
    let with_selector = |given| Constraint { selector: selector.clone(), ..parse(given, pod) };
    of_kind(list, need).map(with_selector).collect()
}

fn of_kind(list: &[TopologySpreadConstraint], need: Need) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let wanted = match need {
        Need::Required => "DoNotSchedule",
        Need::Preferred => "ScheduleAnyway",
    };
    list.iter().filter(move |given| given.when_unsatisfiable == wanted)
}

/// Upstream's system defaults: hosts with a skew of 3 and zones with one of 5, both as a wish.
pub(super) fn system_defaults(selector: &Selector) -> Vec<Constraint> {
    let constraint = |key: &str, max_skew| Constraint {
        key: key.to_owned(),
        max_skew,
        min_domains: 1,
        selector: selector.clone(),
        honour_affinity: true,
        honour_taints: false,
    };
    vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
}

fn parse(given: &TopologySpreadConstraint, pod: &PodInfo) -> Constraint {
    Constraint {
        key: given.topology_key.clone(),
        max_skew: i64::from(given.max_skew),
        min_domains: given.min_domains.and_then(|number| usize::try_from(number).ok()).unwrap_or(1),
        selector: selector(given, pod),
        honour_affinity: given.node_affinity_policy.as_deref() != Some("Ignore"),
        honour_taints: given.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// The selector with the pod's own values of `matchLabelKeys`. One that is not valid selects nothing.
fn selector(given: &TopologySpreadConstraint, pod: &PodInfo) -> Selector {
    let Some(mut selector) = given.label_selector.clone() else { return Selector::nothing() };
    for key in given.match_label_keys.iter().flatten() {
        if let Some(value) = pod.labels().get(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: "In".to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    Selector::from_label_selector(&selector).unwrap_or_else(|_| Selector::nothing())
}

impl Constraint {
    /// Whether nodes that affinity or taints keep the pod from do not count.
    pub(crate) fn policies(&self) -> (bool, bool) {
        (self.honour_affinity, self.honour_taints)
    }

    /// False when [`Self::counts_on`] is true of every node with this gauge.
    pub(crate) fn may_leave_out(&self, gauge: &Gauge, pod: &PodInfo) -> bool {
        let spec = pod.spec();
        let particular =
            !spec.node_selector.is_empty() || affinity::required(spec.affinity.as_deref()).is_some();
        self.honour_affinity && particular || self.honour_taints && gauge.is_tainted()
    }

    /// True when pods on this node count for this constraint of `pod`.
    pub(crate) fn counts_on(&self, node: &NodeInfo, pod: &PodInfo) -> bool {
        if self.honour_affinity && !affinity::required_matches(pod.spec(), &node.node.metadata) {
            return false;
        }
        let hard = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
        !self.honour_taints || taints::untolerated(node.taints(), pod.tolerations(), &hard).is_none()
    }

    /// True when `other` is one of the pods that are spread. Upstream counts none for an empty selector, and none
    /// that is on its way out.
    pub(super) fn counts(&self, other: &PodInfo, namespace: &str) -> bool {
        !self.selector.is_everything()
            && !other.is_deleting()
            && other.namespace() == namespace
            && self.selector.matches(other.labels())
    }

    /// How many pods on the node count.
    pub(super) fn count(&self, node: &NodeInfo, namespace: &str) -> i64 {
        let count = node.pods.iter().filter(|other| self.counts(other, namespace)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}
