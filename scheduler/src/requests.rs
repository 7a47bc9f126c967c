//! The requests and events themselves: what exactly is sent to the API server.

mod bind;

pub(crate) use bind::bind;

use crate::groups::{PodGroup, SCHEDULED};
use crate::pod::{NodeName, PodInfo};
use crate::state::{Nomination, WriteError};
use component::client::lean;
use component::events::{self, Recorder, Type};
use component::informers::Key;
use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::Request;
use kube::{Client, Resource};
use objects::views::Pod;
use serde_json::{Value, json};

/// Marks the victim as disrupted and deletes it with its grace period. A victim that is gone already is fine.
pub(crate) async fn evict(
    client: &Client,
    victim: &PodInfo,
    preemptor: &PodInfo,
    now: Timestamp,
) -> Result<(), WriteError> {
    let scheduler = preemptor.scheduler_name();
    let message = format!("{scheduler}: preempting to accommodate a higher priority pod");
    let condition = condition(victim, "DisruptionTarget", "True", "PreemptionByScheduler", &message, now);
    let body = json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}});
    if !gone_is_fine(patch_status(client, victim, &body).await)? {
        return Ok(());
    }
    let preconditions = Preconditions { uid: Some(victim.uid.to_string()), resource_version: None };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let deleted = lean::write(client, pods(victim).delete(victim.name(), &delete)).await;
    gone_is_fine(deleted.map_err(WriteError::from))?;
    Ok(())
}

/// Patches `pods/NAME/status` by strategic merge.
pub(crate) async fn patch_status(client: &Client, pod: &PodInfo, body: &Value) -> Result<(), WriteError> {
    let patch = Patch::Strategic(body);
    let request = pods(pod).patch_subresource("status", pod.name(), &PatchParams::default(), &patch);
    Ok(lean::write(client, request).await?)
}

/// Patches `podgroups/status` by strategic merge.
pub(crate) async fn patch_group_status(
    client: &Client,
    group: &PodGroup,
    body: &Value,
) -> Result<(), WriteError> {
    let Key { namespace, name } = group.key();
    let request = Request::new(PodGroup::url_path(&(), Some(&namespace)));
    let request =
        request.patch_subresource("status", &name, &PatchParams::default(), &Patch::Strategic(body));
    Ok(lean::write(client, request).await?)
}

/// The patch for a group that was scheduled, or could not be.
pub(crate) fn group_scheduled(group: &PodGroup, scheduled: bool, now: Timestamp) -> Value {
    let (status, reason, message) = match scheduled {
        true => ("True", "Scheduled", ""),
        false => ("False", "Unschedulable", "pod group is unschedulable"),
    };
    json!({"metadata": {"uid": group.metadata.uid}, "status": {"conditions": [{
        "type": SCHEDULED, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": seconds(now), "observedGeneration": group.metadata.generation.unwrap_or(0),
    }]}})
}

/// The patch for a pod that was not placed; `None` when its status says all of it already.
pub(crate) fn unplaced(
    pod: &PodInfo,
    reason: &str,
    message: &str,
    nomination: &Nomination,
    now: Timestamp,
) -> Option<Value> {
    let told = pod.view().status.conditions.iter().any(|known| {
        known.type_ == "PodScheduled"
            && known.status == "False"
            && known.reason.as_deref() == Some(reason)
            && known.message.as_deref() == Some(message)
    });
    let nominated = match nomination {
        Nomination::Keep => None,
        Nomination::Clear => Some(Value::Null),
        Nomination::Set(node) => Some(json!(&**node)),
    };
    if told && nominated.is_none() {
        return None;
    }
    let condition = condition(pod, "PodScheduled", "False", reason, message, now);
    let mut body = json!({"metadata": {"uid": &*pod.uid}, "status": {"conditions": [condition]}});
    if let Some(node) = nominated {
        body["status"]["nominatedNodeName"] = node;
    }
    Some(body)
}

/// The patch that takes a nomination away.
pub(crate) fn unnominate(pod: &PodInfo) -> Value {
    json!({"metadata": {"uid": &*pod.uid}, "status": {"nominatedNodeName": null}})
}

/// A condition whose transition time moves only when its status changes.
fn condition(pod: &PodInfo, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let view = pod.view();
    let known = view.status.conditions.iter().find(|known| known.type_ == kind && known.status == status);
    let since = known.and_then(|known| known.last_transition_time.as_ref()).map_or(now, |time| time.0);
    let mut condition = json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": seconds(since),
    });
    if let Some(generation) = view.metadata.generation {
        condition["observedGeneration"] = json!(generation);
    }
    condition
}

/// As `metav1.Time` is written: whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// False when the object is not there (any more, or under that UID).
fn gone_is_fine(outcome: Result<(), WriteError>) -> Result<bool, WriteError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(WriteError::Api { code: 404 | 409, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Requests about the pods of its namespace.
fn pods(pod: &PodInfo) -> Request {
    Request::new(Pod::url_path(&(), Some(pod.namespace())))
}

/// `FailedScheduling` on the pod.
pub(crate) fn record_failure(recorder: &Recorder, pod: &PodInfo, message: &str) {
    let regarding = events::reference(&**pod.view());
    recorder.action(&regarding, Type::Warning, "FailedScheduling", "Scheduling", message);
}

/// `Scheduled` on the pod.
pub(crate) fn record_placed(recorder: &Recorder, pod: &PodInfo, node: &NodeName) {
    let message = format!("Successfully assigned {pod} to {node}");
    recorder.action(&events::reference(&**pod.view()), Type::Normal, "Scheduled", "Binding", message);
}

/// What the pod waits for before it is bound, on the pod.
pub(crate) fn record_waiting(recorder: &Recorder, pod: &PodInfo, reason: &str, message: String) {
    recorder.action(&events::reference(&**pod.view()), Type::Normal, reason, "Scheduling", message);
}

/// `Preempted` on the victim.
pub(crate) fn record_preempted(recorder: &Recorder, victim: &PodInfo, preemptor: &PodInfo, node: &NodeName) {
    let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
    let (regarding, related) = (events::reference(&**victim.view()), events::reference(&**preemptor.view()));
    recorder.action_for((&regarding, related), Type::Normal, "Preempted", "Preempting", message);
}
