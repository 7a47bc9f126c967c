//! Keeps as many pods of a template as a ReplicaSet asks for, and reports how they are.
//!
//! Reads: ReplicaSets, Pods. Writes: creates and deletes pods, their owner reference when it adopts or releases
//! one, and `replicasets/status`. It never changes a ReplicaSet's spec.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use objects::pod;
use objects::views::Pod;

use crate::views::ReplicaSet;

/// Pods created or deleted in one pass at most.
const BURST: usize = 500;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a pass is to do.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Pods to create.
    create: usize,
    /// Pods to delete.
    delete: Vec<Arc<Pod>>,
}

/// The pods of a set, told apart.
#[derive(Debug, Default)]
struct Owned {
    active: Vec<Arc<Pod>>,
    terminating: usize,
}

impl Owned {
    /// Finished pods count neither way; they are replaced.
    fn of(pods: impl IntoIterator<Item = Arc<Pod>>) -> Self {
        let mut owned = Self::default();
        for pod in pods {
            if pod::is_active(&pod) {
                owned.active.push(pod);
            } else if pod::is_terminating(&pod) && !pod::is_finished(&pod) {
                owned.terminating += 1;
            }
        }
        owned
    }
}

/// Decides how many pods to create or which to delete. `related` are the pods of all sets of the same owner:
/// those that share a node with many siblings go first.
fn plan(set: &ReplicaSet, owned: &Owned, related: impl FnOnce() -> Vec<Arc<Pod>>, now: Timestamp) -> Plan {
    let none = Plan { create: 0, delete: Vec::new() };
    if set.metadata.deletion_timestamp.is_some() {
        return none;
    }
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    let have = owned.active.len();
    if have <= wanted {
        return Plan { create: (wanted - have).min(BURST), ..none };
    }
    let mut pods = owned.active.clone();
    if wanted > 0 {
        pod::sort_for_deletion(&mut pods, &related(), now);
    }
    pods.truncate((have - wanted).min(BURST));
    Plan { delete: pods, ..none }
}

/// The set's status. `failure` is what kept this pass from creating or deleting pods.
fn status(set: &ReplicaSet, owned: &Owned, failure: Option<&str>, now: Timestamp) -> ReplicaSetStatus {
    let labels = set.spec.template.labels();
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let count = owned.active.iter().filter(|pod| holds(pod)).count();
        i32::try_from(count).ok().filter(|count| *count > 0)
    };
    let labelled = |pod: &Pod| {
        let found = pod.metadata.labels.as_ref();
        labels.iter().all(|(key, value)| found.is_some_and(|found| found.get(key) == Some(value)))
    };
    let mut status = ReplicaSetStatus {
        replicas: i32::try_from(owned.active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&pod::is_ready),
        available_replicas: count(&|pod| pod::is_available(pod, set.spec.min_ready_seconds, now)),
        terminating_replicas: i32::try_from(owned.terminating).ok(),
        observed_generation: set.metadata.generation,
        conditions: set.status.conditions.clone(),
    };
    note_failure(set, &mut status, owned, failure, now);
    status
}

/// The first failure stays noted as it is until a pass succeeds.
fn note_failure(
    set: &ReplicaSet,
    status: &mut ReplicaSetStatus,
    owned: &Owned,
    failure: Option<&str>,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let noted = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(_) if noted => {}
        Some(message) => {
            let short = owned.active.len() < usize::try_from(set.replicas()).unwrap_or(0);
            conditions.push(ReplicaSetCondition {
                type_: REPLICA_FAILURE.to_owned(),
                status: "True".to_owned(),
                reason: Some(if short { "FailedCreate" } else { "FailedDelete" }.to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: Some(Time(now)),
            });
        }
    }
    if conditions.is_empty() && set.status.conditions.is_none() {
        status.conditions = None;
    }
}

/// When the next ready pod becomes available, if one is waiting for that.
fn next_available(set: &ReplicaSet, owned: &Owned, now: Timestamp) -> Option<Duration> {
    let waits = owned.active.iter().filter_map(|pod| pod::available_in(pod, set.spec.min_ready_seconds, now));
    waits.filter(|wait| !wait.is_zero()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "set", "generation": 3},
            "spec": {
                "replicas": replicas, "minReadySeconds": min_ready_seconds,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web", "tier": "a"}}, "spec": {}},
            },
        }))
        .unwrap()
    }

    /// A pod: `waiting`, `ready` (since `at`), `done` or `going`.
    fn pod(name: &str, state: &str, at: &str) -> Arc<Pod> {
        let phase = match state {
            "waiting" => "Pending",
            "done" => "Failed",
            _ => "Running",
        };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": name, "uid": name, "labels": {"app": "web"},
                    "deletionTimestamp": (state == "going").then_some("2026-01-01T00:59:00Z"),
                },
                "spec": {"nodeName": "n"},
                "status": {"phase": phase, "conditions": [
                    {"type": "Ready", "status": if state == "ready" {"True"} else {"False"}, "lastTransitionTime": at},
                ]},
            }))
            .unwrap(),
        )
    }

    const LONG_AGO: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn plans() {
        let pods = [
            pod("a", "ready", LONG_AGO),
            pod("b", "waiting", LONG_AGO),
            pod("c", "done", LONG_AGO),
            pod("d", "going", LONG_AGO),
        ];
        let owned = Owned::of(pods);
        assert_eq!((owned.active.len(), owned.terminating), (2, 1));
        for (replicas, create, delete) in
            [(2, 0, vec![]), (5, 3, vec![]), (1, 0, vec!["b"]), (0, 0, vec!["a", "b"]), (9_000, BURST, vec![])]
        {
            let plan = plan(&set(replicas, 0), &owned, || owned.active.clone(), now());
            let deleted: Vec<&str> = plan.delete.iter().map(|pod| pod.name()).collect();
            assert_eq!((plan.create, deleted), (create, delete), "{replicas}");
        }
        let mut going = set(5, 0);
        going.metadata.deletion_timestamp = Some(Time(now()));
        assert_eq!(plan(&going, &owned, Vec::new, now()).create, 0, "a deleting set only reports");
    }

    #[test]
    fn status_counts() {
        let fresh = "2026-01-01T00:59:55Z";
        let mut tagged = Pod::clone(&pod("t", "ready", LONG_AGO));
        tagged.metadata.labels.as_mut().unwrap().insert("tier".into(), "a".into());
        let owned = Owned::of([
            Arc::new(tagged),
            pod("a", "ready", fresh),
            pod("b", "waiting", LONG_AGO),
            pod("d", "going", LONG_AGO),
        ]);
        let set = set(3, 10);
        let status = status(&set, &owned, None, now());
        let expected = ReplicaSetStatus {
            replicas: 3,
            fully_labeled_replicas: Some(1),
            ready_replicas: Some(2),
            available_replicas: Some(1),
            terminating_replicas: Some(1),
            observed_generation: Some(3),
            conditions: None,
        };
        assert_eq!(status, expected);
        assert_eq!(next_available(&set, &owned, now()), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_failure_is_noted_and_forgotten() {
        let mut set = set(3, 0);
        let owned = Owned::default();
        set.status = status(&set, &owned, Some("exceeded quota"), now());
        let noted = set.status.conditions.clone().unwrap();
        assert_eq!((noted[0].reason.as_deref(), noted[0].message.as_deref()), (Some("FailedCreate"), Some("exceeded quota")));
        let later = status(&set, &owned, Some("exceeded quota by more"), now());
        assert_eq!(later.conditions, Some(noted));
        assert_eq!(status(&set, &owned, None, now()).conditions, Some(vec![]));
    }
}
