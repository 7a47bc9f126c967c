//! The preferred part: the fewer pods a node's domains have, the better; a constraint with many domains weighs more
//! (by the logarithm of their number), since in a large cluster each has few pods.

use super::constraint::{Constraint, HOSTNAME};
use super::{PodTopologySpread, domain, has_all_keys};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{MAX_NODE_SCORE, NodeScore, Score};
use crate::pod::PodInfo;
use rustc_hash::FxHashMap;

impl Score for PodTopologySpread {
    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let (constraints, all_keys) = self.preferred(pod, cluster);
        if constraints.is_empty() {
            return None;
        }
        let mut spread = Spread { pod, constraints, domains: Vec::new(), all_keys };
        spread.count(cluster, feasible);
        Some(Box::new(spread))
    }
}

#[derive(Debug)]
struct Spread<'a> {
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    /// One for each constraint.
    domains: Vec<Domains<'a>>,
    /// Nodes without the label of every constraint are left out.
    all_keys: bool,
}

#[derive(Debug, Default)]
struct Domains<'a> {
    /// Pods in each domain that a feasible node is in. Not kept for hosts, whose pods are counted when they score.
    counts: FxHashMap<&'a str, i64>,
    weight: f64,
}

impl<'a> Spread<'a> {
    #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
    fn count(&mut self, cluster: &'a Snapshot, feasible: &[&'a NodeInfo]) {
        let scored = || feasible.iter().filter(|node| !self.leaves_out(node));
        let mut all = Vec::new();
        for constraint in &self.constraints {
            let mut domains = Domains::default();
            let size = if constraint.key == HOSTNAME {
                scored().count()
            } else {
                // Upstream counts the lack of a label as one domain more.
                let named = |node: &&'a NodeInfo| (domain(node, constraint).unwrap_or_default(), 0);
                domains.counts = scored().map(named).collect();
                domains.counts.len()
            };
            domains.weight = ((size + 2) as f64).ln();
            all.push(domains);
        }
        for node in cluster.nodes().iter().filter(|node| !self.leaves_out(node)) {
            for (constraint, domains) in self.constraints.iter().zip(&mut all) {
                let count = domain(node, constraint).and_then(|domain| domains.counts.get_mut(domain));
                if let Some(count) = count.filter(|_| constraint.counts_on(node, self.pod)) {
                    *count += constraint.count(node, self.pod.namespace());
                }
            }
        }
        self.domains = all;
    }

    fn leaves_out(&self, node: &NodeInfo) -> bool {
        self.all_keys && !has_all_keys(node, &self.constraints)
    }
}

impl NodeScore for Spread<'_> {
    /// More is worse until [`Self::normalise`].
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.leaves_out(node) {
            return 0;
        }
        let mut score = 0.0;
        for (constraint, domains) in self.constraints.iter().zip(&self.domains) {
            let Some(domain) = domain(node, constraint) else { continue };
            let count = if constraint.key == HOSTNAME {
                constraint.count(node, self.pod.namespace())
            } else {
                domains.counts.get(domain).copied().unwrap_or(0)
            };
            score += count as f64 * domains.weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalise(&self, scores: &mut [i64], nodes: &[&NodeInfo]) {
        let counted = |at: &usize| !self.leaves_out(nodes[*at]);
        let all = || (0..scores.len()).filter(counted).map(|at| scores[at]);
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        for (at, score) in scores.iter_mut().enumerate() {
            *score = match most {
                _ if !counted(&at) => 0,
                0 => MAX_NODE_SCORE,
                most => MAX_NODE_SCORE * (most + least - *score) / most,
            };
        }
    }
}
