//! The required part: a node fits when its domain, with the pod, has at most `maxSkew` pods more than the emptiest.

use super::constraint::Constraint;
use super::{PodTopologySpread, domain, has_all_keys};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Filter, ForPod, NodeCheck, Verdict};
use crate::pod::PodInfo;
use rustc_hash::FxHashMap;

impl Filter for PodTopologySpread {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let constraints = self.required(pod, cluster);
        if constraints.is_empty() {
            return ForPod::Nothing;
        }
        let domains =
            constraints.iter().map(|constraint| Domains::new(constraint, &constraints, pod, cluster));
        ForPod::check(Check { pod, domains: domains.collect(), constraints })
    }
}

#[derive(Clone, Debug)]
struct Check<'a> {
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    /// One for each constraint.
    domains: Vec<Domains<'a>>,
}

/// How many pods each domain of a constraint has.
#[derive(Clone, Debug)]
pub(super) struct Domains<'a> {
    pub(super) counts: FxHashMap<&'a str, i64>,
    /// The least of the counts, or 0 when there are fewer domains than wanted.
    pub(super) least: i64,
}

impl<'a> Domains<'a> {
    pub(super) fn new(
        constraint: &Constraint,
        all: &[Constraint],
        pod: &PodInfo,
        cluster: &'a Snapshot,
    ) -> Self {
        let mut counts: FxHashMap<&'a str, i64> = FxHashMap::default();
        for node in cluster.nodes() {
            if has_all_keys(node, all)
                && constraint.counts_on(node, pod)
                && let Some(domain) = domain(node, constraint)
            {
                *counts.entry(domain).or_default() += constraint.count(node, pod.namespace());
            }
        }
        let mut domains = Self { counts, least: 0 };
        domains.find_least(constraint);
        domains
    }

    fn find_least(&mut self, constraint: &Constraint) {
        let few = self.counts.len() < constraint.min_domains;
        self.least = if few { 0 } else { self.counts.values().copied().min().unwrap_or(0) };
    }
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        for (constraint, domains) in self.constraints.iter().zip(&self.domains) {
            let Some(domain) = domain(node, constraint) else {
                let why = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Verdict::Never(why.into());
            };
            let own = i64::from(constraint.selector.matches(self.pod.labels()));
            let there = domains.counts.get(domain).copied().unwrap_or(0);
            if there + own - domains.least > constraint.max_skew {
                return Verdict::Later("node(s) didn't match pod topology spread constraints".into());
            }
        }
        Verdict::Fits
    }

    fn fork(&self) -> Option<Box<dyn NodeCheck + '_>> {
        Some(Box::new(self.clone()))
    }

    fn pod_added(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, 1);
    }

    fn pod_removed(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, -1);
    }
}

impl Check<'_> {
    fn change(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        if !has_all_keys(node, &self.constraints) {
            return;
        }
        for (constraint, domains) in self.constraints.iter().zip(&mut self.domains) {
            if !constraint.counts(other, self.pod.namespace()) || !constraint.counts_on(node, self.pod) {
                continue;
            }
            if let Some(count) = domain(node, constraint).and_then(|domain| domains.counts.get_mut(domain)) {
                *count += by;
                domains.find_least(constraint);
            }
        }
    }
}
