//! What the state of a pod means to those who count pods.
//!
//! Promise: ready, available and the order of deletion are upstream's (`pod_utils.go`, `controller_utils.go`).

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodCondition;

use crate::conditions;
use crate::views::Pod;

/// A pod with a lower cost goes first when a set shrinks.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepted; not all containers were started.
    Pending,
    /// The node does not answer.
    Unknown,
    /// At least one container runs or is started again.
    Running,
    /// All containers ended well and stay so.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
}

/// The phase; a pod without one is pending.
#[must_use]
pub fn phase(pod: &Pod) -> Phase {
    match pod.status.phase.as_deref() {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

/// Whether it ended and will not start again.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), Phase::Succeeded | Phase::Failed)
}

/// Whether it is being deleted.
#[must_use]
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it counts as a replica: neither finished nor being deleted.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The `Ready` condition.
#[must_use]
pub fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    conditions::get(&pod.status.conditions, "Ready")
}

/// Whether it is ready for requests.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    conditions::is_true(&pod.status.conditions, "Ready")
}

/// Since when it is ready; `None` if it is not, or does not say.
#[must_use]
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = ready_condition(pod).filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether it has been ready for `min_ready_seconds`.
#[must_use]
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod) && available_in(pod, min_ready_seconds, now).is_some_and(|wait| wait.is_zero())
}

/// How long a ready pod still has to stay ready to become available; zero if it is available, `None` if it is not
/// ready.
#[must_use]
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Duration::ZERO);
    }
    let at = ready_since(pod)? + SignedDuration::from_secs(min_ready_seconds.into());
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Sorts the pods of a set so that the first is the first to go when the set shrinks: unassigned, pending, not
/// ready, cheap, doubled up on a node (as counted in `related`), ready for less time, restarted more often, younger.
/// Times are compared by order of magnitude (KEP-2185); the UID decides in the end.
pub fn sort_for_deletion(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *on_node.entry(pod.node_name().unwrap_or_default()).or_default() += 1;
    }
    let rank = |pod: &Pod| on_node.get(pod.node_name().unwrap_or_default()).copied().unwrap_or_default();
    pods.sort_by(|a, b| deletion_order(a, b, (rank(a), rank(b)), now));
}

/// `Less` when `a` goes first. `ranks` is the number of siblings on the pods' nodes.
#[must_use]
pub fn deletion_order(a: &Pod, b: &Pod, ranks: (usize, usize), now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| pod.node_name().is_some();
    let both_ready = is_ready(a) && is_ready(b);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| ranks.1.cmp(&ranks.0))
        .then_with(|| match both_ready {
            true => younger_first(ready_since(a), ready_since(b), now),
            false => Ordering::Equal,
        })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger_first(created(a), created(b), now))
        .then_with(|| a.uid().cmp(b.uid()))
}

/// The pod's deletion cost; 0 if it has none or it is not a number.
#[must_use]
pub fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// The largest restart count of the main containers, then that of the sidecars.
fn restarts(pod: &Pod) -> (i32, i32) {
    let sidecar = |name: &str| {
        let mut init = pod.spec.init_containers.iter();
        init.any(|container| container.name == name && container.restart_policy.as_deref() == Some("Always"))
    };
    let main = pod.status.container_statuses.iter().map(|status| status.restart_count);
    let sidecars = pod.status.init_container_statuses.iter().filter(|status| sidecar(&status.name));
    (main.max().unwrap_or_default(), sidecars.map(|status| status.restart_count).max().unwrap_or_default())
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Compares ages by their power of two; without a time goes first. Upstream compares the UIDs of pods of like age
/// here, unless their times are the same: such an order can go round in a circle, so ours leaves that to the end.
fn younger_first(at_a: Option<Timestamp>, at_b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |at: Timestamp| match now.duration_since(at).as_nanos() {
        age if age > 0 => i64::from(age.ilog2()),
        _ => -1,
    };
    at_a.map(magnitude).cmp(&at_b.map(magnitude))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    fn ago(seconds: i64) -> String {
        (now() - SignedDuration::from_secs(seconds)).to_string()
    }

    /// A pod that ran for a day on node n, changed by `change`.
    fn pod(uid: &str, change: impl Fn(&mut Value)) -> Arc<Pod> {
        let mut value = json!({
            "metadata": {"name": uid, "uid": uid, "creationTimestamp": ago(86400), "annotations": {}},
            "spec": {"nodeName": "n"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(86000)}],
                "containerStatuses": [{"name": "c", "restartCount": 0}],
            },
        });
        change(&mut value);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn each_reason_to_go_first() {
        type Case = (&'static str, fn(&mut Value));
        let changes: [Case; 8] = [
            ("unassigned", |pod| pod["spec"]["nodeName"] = json!("")),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending")),
            ("not ready", |pod| pod["status"]["conditions"][0]["status"] = json!("False")),
            ("cheap", |pod| pod["metadata"]["annotations"][DELETION_COST] = json!("-5")),
            ("doubled up", |pod| pod["spec"]["nodeName"] = json!("crowded")),
            ("ready for less time", |pod| {
                pod["status"]["conditions"][0]["lastTransitionTime"] = json!(ago(60));
            }),
            ("restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] = json!(3)),
            ("younger", |pod| pod["metadata"]["creationTimestamp"] = json!(ago(100))),
        ];
        let crowd = pod("z", |pod| pod["spec"]["nodeName"] = json!("crowded"));
        for (reason, change) in changes {
            let (plain, first) = (pod("a", |_| {}), pod("b", change));
            let mut pods = vec![plain.clone(), first.clone()];
            sort_for_deletion(&mut pods, &[plain, first, crowd.clone()], now());
            assert_eq!(pods[0].uid(), "b", "{reason}");
        }
    }

    #[test]
    fn like_ages_are_ordered_by_uid() {
        let younger = pod("b", |pod| pod["metadata"]["creationTimestamp"] = json!(ago(86300)));
        let mut pods = vec![younger.clone(), pod("a", |_| {})];
        sort_for_deletion(&mut pods, &[], now());
        assert_eq!(pods[0].uid(), "a");
    }

    #[test]
    fn the_order_never_goes_round_in_a_circle() {
        let first = pod("a", |_| {});
        let other_time = pod("b", |pod| {
            pod["status"]["conditions"][0]["lastTransitionTime"] = json!(ago(85000));
        });
        let restarted = pod("c", |pod| pod["status"]["containerStatuses"][0]["restartCount"] = json!(1));
        let all = [first, other_time, restarted];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut pods = order.map(|at| all[at].clone());
            sort_for_deletion(&mut pods, &[], now());
            assert_eq!(pods.map(|pod| pod.uid().to_owned()), ["c", "a", "b"]);
        }
    }

    #[test]
    fn availability_takes_time() {
        let fresh = pod("a", |pod| pod["status"]["conditions"][0]["lastTransitionTime"] = json!(ago(4)));
        assert!(is_available(&fresh, 0, now()));
        assert!(!is_available(&fresh, 10, now()));
        assert_eq!(available_in(&fresh, 10, now()), Some(Duration::from_secs(6)));
        assert!(is_available(&fresh, 4, now()));
        let broken = pod("a", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
        assert_eq!(available_in(&broken, 0, now()), None);
    }

    #[test]
    fn active_pods() {
        assert!(is_active(&pod("a", |_| {})));
        assert!(!is_active(&pod("a", |pod| pod["status"]["phase"] = json!("Failed"))));
        assert!(!is_active(&pod("a", |pod| pod["metadata"]["deletionTimestamp"] = json!(ago(1)))));
        assert_eq!(phase(&Pod::default()), Phase::Pending);
    }
}
