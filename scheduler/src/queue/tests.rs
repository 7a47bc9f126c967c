//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::cache::NodeInfo;
use crate::framework::{Profile, Wakeup};
use crate::plugins;
use crate::plugins::fixtures::{node, pod, requesting};
use serde_json::json;

const FIT: &str = "NodeResourcesFit";

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

fn queue() -> Queue {
    let profile = Profile::new("default-scheduler", plugins::defaults());
    Queue::new(Arc::new(Profiles::new(vec![profile])), Backoff::default())
}

fn popped(queue: &mut Queue, now: Timestamp) -> Option<String> {
    queue.pop(now).map(|(pod, _)| pod.name().to_owned())
}

fn node_added(node: &NodeInfo) -> Change<'_> {
    Change::new(Wakeup::NodeAdded, Subject::Node { now: node, before: None })
}

fn roomy() -> NodeInfo {
    node("roomy", json!({"status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"}}}))
}

#[test]
fn priority_then_arrival() {
    let mut queue = queue();
    for (name, priority) in [("late", 0), ("first", 0), ("urgent", 9)] {
        let second = if name == "first" { 1 } else { 2 };
        queue.upsert(pod(name, json!({"priority": priority})), at(second * 1000));
    }
    let order: Vec<_> = std::iter::from_fn(|| popped(&mut queue, at(3000))).collect();
    assert_eq!(order, ["urgent", "first", "late"]);
}

#[test]
fn other_schedulers_pods_are_not_taken() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({"schedulerName": "mine"})), at(0));
    assert_eq!(popped(&mut queue, at(0)), None);
    assert_eq!(queue.counts(), Counts::default());
}

#[test]
fn a_refused_pod_waits_for_a_change_that_helps() {
    let mut queue = queue();
    queue.upsert(requesting("p", json!({"cpu": "4"})), at(0));
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"p".into(), vec![FIT], at(100));
    assert_eq!(queue.counts().unschedulable, 1);

    let small = node("small", json!({"status": {"allocatable": {"cpu": "1", "pods": "110"}}}));
    queue.wake(&node_added(&small), at(200));
    assert_eq!(queue.counts().unschedulable, 1, "a node that is too small does not help");
    queue.wake(&Change::new(Wakeup::NodeTaints, Subject::Other), at(200));
    assert_eq!(queue.counts().unschedulable, 1, "nobody complained about taints");

    queue.wake(&node_added(&roomy()), at(200));
    assert_eq!(queue.counts(), Counts { backoff: 1, ..Counts::default() });
    // Nothing else is ready, so it need not wait for the end of its back-off.
    assert_eq!(popped(&mut queue, at(300)).as_deref(), Some("p"));
}

#[test]
fn a_pod_that_backs_off_lets_others_pass() {
    let mut queue = queue();
    queue.upsert(requesting("refused", json!({"cpu": "4"})), at(0));
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"refused".into(), vec![FIT], at(0));
    queue.wake(&node_added(&roomy()), at(100));
    queue.upsert(pod("new", json!({})), at(200));
    assert_eq!(popped(&mut queue, at(300)).as_deref(), Some("new"));
    // After its back-off it has its place by age again.
    queue.upsert(pod("newer", json!({})), at(400));
    assert_eq!(popped(&mut queue, at(1000)).as_deref(), Some("refused"));
    assert_eq!(popped(&mut queue, at(1000)).as_deref(), Some("newer"));
}

#[test]
fn an_error_is_tried_again_after_its_backoff_and_not_before() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({})), at(0));
    for (failed, ready) in
        [(0, 1000), (1000, 3000), (3000, 7000), (7000, 15_000), (15_000, 25_000), (25_000, 35_000)]
    {
        assert!(popped(&mut queue, at(failed)).is_some());
        assert!(queue.failed(&"p".into(), at(failed)).is_some());
        assert_eq!(queue.next_due(), Some(at(ready)));
        assert_eq!(popped(&mut queue, at(ready - 1)), None);
    }
}

#[test]
fn nothing_waits_longer_than_the_limit() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({})), at(0));
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"p".into(), vec![FIT], at(0));
    assert_eq!(queue.next_due(), Some(at(300_000)));
    assert_eq!(popped(&mut queue, at(299_999)), None);
    assert_eq!(popped(&mut queue, at(300_000)).as_deref(), Some("p"));
    assert_eq!(queue.take_moves()[&("active", "UnschedulableTimeout")], 1);
}

#[test]
fn a_gated_pod_is_not_tried_until_the_gate_is_gone() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({"schedulingGates": [{"name": "a"}]})), at(0));
    assert_eq!((popped(&mut queue, at(0)), queue.counts().gated), (None, 1));
    queue.upsert(pod("p", json!({})), at(5000));
    assert_eq!(queue.counts(), Counts { active: 1, ..Counts::default() });
    let (_, history) = queue.pop(at(6000)).unwrap();
    assert_eq!(history.ready_since, Some(at(5000)), "waiting at the gate is not the scheduler's time");
}

#[test]
fn the_pods_own_change_wakes_it() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({})), at(0));
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"p".into(), vec!["TaintToleration"], at(0));
    queue.upsert(pod("p", json!({"priority": 1})), at(100));
    assert_eq!(queue.counts().unschedulable, 1, "priority is not what it lacked");
    queue.upsert(pod("p", json!({"tolerations": [{"operator": "Exists"}]})), at(200));
    assert_eq!(queue.counts().unschedulable, 0);
}

#[test]
fn in_an_empty_cluster_only_a_node_helps() {
    let mut queue = queue();
    queue.upsert(pod("p", json!({})), at(0));
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"p".into(), vec![], at(0));
    queue.wake(&Change::new(Wakeup::PodRemoved, Subject::Other), at(1));
    assert_eq!(queue.counts().unschedulable, 1);
    queue.wake(&node_added(&roomy()), at(2));
    assert_eq!(queue.counts().unschedulable, 0);
}

#[test]
fn a_removed_pod_leaves_no_trace() {
    let mut queue = queue();
    for (name, spec) in
        [("a", json!({})), ("b", json!({})), ("c", json!({"schedulingGates": [{"name": "g"}]}))]
    {
        queue.upsert(pod(name, spec), at(0));
    }
    popped(&mut queue, at(0)).unwrap();
    queue.refused(&"a".into(), vec![FIT], at(0));
    for name in ["a", "b", "c"] {
        queue.remove(&name.into());
    }
    queue.refused(&"a".into(), vec![FIT], at(1));
    assert!(queue.failed(&"a".into(), at(1)).is_none());
    assert_eq!((queue.counts(), queue.next_due()), (Counts::default(), None));
    assert_eq!(popped(&mut queue, at(900_000)), None);
}

#[test]
fn gates_are_timed() {
    let registry = component::metrics::Registry::new();
    let mut queue = queue().measured(crate::metrics::Metrics::new(&registry).plugins);
    for name in 0..20 {
        let gates = json!([{"name": "wait"}]);
        queue.upsert(pod(&format!("held-{name}"), json!({"schedulingGates": gates})), at(0));
        queue.upsert(pod(&format!("free-{name}"), json!({})), at(0));
    }
    assert_eq!(queue.counts().gated, 20);
    let text = registry.encode();
    let plugin = |status: &str| {
        format!(
            "scheduler_plugin_execution_duration_seconds_count{{plugin=\"SchedulingGates\",extension_point=\"PreEnqueue\",status=\"{status}\"}}"
        )
    };
    let point = |status: &str| {
        format!(
            "scheduler_framework_extension_point_duration_seconds_count{{extension_point=\"PreEnqueue\",status=\"{status}\",profile=\"default-scheduler\"}}"
        )
    };
    for line in
        ["Success", "UnschedulableAndUnresolvable"].iter().flat_map(|status| [plugin(status), point(status)])
    {
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
}
