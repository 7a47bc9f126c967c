//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::plugins::fixtures::{node, pod_from, requesting};
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn on(cache: &Cache, node: &str) -> (i64, i64) {
    let info = cache.snapshot().node(&node.into()).unwrap();
    assert_eq!(usize::try_from(info.requested.pods).unwrap(), info.pods.len());
    (info.requested.pods, info.requested.milli_cpu)
}

fn with_nodes(names: &[&str]) -> Cache {
    let mut cache = Cache::default();
    for name in names {
        cache.upsert_node(node(name, json!({})).node);
    }
    cache
}

fn one_cpu(name: &str) -> Arc<PodInfo> {
    requesting(name, json!({"cpu": "1"}))
}

#[test]
fn an_assumed_pod_counts_at_once_and_is_confirmed_once() {
    let mut cache = with_nodes(&["n"]);
    cache.assume(one_cpu("p"), "n".into());
    assert_eq!((on(&cache, "n"), cache.sizes()), ((1, 1000), (1, 1, 1)));
    assert_eq!(cache.upsert_pod(one_cpu("p"), "n".into()), WakeupSet::of(&[Wakeup::PodAssigned]));
    assert_eq!((on(&cache, "n"), cache.sizes()), ((1, 1000), (1, 1, 0)));
    assert_eq!(cache.upsert_pod(one_cpu("p"), "n".into()), WakeupSet::default());
    assert!(cache.forget(&"p".into()).is_none(), "the watch knows better than a failed bind");
    assert_eq!(on(&cache, "n"), (1, 1000));
}

#[test]
fn a_failed_bind_is_taken_back() {
    let mut cache = with_nodes(&["n"]);
    cache.assume(one_cpu("p"), "n".into());
    assert!(cache.forget(&"p".into()).is_some());
    assert_eq!((on(&cache, "n"), cache.sizes()), ((0, 0), (1, 0, 0)));
}

#[test]
fn another_scheduler_was_quicker() {
    let mut cache = with_nodes(&["a", "b"]);
    cache.assume(one_cpu("p"), "a".into());
    let kinds = cache.upsert_pod(one_cpu("p"), "b".into());
    assert!(kinds.contains(Wakeup::PodRemoved), "the node we thought of has room again");
    assert_eq!((on(&cache, "a"), on(&cache, "b")), ((0, 0), (1, 1000)));
}

#[test]
fn a_bound_pod_that_the_watch_never_shows_expires() {
    let mut cache = with_nodes(&["n"]);
    cache.assume(one_cpu("p"), "n".into());
    assert_eq!(cache.next_expiry(), None, "not before the bind has ended");
    cache.bound(&"p".into(), at(0));
    assert_eq!(cache.next_expiry(), Some(at(0) + ASSUMED_LIMIT));
    assert!(cache.expire(at(10)).is_empty());
    assert_eq!(cache.expire(at(0) + ASSUMED_LIMIT).len(), 1);
    assert_eq!((on(&cache, "n"), cache.next_expiry()), ((0, 0), None));
}

#[test]
fn pods_may_come_before_their_node_and_outlive_it() {
    let mut cache = Cache::default();
    cache.upsert_pod(one_cpu("p"), "n".into());
    cache.upsert_pod(one_cpu("q"), "n".into());
    cache.remove_pod(&"q".into());
    assert_eq!(cache.upsert_node(node("n", json!({})).node), WakeupSet::of(&[Wakeup::NodeAdded]));
    assert_eq!(on(&cache, "n"), (1, 1000));
    cache.remove_node(&"n".into());
    assert!(cache.snapshot().is_empty());
    cache.upsert_node(node("n", json!({})).node);
    assert_eq!(on(&cache, "n"), (1, 1000));
    cache.remove_node(&"n".into());
    cache.remove_pod(&"p".into());
    cache.upsert_node(node("n", json!({})).node);
    assert_eq!(on(&cache, "n"), (0, 0));
}

#[test]
fn says_what_a_change_of_a_node_means() {
    let mut cache = Cache::default();
    let mut change = |object: Value| cache.upsert_node(node("n", object).node);
    let cases = [
        (json!({}), vec![Wakeup::NodeAdded]),
        (json!({}), vec![]),
        (json!({"metadata": {"labels": {"a": "b"}}}), vec![Wakeup::NodeLabels]),
        (
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"unschedulable": true}}),
            vec![Wakeup::NodeTaints],
        ),
        (
            json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
            vec![Wakeup::NodeLabels, Wakeup::NodeTaints],
        ),
        (json!({"status": {"allocatable": {"cpu": "4"}}}), vec![Wakeup::NodeAllocatable, Wakeup::NodeTaints]),
        (json!({"status": {"allocatable": {"cpu": "4"}, "images": [{"names": ["a:1"]}]}}), vec![]),
        (
            json!({"status": {"allocatable": {"cpu": "4"}, "images": [{"names": ["a:1"]}], "declaredFeatures": ["A"]}}),
            vec![Wakeup::NodeDeclaredFeatures],
        ),
    ];
    for (object, want) in cases {
        assert_eq!(change(object.clone()), WakeupSet::of(&want), "{object}");
    }
    assert_eq!(cache.snapshot().nodes_with_image("a:1"), 1);
    assert_eq!(cache.snapshot().node(&"n".into()).unwrap().allocatable.milli_cpu, 4000);
    cache.remove_node(&"n".into());
    assert_eq!(cache.snapshot().nodes_with_image("a:1"), 0);
}

#[test]
fn a_pod_that_asks_less_than_before_makes_room() {
    let mut cache = with_nodes(&["n"]);
    let labelled = |cpu: &str, app: &str| {
        pod_from(json!({
            "metadata": {"name": "p", "labels": {"app": app}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        }))
    };
    cache.upsert_pod(labelled("2", "a"), "n".into());
    for (cpu, app, want) in
        [("1", "a", vec![Wakeup::PodScaledDown]), ("1", "b", vec![Wakeup::PodLabels]), ("2", "b", vec![])]
    {
        assert_eq!(cache.upsert_pod(labelled(cpu, app), "n".into()), WakeupSet::of(&want), "{cpu} {app}");
    }
    assert_eq!(on(&cache, "n"), (1, 2000));
}

#[test]
fn a_clone_of_the_snapshot_does_not_see_later_changes() {
    let mut cache = with_nodes(&["a", "b"]);
    let before = cache.snapshot().clone();
    cache.assume(one_cpu("p"), "a".into());
    assert_eq!(before.node(&"a".into()).unwrap().pods.len(), 0);
    assert!(Arc::ptr_eq(&before.nodes()[1], &cache.snapshot().nodes()[1]), "unchanged nodes are shared");
}

#[test]
fn gauges_say_what_the_nodes_say() {
    let mut cache = with_nodes(&["a", "b", "c"]);
    let told = |cache: &Cache| {
        let snapshot = cache.snapshot();
        let nodes: Vec<Gauge> = snapshot.nodes().iter().map(|node| Gauge::of(node)).collect();
        assert_eq!(snapshot.gauges(), nodes);
        nodes
    };
    let full = json!({
        "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "pods": "2"}},
    });
    let empty = told(&cache);
    cache.assume(one_cpu("p"), "a".into());
    assert_ne!(told(&cache), empty);
    cache.upsert_pod(one_cpu("q"), "c".into());
    let before = told(&cache);
    cache.upsert_node(node("b", full).node);
    assert_ne!(told(&cache), before);
    cache.remove_node(&"a".into());
    assert_eq!(told(&cache).len(), 2);
    cache.remove_pod(&"q".into());
    let gauge = cache.snapshot().gauges()[cache.snapshot().position("b").unwrap()];
    told(&cache);
    assert!(gauge.is_cordoned() && gauge.is_tainted() && gauge.has_room_for(&one_cpu("r")));
    cache.assume(one_cpu("s"), "b".into());
    let gauge = cache.snapshot().gauges()[cache.snapshot().position("b").unwrap()];
    assert!(!gauge.has_room_for(&one_cpu("r")), "its one CPU is taken");
}

#[test]
fn gauges_count_a_pod_in_as_nodes_do() {
    let mut cache = with_nodes(&["nothing"]);
    for (name, amounts) in [
        ("all", json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "example.com/gpu": "2"})),
        ("no disk", json!({"cpu": "2", "memory": "1Gi"})),
    ] {
        cache.upsert_node(node(name, json!({"status": {"allocatable": amounts}})).node);
        cache.assume(one_cpu(&format!("on {name}")), name.into());
    }
    let pod = requesting("p", json!({"memory": "1Gi", "ephemeral-storage": "3Gi"}));
    let (snapshot, places) = (cache.snapshot(), [2, 0, 1]);
    let gpu = Resource::named("example.com/gpu");
    for resource in [Resource::Cpu, Resource::Memory, Resource::Ephemeral, gpu] {
        for counting in [Counting::Real, Counting::NonZero] {
            let mut by_gauge = vec![None; places.len()];
            let note = |number: usize, room, used| by_gauge[number] = Some((room, used));
            Gauge::each_with_pod(snapshot.gauges(), &places, &resource, &pod, counting, note);
            let by_node = places.map(|at| snapshot.nodes()[at as usize].with_pod(&resource, &pod, counting));
            assert_eq!(by_gauge, by_node, "{resource:?}, {counting:?}");
        }
    }
}

#[test]
fn nominations_follow_the_pod() {
    let mut cache = with_nodes(&["a", "b"]);
    let snapshot = cache.snapshot_mut();
    snapshot.nominate(&one_cpu("p"), "a".into());
    snapshot.nominate(&one_cpu("p"), "b".into());
    assert_eq!((snapshot.nominated(&"a".into()).len(), snapshot.nominated(&"b".into()).len()), (0, 1));
    assert_eq!((snapshot.least_before(0), snapshot.least_before(1)), (Some(0), None));
    snapshot.drop_nomination(&"p".into());
    assert_eq!(snapshot.least_before(0), None);
    assert_eq!((snapshot.nominated(&"b".into()).len(), snapshot.promised_to(&"p".into())), (0, None));
}
