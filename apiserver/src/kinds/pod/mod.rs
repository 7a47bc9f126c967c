//! Pod: its row and the order of its rules. The rules themselves are in the files beside this one.

mod cells;
pub(super) mod defaults;
pub(super) mod qos;
pub(super) mod template;
mod update;
pub(super) mod validate;

use serde_json::{Value, json};

use super::Subresource::*;
use super::core::V1;
use super::fields::SelectableField;
use super::read::Read;
use super::row::Row;
use super::strategy::{Strategy, keep_all_but_status};
use crate::field::FieldErrors;
use crate::object;

pub(super) fn row() -> Row {
    Row::namespaced(V1, "Pod", "pods")
        .short(&["po"])
        .category("all")
        .subresources(&[
            Attach,
            Binding,
            EphemeralContainers,
            Eviction,
            Exec,
            Log,
            PortForward,
            Proxy,
            Resize,
            Status,
        ])
        .fields([
            SelectableField::at("spec.nodeName"),
            SelectableField::at("spec.restartPolicy"),
            SelectableField::at("spec.schedulerName"),
            SelectableField::at("spec.serviceAccountName"),
            SelectableField::computed("spec.hostNetwork", |pod| pod["spec"].flag("hostNetwork").to_string()),
            SelectableField::at("status.phase"),
            SelectableField::computed("status.podIP", |pod| cells::ip(pod).to_owned()),
            SelectableField::computed("status.podIPs", |pod| cells::ip(pod).to_owned()),
            SelectableField::at("status.nominatedNodeName"),
        ])
        .strategy(PodStrategy)
        .columns(cells::columns(), cells::cells)
}

#[derive(Debug)]
struct PodStrategy;

impl Strategy for PodStrategy {
    fn has_generation(&self) -> bool {
        true
    }

    fn apply_defaults(&self, pod: &mut Value) {
        defaults::pod(pod);
    }

    /// A new pod is pending, whatever the client says, and its class is settled for good.
    fn prepare_create(&self, pod: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos::class(&pod["spec"])});
        if !pod["spec"].list("schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": pod["metadata"]["creationTimestamp"],
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        pod["status"] = status;
    }

    fn prepare_update(&self, pod: &mut Value, old: &Value) {
        object::carry_over(pod, old, "status");
    }

    /// The class never changes; everything else of the status is the kubelet's.
    fn prepare_status_update(&self, pod: &mut Value, old: &Value) {
        keep_all_but_status(pod, old);
        if pod["status"].text("qosClass").is_empty() && old["status"].has("qosClass") {
            pod["status"]["qosClass"] = old["status"]["qosClass"].clone();
        }
        // The lifetime of a pod is not the status writer's to change.
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            let old_value = old["metadata"].get(field).cloned();
            let meta = object::meta_mut(pod);
            match old_value {
                Some(value) => meta.insert(field.to_owned(), value),
                None => meta.remove(field),
            };
        }
    }

    fn validate(&self, pod: &Value) -> FieldErrors {
        validate::pod(pod)
    }

    fn validate_update(&self, pod: &Value, old: &Value) -> FieldErrors {
        update::pod(pod, old)
    }

    fn validate_status_update(&self, pod: &Value, old: &Value) -> FieldErrors {
        update::status(pod, old)
    }

    /// A pod that no kubelet runs, or that has ended, goes at once; a running one gets its time.
    fn grace_seconds(&self, pod: &Value, requested: Option<i64>) -> Option<i64> {
        let phase = pod["status"].text("phase");
        if pod["spec"].text("nodeName").is_empty() || phase == "Failed" || phase == "Succeeded" {
            return Some(0);
        }
        let own = pod["spec"].int("terminationGracePeriodSeconds").unwrap_or_default();
        // Negative values count as one second, which old objects may still hold.
        Some(match requested.unwrap_or(own) {
            negative if negative < 0 => 1,
            seconds => seconds,
        })
    }
}
