//! Prefers nodes whose resources would be used evenly: CPU and memory full to the same degree are worth 100.

use super::ScoredResource;
use super::args::NodeResourcesBalancedAllocationArgs;
use crate::cache::{Counting, Gauge, NodeInfo, Resource, Snapshot};
use crate::devices::Stock;
use crate::framework::{MAX_NODE_SCORE, NodeScore, Plugin, Reads, Scale, Score};
use crate::pod::PodInfo;

/// Upstream's NodeResourcesBalancedAllocation.
#[derive(Debug)]
pub struct BalancedAllocation {
    /// The resources to balance.
    pub resources: Vec<Resource>,
}

impl BalancedAllocation {
    /// The plugin with these arguments.
    pub fn new(args: &NodeResourcesBalancedAllocationArgs) -> Self {
        let resources = ScoredResource::all(&args.resources);
        Self { resources: resources.into_iter().map(|scored| scored.resource).collect() }
    }
}

impl Default for BalancedAllocation {
    fn default() -> Self {
        Self::new(&NodeResourcesBalancedAllocationArgs::default())
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Score for BalancedAllocation {
    fn scale(&self) -> Scale {
        Scale::AsIs
    }

    /// `None` for a pod that requests none of the resources: it balances nothing.
    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let wants = self.resources.iter().any(|resource| resource.of(&pod.requests) > 0);
        let stock = || Stock::for_pod(cluster.devices(), pod, self.resources.iter());
        let balance = || Balance { resources: &self.resources, pod, stock: stock() };
        wants.then(|| Box::new(balance()) as Box<dyn NodeScore + 'a>)
    }
}

#[derive(Debug)]
struct Balance<'a> {
    resources: &'a [Resource],
    pod: &'a PodInfo,
    stock: Option<Stock<'a>>,
}

impl NodeScore for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let used = |resource: &Resource| {
            let by_class = || self.stock.as_ref()?.with_pod(resource, self.pod, node);
            let (room, used) = node.with_pod(resource, self.pod, Counting::Real).or_else(by_class)?;
            Some(fraction(room, used))
        };
        // The rule, and it needs no list.
        if let [one, other] = self.resources
            && let (Some(one), Some(other)) = (used(one), used(other))
        {
            return worth(&[one, other]);
        }
        worth(&self.resources.iter().filter_map(used).collect::<Vec<f64>>())
    }

    fn score_each(&self, cluster: &Snapshot, places: &[u32], scores: &mut Vec<i64>) {
        let ([one, other], true) = (self.resources, Gauge::shows_all_of(self.pod)) else {
            return scores.extend(places.iter().map(|at| self.score(&cluster.nodes()[*at as usize])));
        };
        let fractions = |resource: &Resource| {
            let mut fractions = vec![None; places.len()];
            let note = |at: usize, room, used| fractions[at] = Some(fraction(room, used));
            Gauge::each_with_pod(cluster.gauges(), places, resource, self.pod, Counting::Real, note);
            fractions
        };
        scores.extend(fractions(one).into_iter().zip(fractions(other)).map(|both| match both {
            (Some(one), Some(other)) => worth(&[one, other]),
            (Some(only), None) | (None, Some(only)) => worth(&[only]),
            (None, None) => worth(&[]),
        }));
    }
}

/// How full it would be, at most 1.
#[expect(clippy::cast_precision_loss, reason = "upstream's arithmetic")]
fn fraction(room: i64, used: i64) -> f64 {
    (used as f64 / room as f64).min(1.0)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
fn worth(fractions: &[f64]) -> i64 {
    ((1.0 - deviation(fractions)) * MAX_NODE_SCORE as f64) as i64
}

/// The population standard deviation, for two values in upstream's shorter form (which rounds differently).
#[expect(clippy::cast_precision_loss, reason = "a handful of resources")]
fn deviation(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [one, other] => (one - other).abs() / 2.0,
        several => {
            let count = several.len() as f64;
            let mean = several.iter().sum::<f64>() / count;
            (several.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count).sqrt()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{node_with, requesting, scores};
    use serde_json::json;

    #[test]
    fn score_table() {
        let room = json!({"status": {"allocatable": {"cpu": "10", "memory": "20Gi", "pods": "110", "example.com/gpu": "4"}}});
        for (name, old, wanted, want) in [
            ("even", json!({}), json!({"cpu": "1", "memory": "2Gi"}), vec![100]),
            ("uneven", json!({}), json!({"cpu": "5", "memory": "2Gi"}), vec![80]),
            ("evened out", json!({"memory": "8Gi"}), json!({"cpu": "5", "memory": "2Gi"}), vec![100]),
            (
                "over full counts as full",
                json!({"cpu": "9", "memory": "20Gi"}),
                json!({"cpu": "9"}),
                vec![100],
            ),
            ("wants nothing", json!({}), json!({}), vec![0]),
        ] {
            let node = node_with("n", room.clone(), [requesting("old", old)]);
            assert_eq!(
                scores(&BalancedAllocation::default(), &requesting("p", wanted), &[node]),
                want,
                "{name}"
            );
        }
        let three = BalancedAllocation {
            resources: vec![Resource::Cpu, Resource::Memory, Resource::Scalar("example.com/gpu".into())],
        };
        let node = node_with("n", room, []);
        let wanted = requesting("p", json!({"cpu": "5", "memory": "10Gi", "example.com/gpu": "4"}));
        // 0.5, 0.5, 1: deviation 0.2357.
        assert_eq!(scores(&three, &wanted, &[node]), [76]);
    }
}
