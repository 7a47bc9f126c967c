//! What table tests of plugins are made of: pods and nodes from JSON fragments, and one question each.

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::framework::{Filter, ForPod, Score, Verdict};
use crate::pod::PodInfo;
use crate::related::Related;
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod of the namespace `default` with this spec; its UID is its name.
pub(crate) fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    pod_from(json!({"metadata": {"name": name}, "spec": spec}))
}

/// A pod from a whole object; `namespace` and `uid` are filled in.
pub(crate) fn pod_from(mut object: Value) -> Arc<PodInfo> {
    let name = object["metadata"]["name"].clone();
    let metadata = &mut object["metadata"];
    for (field, value) in [("namespace", json!("default")), ("uid", name)] {
        if metadata[field].is_null() {
            metadata[field] = value;
        }
    }
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object).unwrap())))
}

/// A pod with one container that makes these requests.
pub(crate) fn requesting(name: &str, requests: Value) -> Arc<PodInfo> {
    pod(name, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

/// A node from an object without its name.
pub(crate) fn node(name: &str, mut object: Value) -> NodeInfo {
    object["metadata"]["name"] = json!(name);
    NodeInfo::new(Arc::new(serde_json::from_value(object).unwrap()))
}

/// A node with pods on it.
pub(crate) fn node_with<const N: usize>(name: &str, object: Value, pods: [Arc<PodInfo>; N]) -> NodeInfo {
    let mut node = node(name, object);
    pods.into_iter().for_each(|pod| node.add_pod(pod));
    node
}

/// A cluster of these nodes, with their pods.
pub(crate) fn cluster<const N: usize>(nodes: [NodeInfo; N]) -> Snapshot {
    let mut cache = Cache::default();
    for node in nodes {
        cache.upsert_node(node.node.clone());
        for pod in &node.pods {
            cache.upsert_pod(pod.clone(), node.name.clone());
        }
    }
    cache.snapshot().clone()
}

/// The same with other objects, each with its `kind`.
pub(crate) fn cluster_of<const N: usize>(nodes: [NodeInfo; N], objects: &[Value]) -> Snapshot {
    let mut cluster = cluster(nodes);
    for object in objects {
        let object = Related::from_json(object.clone()).expect("a known kind").unwrap();
        cluster.see(&object);
    }
    cluster
}

/// What a filter says about a pod on a node that is alone in its cluster.
pub(crate) fn ask(plugin: &dyn Filter, pod: &PodInfo, node: &NodeInfo) -> Verdict {
    ask_in(plugin, pod, node, &cluster([node.clone()]))
}

/// What a filter says about a pod on a node of a cluster.
pub(crate) fn ask_in(plugin: &dyn Filter, pod: &PodInfo, node: &NodeInfo, cluster: &Snapshot) -> Verdict {
    match plugin.for_pod(pod, cluster) {
        ForPod::Nothing => Verdict::Fits,
        ForPod::Refuse(verdict) => verdict,
        ForPod::Check { check, .. } => check.check(node),
    }
}

/// The normalised scores of nodes that make up the cluster.
pub(crate) fn scores(plugin: &dyn Score, pod: &PodInfo, nodes: &[NodeInfo]) -> Vec<i64> {
    let cluster = Snapshot::default();
    score_nodes(plugin, pod, &cluster, &nodes.iter().collect::<Vec<_>>())
}

/// The normalised scores of all nodes of a cluster.
pub(crate) fn scores_in(plugin: &dyn Score, pod: &PodInfo, cluster: &Snapshot) -> Vec<i64> {
    let nodes: Vec<&NodeInfo> = cluster.nodes().iter().map(|node| &**node).collect();
    score_nodes(plugin, pod, cluster, &nodes)
}

fn score_nodes<'a>(
    plugin: &'a dyn Score,
    pod: &'a PodInfo,
    cluster: &'a Snapshot,
    nodes: &[&'a NodeInfo],
) -> Vec<i64> {
    let Some(scorer) = plugin.for_pod(pod, cluster, nodes) else { return vec![0; nodes.len()] };
    let mut scores: Vec<i64> = nodes.iter().map(|node| scorer.score(node)).collect();
    scorer.normalise(&mut scores, nodes);
    scores
}
