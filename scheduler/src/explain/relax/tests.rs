//! A table of pods that fit nowhere, and the change that is named first.

use super::*;
use crate::cache::Snapshot;
use crate::framework::Profile;
use crate::plugins;
use crate::plugins::fixtures::{cluster, node, node_with, pod, pod_from, requesting};
use crate::pod::PodInfo;
use jiff::Timestamp;
use serde_json::{Value, json};

fn with(cpu: &str, mut node: Value) -> Value {
    node["status"] = json!({"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}});
    node
}

fn fixes_in(pod: &Arc<PodInfo>, cluster: &Snapshot) -> Vec<Fix> {
    let profile = Profile::new("default-scheduler", plugins::defaults());
    fixes(&Case { pod, profile: &profile, cluster, budgets: &[], now: Timestamp::UNIX_EPOCH })
}

fn first(pod: &Arc<PodInfo>, cluster: &Snapshot) -> (String, String) {
    let fixes = fixes_in(pod, cluster);
    fixes.first().map(|fix| (fix.text.clone(), fix.node.clone())).unwrap_or_default()
}

fn taint(key: &str) -> Value {
    json!({"spec": {"taints": [{"key": key, "value": "gpu", "effect": "NoSchedule"}]}})
}

#[test]
fn the_smallest_change_goes_first() {
    let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let web = |name: &str, spec: Value| {
        pod_from(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}))
    };
    let away = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
    let in_zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let big = requesting("big", json!({"cpu": "2500m"}));
    let table = [
        (
            "cpu short",
            requesting("p", json!({"cpu": "4"})),
            vec![node_with("a", with("4", json!({})), [big.clone()]), node("b", with("2", json!({})))],
            ("request at most 2 cpu (asks 4)", "b"),
        ),
        (
            "a taint",
            requesting("p", json!({"cpu": "1"})),
            vec![node("a", with("4", taint("dedicated"))), node("b", with("500m", json!({})))],
            ("tolerate the taint dedicated=gpu:NoSchedule, or remove it from node a", "a"),
        ),
        (
            "cordoned",
            requesting("p", json!({"cpu": "1"})),
            vec![
                node("a", with("4", json!({"spec": {"unschedulable": true}}))),
                node("b", with("4", taint("t"))),
            ],
            ("uncordon node a", "a"),
        ),
        (
            "a label nobody has",
            pod("p", json!({"nodeSelector": {"disktype": "ssd"}})),
            vec![node("a", with("4", json!({})))],
            ("label node a disktype=ssd", "a"),
        ),
        (
            "a zone that cannot be changed by a label of ours",
            pod("p", json!({"nodeSelector": {"topology.kubernetes.io/zone": "x"}})),
            vec![node("a", with("4", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "y"}}})))],
            ("remove topology.kubernetes.io/zone=x from nodeSelector", "a"),
        ),
        (
            "gates",
            pod("p", json!({"schedulingGates": [{"name": "example.com/wait"}]})),
            vec![node("a", with("4", json!({})))],
            ("remove the scheduling gates example.com/wait", "a"),
        ),
        (
            "spread",
            web("p", json!({"topologySpreadConstraints": spread})),
            vec![
                node_with("a", with("4", in_zone("a")), [web("w", json!({}))]),
                node(
                    "b",
                    with(
                        "4",
                        json!({"metadata": {"labels": {"zone": "b"}}, "spec": {"unschedulable": true}}),
                    ),
                ),
            ],
            ("uncordon node b", "b"),
        ),
        (
            "anti-affinity",
            web("p", away),
            vec![node_with("a", with("4", in_zone("a")), [web("w", json!({}))])],
            ("remove required pod anti-affinity term 1 (by zone), or make it preferred", "a"),
        ),
        (
            "two things at once",
            pod(
                "p",
                json!({"nodeSelector": {"disk": "ssd"},
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}),
            ),
            vec![node("a", with("4", taint("t")))],
            ("tolerate the taint t=gpu:NoSchedule, or remove it from node a, and label node a disk=ssd", "a"),
        ),
        (
            "gated, and no room either",
            pod(
                "p",
                json!({"schedulingGates": [{"name": "g"}],
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]}),
            ),
            vec![node("a", with("2", json!({})))],
            ("remove the scheduling gates g, and request at most 2 cpu (asks 4)", "a"),
        ),
    ];
    for (name, pod, nodes, (text, on)) in table {
        let mut snapshot = cluster([]);
        for node in nodes {
            snapshot = joined(&snapshot, node);
        }
        assert_eq!(first(&pod, &snapshot), (text.to_owned(), on.to_owned()), "{name}");
    }
}

/// A node with its pods added.
fn joined(cluster: &Snapshot, node: crate::cache::NodeInfo) -> Snapshot {
    let mut cache = crate::cache::Cache::default();
    for info in cluster.nodes().iter().map(|info| &**info).chain([&node]) {
        cache.upsert_node(info.node.clone());
        for pod in &info.pods {
            cache.upsert_pod(pod.clone(), info.name.clone());
        }
    }
    cache.snapshot().clone()
}

#[test]
fn pods_that_would_have_to_go_are_named() {
    let old = requesting("old", json!({"cpu": "3", "memory": "1Gi"}));
    let cluster = cluster([node_with("a", with("4", json!({})), [old])]);
    let pod = requesting("p", json!({"cpu": "2"}));
    let texts: Vec<String> = fixes_in(&pod, &cluster).into_iter().map(|fix| fix.text).collect();
    let delete = "delete pod default/old from node a, which frees 3 cpu and 1Gi memory, \
                  or give the pod priority 1 so that it may evict";
    assert_eq!(texts, ["request at most 1 cpu (asks 2)", delete, "add a node like a"]);
}

#[test]
fn nothing_is_named_that_does_not_help() {
    let cluster = cluster([node("a", with("4", json!({})))]);
    assert_eq!(fixes_in(&requesting("fits", json!({"cpu": "1"})), &cluster), []);
    let gpu = requesting("p", json!({"example.com/gpu": "1"}));
    assert_eq!(fixes_in(&gpu, &cluster), [], "no node has any, and none like these would");
}

#[test]
fn one_node_can_be_asked_about() {
    let profile = Profile::new("default-scheduler", plugins::defaults());
    let cluster = cluster([node("a", with("1", json!({}))), node("b", with("4", taint("t")))]);
    let pod = requesting("p", json!({"cpu": "2"}));
    let case =
        Case { pod: &pod, profile: &profile, cluster: &cluster, budgets: &[], now: Timestamp::UNIX_EPOCH };
    let texts = |node: &str| fixes_on(&case, node).into_iter().map(|fix| fix.text).collect::<Vec<_>>();
    assert_eq!(texts("a"), ["request at most 1 cpu (asks 2)"]);
    assert_eq!(texts("b"), ["tolerate the taint t=gpu:NoSchedule, or remove it from node b"]);
    assert_eq!(texts("nowhere"), Vec::<String>::new());
}
