//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::cycle;
use crate::plugins;
use crate::plugins::fixtures::{cluster, node, node_with, pod_from};
use component::random::Random;
use objects::labels::Selector;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn prioritised(name: &str, priority: i32, cpu: &str, start: Option<i64>) -> Arc<PodInfo> {
    let start = start.map(|second| Timestamp::from_second(second).unwrap().to_string());
    pod_from(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"startTime": start},
    }))
}

fn room(cpu: &str) -> Value {
    json!({"status": {"allocatable": {"cpu": cpu, "memory": "32Gi", "pods": "110"}}})
}

fn budget(app: &str, allowed: i32) -> Budget {
    let labels = [("app".to_owned(), app.to_owned())].into();
    Budget {
        namespace: "default".into(),
        selector: Selector::from_set(&labels),
        allowed,
        disrupted: BTreeSet::new(),
    }
}

/// The node and the victims by name, or the text.
fn outcome(
    pod: &Arc<PodInfo>,
    cluster: &Snapshot,
    budgets: &[Budget],
) -> Result<(String, Vec<String>), String> {
    let profile = Profile::new("default-scheduler", plugins::defaults());
    let failure = cycle::place(pod, &profile, cluster, &Random::from_seed(1)).unwrap_err();
    let now = Timestamp::from_second(1_000_000).unwrap();
    let preempt = profile.preempts().next().unwrap();
    let attempt = Attempt { pod, profile: &profile, cluster, failure: &failure, budgets, now };
    match preempt.make_room(&attempt, &Afresh) {
        Room::Made { node, victims } => {
            Ok((node.to_string(), victims.iter().map(|victim| victim.name().to_owned()).collect()))
        }
        Room::None { why, .. } => Err(why),
    }
}

fn made(node: &str, victims: &[&str]) -> Result<(String, Vec<String>), String> {
    Ok((node.to_owned(), victims.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn evicts_no_more_than_needed_and_the_least_important() {
    let pods = [
        prioritised("old", 1, "2", Some(10)),
        prioritised("young", 1, "2", Some(20)),
        prioritised("high", 5, "2", Some(30)),
    ];
    let cluster = cluster([node_with("n", room("6"), pods)]);
    assert_eq!(outcome(&prioritised("p", 10, "2", None), &cluster, &[]), made("n", &["young"]));
    assert_eq!(outcome(&prioritised("p", 10, "4", None), &cluster, &[]), made("n", &["old", "young"]));
    assert_eq!(
        outcome(&prioritised("p", 10, "5", None), &cluster, &[]),
        made("n", &["high", "old", "young"])
    );
    assert_eq!(
        outcome(&prioritised("p", 1, "2", None), &cluster, &[]),
        Err("0/1 nodes are available: 1 No preemption victims found for incoming pod.".to_owned())
    );
}

#[test]
fn chooses_where_it_costs_least() {
    let two = |name: &str, pods: [Arc<PodInfo>; 2]| node_with(name, room("4"), pods);
    for (name, a, b, want) in [
        (
            "lower top priority",
            [prioritised("a1", 3, "2", Some(1)), prioritised("a2", 1, "2", Some(1))],
            [prioritised("b1", 2, "2", Some(1)), prioritised("b2", 2, "2", Some(1))],
            made("b", &["b1", "b2"]),
        ),
        (
            "smaller sum",
            [prioritised("a1", 2, "2", Some(1)), prioritised("a2", 1, "2", Some(1))],
            [prioritised("b1", 2, "2", Some(1)), prioritised("b2", 2, "2", Some(1))],
            made("a", &["a1", "a2"]),
        ),
        (
            "started later",
            [prioritised("a1", 2, "2", Some(5)), prioritised("a2", 2, "2", Some(9))],
            [prioritised("b1", 2, "2", Some(6)), prioritised("b2", 2, "2", Some(7))],
            made("b", &["b1", "b2"]),
        ),
        (
            "fewer victims",
            [prioritised("a1", 2, "2", Some(1)), prioritised("a2", 2, "2", Some(1))],
            [prioritised("b1", 2, "3", Some(1)), prioritised("b2", 20, "1", Some(1))],
            made("a", &["a1", "a2"]),
        ),
    ] {
        let cluster = cluster([two("a", a), two("b", b)]);
        assert_eq!(outcome(&prioritised("p", 10, "4", None), &cluster, &[]), want, "{name}");
    }
}

#[test]
fn spares_pods_under_a_budget() {
    let pods = || {
        cluster([node_with(
            "n",
            room("4"),
            [prioritised("a", 1, "2", Some(1)), prioritised("b", 2, "2", Some(1))],
        )])
    };
    let incoming = prioritised("p", 10, "2", None);
    assert_eq!(outcome(&incoming, &pods(), &[]), made("n", &["a"]));
    assert_eq!(outcome(&incoming, &pods(), &[budget("a", 0)]), made("n", &["b"]));
    assert_eq!(outcome(&incoming, &pods(), &[budget("a", 1)]), made("n", &["a"]));
    // No other way: the budget is broken rather than the pod kept waiting, as upstream does.
    assert_eq!(outcome(&incoming, &pods(), &[budget("a", 0), budget("b", 0)]), made("n", &["a"]));
    let unprotected = node_with("m", room("2"), [prioritised("c", 9, "2", Some(1))]);
    let protected = node_with("n", room("2"), [prioritised("a", 1, "2", Some(1))]);
    assert_eq!(outcome(&incoming, &cluster([protected, unprotected]), &[budget("a", 0)]), made("m", &["c"]));
}

#[test]
fn does_not_help_where_pods_are_not_the_reason() {
    let full = node_with("full", room("2"), [prioritised("equal", 10, "2", Some(1))]);
    let small = node("small", room("1"));
    let tainted = node("tainted", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}));
    assert_eq!(
        outcome(&prioritised("p", 10, "2", None), &cluster([full, small, tainted]), &[]),
        Err("0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
            .to_owned())
    );
}

#[test]
fn is_not_tried_when_the_pod_may_not() {
    let cluster = cluster([node_with("n", room("2"), [prioritised("a", 1, "2", Some(1))])]);
    let polite = pod_from(json!({
        "metadata": {"name": "p"},
        "spec": {"priority": 10, "preemptionPolicy": "Never", "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
    }));
    assert_eq!(
        outcome(&polite, &cluster, &[]),
        Err("not eligible due to preemptionPolicy=Never.".to_owned())
    );
}

#[test]
fn waits_for_victims_that_are_on_their_way_out() {
    let leaving = pod_from(json!({
        "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"priority": 1, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    }));
    let other = node_with("other", room("2"), [prioritised("b", 1, "2", Some(1))]);
    let mut cluster = cluster([node_with("n", room("2"), [leaving]), other]);
    let incoming = prioritised("p", 10, "2", None);
    cluster.nominate(&incoming, "n".into());
    assert_eq!(
        outcome(&incoming, &cluster, &[]),
        Err("not eligible due to a terminating pod on the nominated node.".to_owned())
    );
}

#[test]
fn a_limited_search_ends_at_enough_candidates() {
    let one = |name: &str, victim: &str, priority: i32| {
        node_with(name, room("2"), [prioritised(victim, priority, "2", Some(1))])
    };
    // The first breaks a budget, the last is the cheapest.
    let cluster = cluster([one("a", "a1", 1), one("b", "b1", 5), one("c", "c1", 2), one("d", "d1", 1)]);
    let profile = Profile::new("default-scheduler", plugins::defaults());
    let pod = &prioritised("p", 10, "2", None);
    let failure = &cycle::place(pod, &profile, &cluster, &Random::from_seed(1)).unwrap_err();
    let (budgets, now) = (&[budget("a1", 0)], Timestamp::from_second(1_000_000).unwrap());
    let attempt = Attempt { pod, profile: &profile, cluster: &cluster, failure, budgets, now };
    for (enough, start, want) in [
        (1, 0, "b"), // `a` alone is not enough: it breaks a budget
        (1, 1, "b"),
        (2, 1, "c"),
        (1, 2, "c"),
        (2, 2, "d"),
        (1, 3, "d"),
        (4, 1, "d"),
        (2, 3, "d"), // goes on at the beginning
    ] {
        let room = find(&attempt, Some(Limit { enough, start }));
        assert_eq!(room.made().map(|(node, _)| &**node), Some(want), "{enough} from {start}");
    }
    assert_eq!(find(&attempt, None).made().map(|(node, _)| &**node), Some("d"));
}
