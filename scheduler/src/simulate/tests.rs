//! Questions with known answers.

use super::*;
use crate::config::Config;
use serde_json::json;

fn node(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}})
}

/// A pod on a node, or without one; `owner` is (kind, name).
fn pod(name: &str, node: Option<&str>, cpu: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| {
            json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true})
        })
        .into_iter()
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn deployment(name: &str, replicas: u32, cpu: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": cpu}}}]}}}})
}

fn ask(objects: Vec<Value>, changes: NodeChanges, manifests: Vec<Value>) -> Result<Report, Error> {
    let mut world = World::default();
    for object in objects {
        world.add(object).unwrap();
    }
    let profiles = Arc::new(Config::default().profiles());
    simulate(world, &changes, manifests, &profiles, Timestamp::UNIX_EPOCH)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `POD -> NODE` or `POD: MESSAGE`, sorted.
fn told(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report
        .pods
        .iter()
        .map(|pod| match (&pod.node, &pod.message) {
            (Some(node), _) => format!("{} -> {node}", pod.pod),
            (None, message) => format!("{}: {}", pod.pod, message.as_deref().unwrap_or_default()),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn manifests_go_where_the_scheduler_would_put_them() {
    let cluster = vec![node("a", "2"), node("b", "1"), pod("old", Some("b"), "1", None)];
    let report = ask(cluster, NodeChanges::default(), vec![deployment("web", 3, "1")]).unwrap();
    let short = "default/web-2: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: \
                 2 No preemption victims found for incoming pod.";
    assert_eq!(told(&report), ["default/web-0 -> a", "default/web-1 -> a", short]);
    assert_eq!(
        (report.pods[0].owner.as_str(), report.pods[0].origin),
        ("Deployment default/web", Origin::Applied)
    );
    assert_eq!((report.before.total[0].requested, report.after.total[0].requested), (1000, 3000));
    let table = text(&report);
    assert!(table.starts_with("2 of 3 pods find a node.\n"), "{table}");
    assert!(table.contains("Deployment default/web  applied  2 of 3  a x2"), "{table}");
}

#[test]
fn sets_that_are_there_get_what_they_lack() {
    let running = pod("web-x", Some("a"), "100m", Some(("ReplicaSet", "web-1")));
    let mut running = running;
    running["metadata"]["labels"]["app"] = json!("web");
    let report =
        ask(vec![node("a", "4"), running], NodeChanges::default(), vec![deployment("web", 3, "1")]).unwrap();
    assert_eq!(told(&report), ["default/web-1 -> a", "default/web-2 -> a"]);
    assert_eq!(
        report.notes,
        ["Deployment default/web: 1 of its 3 pods are there already and stay as they are"]
    );
}

#[test]
fn each_kind_of_set_makes_its_pods() {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}});
    let set = |kind: &str, version: &str, spec: Value| {
        let mut spec = spec;
        spec["template"] = template.clone();
        spec["selector"] = json!({"matchLabels": {"app": kind}});
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "n"}, "spec": spec})
    };
    let mut tainted = node("b", "4");
    tainted["spec"] = json!({"taints": [{"key": "t", "effect": "NoSchedule"}]});
    for (object, want) in [
        (set("ReplicaSet", "apps/v1", json!({"replicas": 2})), vec!["n/x-0 -> a", "n/x-1 -> a"]),
        (set("StatefulSet", "apps/v1", json!({})), vec!["n/x-0 -> a"]),
        (set("DaemonSet", "apps/v1", json!({})), vec!["n/x-a -> a"]),
        (
            set("Job", "batch/v1", json!({"parallelism": 3, "completions": 2})),
            vec!["n/x-0 -> a", "n/x-1 -> a"],
        ),
        (set("CronJob", "batch/v1", json!({})), vec![]),
        (json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {}}), vec![]),
    ] {
        let cluster = vec![node("a", "4"), tainted.clone()];
        let report = ask(cluster, NodeChanges::default(), vec![object.clone()]).unwrap();
        assert_eq!(told(&report), want, "{object}");
    }
}

#[test]
fn drained_and_lost_nodes_give_their_pods_up() {
    let web = Some(("ReplicaSet", "web-1"));
    let cluster = || {
        vec![
            node("a", "4"),
            node("b", "4"),
            node("c", "4"),
            pod("web-1", Some("a"), "1", web),
            pod("bare", Some("a"), "1", None),
            pod("daemon", Some("a"), "1", Some(("DaemonSet", "d"))),
            pod("kept", Some("a"), "1", web),
            pod("full", Some("b"), "3500m", None),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "kept", "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": "kept"}}}, "status": {"disruptionsAllowed": 0}}),
        ]
    };
    let drain = NodeChanges { drain: owned(&["a"]), ..NodeChanges::default() };
    let report = ask(cluster(), drain, vec![]).unwrap();
    assert_eq!(told(&report), ["default/web-1 -> c"]);
    assert_eq!((report.pods[0].origin, report.pods[0].from.as_deref()), (Origin::Displaced, Some("a")));
    let names = |lost: &[report::Lost]| lost.iter().map(|lost| lost.pod.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&report.lost), names(&report.held)),
        (owned(&["default/bare"]), owned(&["default/kept"]))
    );
    assert!(report.after.nodes.iter().any(|node| node.node == "a" && !node.open), "drained, not gone");

    let lose = NodeChanges { lose: owned(&["a", "c"]), ..NodeChanges::default() };
    let report = ask(cluster(), lose, vec![]).unwrap();
    assert_eq!(report.after.nodes.len(), 1);
    assert_eq!(names(&report.lost), ["default/bare", "default/daemon"]);
    let went = told(&report);
    assert!(went.len() == 2 && went.iter().all(|line| line.contains("1 Insufficient cpu")), "{went:?}");
}

#[test]
fn new_nodes_are_like_old_ones_and_get_their_daemons() {
    let mut daemon = deployment("agent", 0, "100m");
    daemon["kind"] = json!("DaemonSet");
    daemon["metadata"]["namespace"] = json!("default");
    let cluster =
        vec![node("a", "1"), daemon, pod("waits", None, "1", None), pod("old", Some("a"), "1", None)];
    let add = NodeChanges { add: vec![("b".to_owned(), "a".to_owned())], ..NodeChanges::default() };
    let report = ask(cluster, add, vec![]).unwrap();
    let short = "default/waits: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: \
                 2 No preemption victims found for incoming pod.";
    assert_eq!(told(&report).len(), 2, "{report:?}");
    let daemon_first = told(&report) == ["default/agent-b -> b", short];
    let pod_first =
        report.pods.iter().any(|pod| pod.pod == "default/waits" && pod.node.as_deref() == Some("b"));
    assert!(daemon_first || pod_first, "{report:?}");
    let hosts = report.after.nodes.iter().map(|node| node.node.as_str()).collect::<Vec<_>>();
    assert!(hosts.contains(&"b"), "{hosts:?}");
}

#[test]
fn important_pods_preempt_and_their_victims_are_made_again() {
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"},
        "value": 100});
    let mut urgent = pod("urgent", None, "2", None);
    urgent["spec"]["priorityClassName"] = json!("high");
    let cluster = || {
        vec![
            node("a", "2"),
            pod("web-1", Some("a"), "1", Some(("ReplicaSet", "web"))),
            pod("bare", Some("a"), "1", None),
        ]
    };
    let report = ask(cluster(), NodeChanges::default(), vec![class.clone(), urgent.clone()]).unwrap();
    let outcome = |name: &str| report.pods.iter().find(|pod| pod.pod == name).cloned().unwrap();
    assert_eq!(outcome("default/urgent").node.as_deref(), Some("a"));
    let again = outcome("default/web-1");
    assert_eq!((again.origin, again.from.as_deref(), again.node), (Origin::Preempted, Some("a"), None));
    let mut victims: Vec<(&str, &str)> =
        report.preempted.iter().map(|victim| (&*victim.pod, &*victim.by)).collect();
    victims.sort_unstable();
    assert_eq!(victims, [("default/bare", "default/urgent"), ("default/web-1", "default/urgent")]);
    assert!(text(&report).contains("PREEMPTED"));

    let error = ask(cluster(), NodeChanges::default(), vec![urgent]).unwrap_err();
    assert_eq!(error.to_string(), "Pod default/urgent names the priority class high, which is not there");
}

#[test]
fn questions_that_do_not_fit_the_cluster_are_told() {
    let cluster = || vec![node("a", "2")];
    let drain = |names| NodeChanges { drain: owned(names), ..NodeChanges::default() };
    let lose = |names| NodeChanges { lose: owned(names), ..NodeChanges::default() };
    let add = |name: &str, like: &str| NodeChanges {
        add: vec![(name.to_owned(), like.to_owned())],
        ..NodeChanges::default()
    };
    for (changes, want) in [
        (drain(&["x"]), "there is no node x: check --drain"),
        (lose(&["a", "a"]), "there is no node a: check --lose"),
        (add("b", "x"), "there is no node x: check --add"),
        (add("a", "a"), "there is a node a already: check --add"),
    ] {
        assert_eq!(ask(cluster(), changes, vec![]).unwrap_err().to_string(), want);
    }
    let many = ask(cluster(), NodeChanges::default(), vec![deployment("web", 4_000_000, "1")]).unwrap_err();
    assert_eq!(many.to_string(), "Deployment default/web asks for 4000000 pods: more than 200000");
}

#[test]
fn gated_pods_and_those_of_others_are_not_placed() {
    let mut gated = pod("gated", None, "1", None);
    gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    let mut foreign = pod("foreign", None, "1", None);
    foreign["spec"]["schedulerName"] = json!("other");
    let report = ask(vec![node("a", "2")], NodeChanges::default(), vec![gated, foreign]).unwrap();
    assert_eq!(
        told(&report),
        [
            "default/foreign: its scheduler is other, which is not simulated",
            "default/gated: held back by SchedulingGates: waiting for scheduling gates: [g]",
        ]
    );
}
