//! Taking a pod away from its owner: the condition DisruptionTarget first, so that Jobs can tell it from a failure,
//! then the deletion.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, Preconditions};
use objects::pod;
use objects::views::Pod;
use serde_json::json;

use crate::claim::is_moot;
use crate::collection::Collection;

/// Why a pod is taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disruption {
    /// `reason` of the condition.
    pub(crate) reason: &'static str,
    /// `message` of the condition.
    pub(crate) message: &'static str,
    /// No agent will report its end: it is declared Failed.
    pub(crate) failed: bool,
}

/// Writes the condition. A pod that is gone or another one by now needs none.
pub(crate) async fn note(
    pods: &Collection,
    pod: &Pod,
    why: &Disruption,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": why.reason,
        "message": why.message,
        "lastTransitionTime": Time(now),
    });
    let mut patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
    if why.failed && !pod::is_finished(pod) {
        patch["status"]["phase"] = json!("Failed");
    }
    match pods.patch_status(pod.name(), &Patch::Strategic(patch)).await {
        Err(error) if !is_moot(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes the pod, if it is still that one; `grace` in seconds, its own if none.
pub(crate) async fn delete(pods: &Collection, pod: &Pod, grace: Option<u32>) -> Result<(), kube::Error> {
    let same = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params =
        DeleteParams { grace_period_seconds: grace, preconditions: Some(same), ..DeleteParams::default() };
    match pods.delete(pod.name(), &params).await {
        Err(error) if !is_moot(&error) => Err(error),
        _ => Ok(()),
    }
}
