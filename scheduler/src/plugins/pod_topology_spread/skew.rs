//! The numbers behind a refusal, for people: how a node's domain compares with the emptiest one.

use super::constraint::{self, Need};
use super::domain;
use super::filter::Domains;
use crate::cache::{NodeInfo, Snapshot};
use crate::pod::PodInfo;

/// A required constraint on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The node label whose values are the domains.
    pub key: String,
    /// The node's domain and how many pods that count are in it; `None` without the label.
    pub there: Option<(String, i64)>,
    /// How many the emptiest domain has; 0 when there are too few domains.
    pub least: i64,
    /// Whether the pod itself would count.
    pub counts_itself: bool,
    /// The most that is allowed above the least.
    pub max_skew: i64,
}

impl Skew {
    /// Whether the node would do.
    pub fn holds(&self) -> bool {
        let counted = |there: i64| there + i64::from(self.counts_itself) - self.least;
        self.there.as_ref().is_some_and(|(_, there)| counted(*there) <= self.max_skew)
    }
}

/// The required constraints of `pod` on `node`.
pub fn skews(pod: &PodInfo, cluster: &Snapshot, node: &NodeInfo) -> Vec<Skew> {
    let constraints = constraint::own(pod, Need::Required);
    let skew = |constraint: &super::Constraint| {
        let domains = Domains::new(constraint, &constraints, pod, cluster);
        let there = domain(node, constraint)
            .map(|domain| (domain.to_owned(), domains.counts.get(domain).copied().unwrap_or(0)));
        Skew {
            key: constraint.key.clone(),
            there,
            least: domains.least,
            counts_itself: constraint.selector.matches(pod.labels()),
            max_skew: constraint.max_skew,
        }
    };
    constraints.iter().map(skew).collect()
}
