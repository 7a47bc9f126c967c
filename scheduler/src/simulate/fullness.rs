//! How full a cluster is and how fragmented: pure sums over a snapshot.

use super::report::{Fullness, LargestFree, LargestUsual, NodeUse, Use};
use crate::cache::{NodeInfo, Resource, Snapshot};
use crate::explain::amounts;
use objects::resources::Resources;
use objects::taints;
use std::collections::BTreeSet;

/// Measures a cluster.
pub(crate) fn fullness(cluster: &Snapshot) -> Fullness {
    let resources = resources(cluster);
    let mut nodes: Vec<NodeUse> = cluster.nodes().iter().map(|node| node_use(node, &resources)).collect();
    let fullest = |node: &NodeUse| node.resources.iter().map(|of| of.percent).fold(0.0, f64::max);
    nodes.sort_by(|a, b| fullest(b).total_cmp(&fullest(a)).then_with(|| a.node.cmp(&b.node)));
    let (mut requested, mut allocatable) = (Resources::default(), Resources::default());
    for node in cluster.nodes() {
        requested += &node.requested;
        allocatable += &node.allocatable;
    }
    let open: Vec<&NodeInfo> =
        cluster.nodes().iter().map(|node| &**node).filter(|node| is_open(node)).collect();
    let usual = usual_pod(cluster);
    Fullness {
        nodes,
        total: uses(&requested, &allocatable, &resources),
        largest_free: resources.iter().filter_map(|resource| largest_free(&open, resource)).collect(),
        usual_pod: told(&usual),
        largest_usual: largest_usual(&open, &usual),
        usual_pods_that_fit: open.iter().map(|node| how_many(node, &usual)).sum(),
        stranded: stranded(&open, &usual, &resources),
    }
}

/// Resource and amount, of what the usual pod asks for.
type Shape = Vec<(Resource, i64)>;

fn resources(cluster: &Snapshot) -> Vec<Resource> {
    let mut named = vec![Resource::Cpu, Resource::Memory];
    let scalars = cluster.nodes().iter().flat_map(|node| node.allocatable.scalars.iter());
    let scalars: BTreeSet<&String> =
        scalars.filter(|(_, amount)| **amount > 0).map(|(name, _)| name).collect();
    let extended =
        |name: &&String| !name.starts_with("hugepages-") && !name.starts_with("attachable-volumes-");
    named.extend(scalars.into_iter().filter(extended).map(|name| Resource::Scalar(name.clone())));
    named
}

fn is_open(node: &NodeInfo) -> bool {
    let hard = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
    !node.is_cordoned() && taints::untolerated(node.taints(), &[], &hard).is_none()
}

fn node_use(node: &NodeInfo, resources: &[Resource]) -> NodeUse {
    NodeUse {
        node: node.name.to_string(),
        open: is_open(node),
        resources: uses(&node.requested, &node.allocatable, resources),
    }
}

fn uses(requested: &Resources, allocatable: &Resources, resources: &[Resource]) -> Vec<Use> {
    let percent = |of: i64, all: i64| if all == 0 { 0.0 } else { of as f64 * 100.0 / all as f64 };
    let one = |resource: &Resource| {
        let (of, all) = (resource.of(requested), resource.of(allocatable));
        Use {
            resource: amounts::name(resource).to_owned(),
            requested: of,
            allocatable: all,
            percent: percent(of, all),
            text: format!("{} / {}", amounts::text(resource, of), amounts::text(resource, all)),
        }
    };
    let pods = Use {
        resource: "pods".to_owned(),
        requested: requested.pods,
        allocatable: allocatable.pods,
        percent: percent(requested.pods, allocatable.pods),
        text: format!("{} / {}", requested.pods, allocatable.pods),
    };
    resources.iter().map(one).chain([pods]).collect()
}

fn free(node: &NodeInfo, resource: &Resource) -> i64 {
    let slots = node.allocatable.pods - node.requested.pods;
    if slots <= 0 { 0 } else { (resource.of(&node.allocatable) - resource.of(&node.requested)).max(0) }
}

fn largest_free(open: &[&NodeInfo], resource: &Resource) -> Option<LargestFree> {
    // Of equals the first by name.
    let most = open
        .iter()
        .max_by(|a, b| free(a, resource).cmp(&free(b, resource)).then_with(|| b.name.cmp(&a.name)))?;
    let amount = amounts::amount(resource, free(most, resource));
    Some(LargestFree { amount, node: most.name.to_string() })
}

/// The medians of CPU and memory over the pods that ask for them.
fn usual_pod(cluster: &Snapshot) -> Shape {
    let median = |resource: Resource| {
        let pods = cluster.nodes().iter().flat_map(|node| &node.pods);
        let mut asked: Vec<i64> = pods.map(|pod| resource.of(&pod.requests)).filter(|of| *of > 0).collect();
        asked.sort_unstable();
        asked.get(asked.len() / 2).map(|of| (resource, *of))
    };
    [Resource::Cpu, Resource::Memory].into_iter().filter_map(median).collect()
}

fn told(shape: &Shape) -> Vec<crate::explain::report::Amount> {
    shape.iter().map(|(resource, value)| amounts::amount(resource, *value)).collect()
}

/// How many pods of this shape the node has room for.
fn how_many(node: &NodeInfo, shape: &Shape) -> i64 {
    let slots = node.allocatable.pods - node.requested.pods;
    let by_resource = shape.iter().map(|(resource, asked)| free(node, resource) / asked);
    match by_resource.min() {
        Some(fit) => fit.min(slots).max(0),
        None => 0,
    }
}

/// The node with room for the largest multiple of the shape.
fn largest_usual(open: &[&NodeInfo], shape: &Shape) -> Option<LargestUsual> {
    let times = |node: &NodeInfo| {
        let times = shape.iter().map(|(resource, asked)| free(node, resource) as f64 / *asked as f64);
        times.fold(f64::INFINITY, f64::min)
    };
    let best = open.iter().max_by(|a, b| times(a).total_cmp(&times(b)).then_with(|| b.name.cmp(&a.name)))?;
    let times = times(best);
    if shape.is_empty() || times <= 0.0 {
        return None;
    }
    let scaled = |(resource, asked): &(Resource, i64)| {
        let amount = amounts::round_down(resource, (*asked as f64 * times) as i64);
        (resource.clone(), amount)
    };
    Some(LargestUsual { requests: told(&shape.iter().map(scaled).collect()), node: best.name.to_string() })
}

/// What is free where no usual pod fits.
fn stranded(
    open: &[&NodeInfo],
    shape: &Shape,
    resources: &[Resource],
) -> Vec<crate::explain::report::Amount> {
    if shape.is_empty() {
        return Vec::new();
    }
    let full = || open.iter().filter(|node| how_many(node, shape) == 0);
    let left = |resource: &Resource| -> i64 {
        full()
            .map(|node| resource.of(&node.allocatable) - resource.of(&node.requested))
            .map(|of| of.max(0))
            .sum()
    };
    let all = resources.iter().map(|resource| (resource.clone(), left(resource)));
    told(&all.filter(|(_, left)| *left > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{cluster, node, node_with, requesting};
    use serde_json::{Value, json};

    fn room(cpu: &str, memory: &str, spec: Value) -> Value {
        json!({"spec": spec, "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "10"}}})
    }

    #[test]
    fn sums_and_what_they_hide() {
        let pod = |name: &str, cpu: &str| requesting(name, json!({"cpu": cpu, "memory": "1Gi"}));
        let cluster = cluster([
            node_with("full", room("4", "8Gi", json!({})), [pod("a", "3500m"), pod("b", "100m")]),
            node_with("half", room("4", "8Gi", json!({})), [pod("c", "2")]),
            node("closed", room("4", "8Gi", json!({"unschedulable": true}))),
        ]);
        let full = fullness(&cluster);
        let order: Vec<(&str, bool)> = full.nodes.iter().map(|node| (&*node.node, node.open)).collect();
        assert_eq!(order, [("full", true), ("half", true), ("closed", false)]);
        let total: Vec<&str> = full.total.iter().map(|of| &*of.text).collect();
        assert_eq!(total, ["5.6 / 12", "3Gi / 24Gi", "3 / 30"]);
        let usual: Vec<&str> = full.usual_pod.iter().map(|of| &*of.text).collect();
        assert_eq!(usual, ["2", "1Gi"]);
        assert_eq!(full.usual_pods_that_fit, 1, "one more on half; the cordoned node does not count");
        let largest = full.largest_usual.unwrap();
        assert_eq!(
            (&*largest.node, &*largest.requests[0].text, &*largest.requests[1].text),
            ("half", "2", "1Gi")
        );
        let free: Vec<(&str, &str)> =
            full.largest_free.iter().map(|most| (&*most.amount.text, &*most.node)).collect();
        assert_eq!(free, [("2", "half"), ("7Gi", "half")]);
        let stranded: Vec<&str> = full.stranded.iter().map(|of| &*of.text).collect();
        assert_eq!(stranded, ["0.4", "6Gi"], "what is left on full");
    }

    #[test]
    fn an_empty_cluster_has_no_usual_pod() {
        let full = fullness(&cluster([node("a", room("4", "8Gi", json!({})))]));
        assert_eq!((full.usual_pod.len(), full.largest_usual, full.stranded.len()), (0, None, 0));
    }
}
