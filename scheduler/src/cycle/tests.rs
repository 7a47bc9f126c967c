//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::plugins;
use crate::plugins::fixtures::{cluster, node, node_with, pod, pod_from, requesting};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn profile() -> Profile {
    Profile::new("default-scheduler", plugins::defaults())
}

fn room(cpu: &str) -> Value {
    json!({"status": {"allocatable": {"cpu": cpu, "memory": "32Gi", "pods": "110"}}})
}

fn chosen(pod: &PodInfo, cluster: &Snapshot, seed: u64) -> Result<String, String> {
    place(pod, &profile(), cluster, &Random::from_seed(seed))
        .map(|placement| placement.node.to_string())
        .map_err(|failure| failure.to_string())
}

#[test]
fn takes_the_node_with_the_best_score() {
    let full = node_with("full", room("8"), [requesting("old", json!({"cpu": "6"}))]);
    let cluster = cluster([full, node("empty", room("8"))]);
    let wanted = requesting("p", json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(chosen(&wanted, &cluster, 1).unwrap(), "empty");
    let nodes: Vec<&NodeInfo> = cluster.nodes().iter().map(|node| &**node).collect();
    let profile = profile();
    // full: least (12 + 96)/2 = 54 with 200Mi for the old pod, balanced 57; empty: least (87 + 96)/2 = 91, balanced
    // 95; both: taints 3 * 100.
    assert_eq!(score(&wanted, &profile, &cluster, &nodes), [300 + 54 + 57, 300 + 91 + 95]);
}

#[test]
fn equal_nodes_are_chosen_by_the_seed_and_evenly() {
    let cluster = cluster([node("a", room("8")), node("b", room("8")), node("c", room("8"))]);
    let wanted = requesting("p", json!({"cpu": "1"}));
    assert_eq!(chosen(&wanted, &cluster, 5), chosen(&wanted, &cluster, 5));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let (random, profile) = (Random::from_seed(1), profile());
    for _ in 0..300 {
        let placement = place(&wanted, &profile, &cluster, &random).unwrap();
        *counts.entry(placement.node.to_string()).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 70), "{counts:?}");
}

#[test]
fn says_of_every_node_why_not() {
    let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let cordoned = json!({"spec": {"unschedulable": true}});
    let full = node_with("full", room("2"), [requesting("old", json!({"cpu": "2"}))]);
    let cluster = cluster([full, node("t1", tainted.clone()), node("t2", tainted), node("c", cordoned)]);
    assert_eq!(
        chosen(&requesting("p", json!({"cpu": "1"})), &cluster, 1).unwrap_err(),
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s)."
    );
    let selective = pod("p", json!({"nodeSelector": {"zone": "x"}, "tolerations": [{"operator": "Exists"}]}));
    assert_eq!(
        chosen(&selective, &cluster, 1).unwrap_err(),
        "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."
    );
    assert_eq!(
        chosen(&selective, &Snapshot::default(), 1).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn a_pod_bound_to_a_name_asks_only_that_node() {
    let cluster = cluster([node("a", room("8")), node("b", room("1")), node("c", room("8"))]);
    let named = |name: &str| {
        let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
        pod(
            "p",
            json!({
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
            }),
        )
    };
    assert_eq!(chosen(&named("a"), &cluster, 1).unwrap(), "a");
    assert_eq!(
        chosen(&named("b"), &cluster, 1).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
    assert_eq!(
        chosen(&named("gone"), &cluster, 1).unwrap_err(),
        "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}

#[test]
fn room_that_was_promised_is_kept_from_lesser_pods_and_used_first() {
    let prioritised = |name: &str, priority: i32| {
        pod_from(json!({
            "metadata": {"name": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
        }))
    };
    let mut cluster = cluster([node("a", room("2"))]);
    let important = prioritised("important", 10);
    cluster.nominate(&important, "a".into());
    assert_eq!(
        chosen(&prioritised("p", 9), &cluster, 1).unwrap_err(),
        "0/1 nodes are available: 1 Insufficient cpu."
    );
    assert_eq!(chosen(&prioritised("p", 11), &cluster, 1).unwrap(), "a");
    assert_eq!(chosen(&important, &cluster, 1).unwrap(), "a");
}
