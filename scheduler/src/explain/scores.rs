//! How the nodes compare that a pod fits: every score plugin's raw, normalised and weighted points.

use crate::cache::{NodeInfo, Snapshot};
use crate::cycle::{Checks, fitting};
use crate::framework::Profile;
use crate::pod::{NodeName, PodInfo};
use std::cmp::Reverse;

/// The best nodes for a pod, and the points they got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// The plugins that gave points, with their weights.
    pub plugins: Vec<(&'static str, i64)>,
    /// The best nodes, the best first.
    pub nodes: Vec<Ranked>,
    /// How many nodes fit.
    pub feasible: usize,
    /// How many of them have as many points as the best: one of these was drawn.
    pub tied: usize,
}

/// One node of a [`Ranking`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The node.
    pub node: NodeName,
    /// The sum of normalised points times weights.
    pub total: i64,
    /// (raw, normalised) points of each plugin, in the order of the ranking's plugins.
    pub points: Vec<(i64, i64)>,
}

impl Ranking {
    /// Keeps the best `most` nodes, and `chosen` in any case: it goes first among its equals.
    pub fn keep(&mut self, most: usize, chosen: &str) {
        if let Some(at) = self.nodes.iter().position(|ranked| &*ranked.node == chosen) {
            let total = self.nodes[at].total;
            let first = self.nodes.iter().position(|ranked| ranked.total == total).unwrap_or(at);
            self.nodes[first..=at].rotate_right(1);
            if first >= most {
                self.nodes.swap(most.saturating_sub(1), first);
            }
        }
        self.nodes.truncate(most);
    }

    /// Bytes it holds, itself included.
    pub fn bytes(&self) -> usize {
        let points = self.plugins.len() * size_of::<(i64, i64)>();
        size_of::<Self>()
            + self.plugins.len() * size_of::<(&str, i64)>()
            + self.nodes.len() * (size_of::<Ranked>() + points)
    }
}

/// Compares the nodes that `pod` fits; keeps the best `most`. Empty when it fits none.
pub fn rank(pod: &PodInfo, profile: &Profile, cluster: &Snapshot, most: usize) -> Ranking {
    let Ok(checks) = Checks::prepare(pod, profile, cluster) else { return Ranking::default() };
    match fitting(pod, &checks, cluster) {
        Ok(feasible) => rank_these(pod, profile, cluster, &feasible, most),
        Err(_) => Ranking::default(),
    }
}

/// [`rank`] among nodes that are known to fit.
pub fn rank_these(
    pod: &PodInfo,
    profile: &Profile,
    cluster: &Snapshot,
    feasible: &[&NodeInfo],
    most: usize,
) -> Ranking {
    let mut ranking = Ranking { feasible: feasible.len(), ..Ranking::default() };
    let mut columns: Vec<Vec<(i64, i64)>> = Vec::new();
    let mut totals = vec![0; feasible.len()];
    for (plugin, weight) in profile.scores() {
        let Some(scorer) = plugin.for_pod(pod, cluster, feasible) else { continue };
        let raw: Vec<i64> = feasible.iter().map(|node| scorer.score(node)).collect();
        let mut normalised = raw.clone();
        scorer.normalise(&mut normalised, feasible);
        for (total, points) in totals.iter_mut().zip(&normalised) {
            *total += points * weight;
        }
        ranking.plugins.push((plugin.name(), weight));
        columns.push(raw.into_iter().zip(normalised).collect());
    }
    let best = totals.iter().copied().max().unwrap_or_default();
    ranking.tied = totals.iter().filter(|total| **total == best).count();
    let mut order: Vec<usize> = (0..feasible.len()).collect();
    order.sort_by_key(|at| (Reverse(totals[*at]), &feasible[*at].name));
    ranking.nodes = order
        .into_iter()
        .take(most)
        .map(|at| Ranked {
            node: feasible[at].name.clone(),
            total: totals[at],
            points: columns.iter().map(|column| column[at]).collect(),
        })
        .collect();
    ranking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle;
    use crate::plugins;
    use crate::plugins::fixtures::{cluster, node, node_with, requesting};
    use component::random::Random;
    use serde_json::json;

    fn room(cpu: &str) -> serde_json::Value {
        json!({"status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
    }

    #[test]
    fn the_best_is_the_one_that_scheduling_takes() {
        let profile = Profile::new("default-scheduler", plugins::defaults());
        let busy = requesting("busy", json!({"cpu": "3", "memory": "1Gi"}));
        let cluster = cluster([
            node_with("busy", room("4"), [busy]),
            node("empty", room("4")),
            node("small", room("500m")),
        ]);
        let pod = requesting("p", json!({"cpu": "1", "memory": "1Gi"}));
        let ranking = rank(&pod, &profile, &cluster, 5);
        let placed = cycle::place(&pod, &profile, &cluster, &Random::from_seed(1)).unwrap();
        assert_eq!((ranking.feasible, ranking.tied), (2, 1));
        assert_eq!(&*placed.node, "empty");
        let names: Vec<&str> = ranking.nodes.iter().map(|ranked| &*ranked.node).collect();
        assert_eq!(names, ["empty", "busy"]);
        for ranked in &ranking.nodes {
            let weighted = ranked.points.iter().zip(&ranking.plugins);
            assert_eq!(ranked.total, weighted.map(|((_, points), (_, weight))| points * weight).sum::<i64>());
        }
        let fit = ranking.plugins.iter().position(|(name, _)| *name == "NodeResourcesFit").unwrap();
        // (75 % of CPU free + 87 % of memory free) / 2.
        assert_eq!(ranking.nodes[0].points[fit], (81, 81));
        assert_eq!(rank(&requesting("p", json!({"cpu": "9"})), &profile, &cluster, 5), Ranking::default());
    }

    #[test]
    fn the_chosen_node_is_kept() {
        let ranked = |(name, total): (&str, i64)| Ranked { node: name.into(), total, points: Vec::new() };
        let nodes = [("a", 9), ("b", 9), ("c", 9), ("d", 5)];
        for (chosen, want) in [("c", ["c", "a"]), ("a", ["a", "b"]), ("d", ["a", "d"]), ("x", ["a", "b"])] {
            let nodes = nodes.map(ranked).to_vec();
            let mut ranking = Ranking { nodes, ..Ranking::default() };
            ranking.keep(2, chosen);
            let names: Vec<&str> = ranking.nodes.iter().map(|ranked| &*ranked.node).collect();
            assert_eq!(names, want, "{chosen}");
        }
    }
}
