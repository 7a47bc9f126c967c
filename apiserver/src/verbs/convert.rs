//! Kinds that are served in two shapes and stored in one: Event and HorizontalPodAutoscaler.
//!
//! Promise: pure; strategies, selectors and the store only ever see the stored shape, clients only the shape they
//! asked for. Source: kubernetes `pkg/apis/events/v1/conversion.go`, `pkg/apis/autoscaling/v1/conversion.go`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::encode;
use crate::kinds::Kind;
use crate::object;
use crate::status::{ApiError, ApiResult};

/// A shape that differs from the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `events.k8s.io/v1` over core/v1.
    Events,
    /// `autoscaling/v1` over v2.
    ScalerV1,
}

/// Fields of an Event: in events.k8s.io, and as stored.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];
/// Where autoscaling/v1 keeps metrics that it has no field for.
const METRICS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/metrics";

impl Shape {
    /// How a kind differs from what is stored; `None` for nearly all.
    pub(crate) fn of(kind: &Kind) -> Option<Self> {
        match (&*kind.group, &*kind.version, &*kind.plural) {
            ("events.k8s.io", _, "events") => Some(Self::Events),
            ("autoscaling", "v1", "horizontalpodautoscalers") => Some(Self::ScalerV1),
            _ => None,
        }
    }

    /// Group and version of the stored shape.
    pub(crate) fn stored_as(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => ("", "v1"),
            Self::ScalerV1 => ("autoscaling", "v2"),
        }
    }

    /// A selectable field's name as the stored kind has it.
    pub(crate) fn stored_field(self, label: &str) -> String {
        match (self, label.split_once('.')) {
            (Self::Events, Some(("regarding", rest))) => format!("involvedObject.{rest}"),
            (Self::Events, None) if label == "reportingController" => "reportingComponent".to_owned(),
            _ => label.to_owned(),
        }
    }

    /// Into the stored shape.
    pub(crate) fn to_stored(self, object: &mut Value) {
        match self {
            Self::Events => {
                rename(object, EVENT_FIELDS.iter().copied());
                object::set_at(object, &["apiVersion"], "v1");
            }
            Self::ScalerV1 => {
                scaler_to_v2(object);
                object::set_at(object, &["apiVersion"], "autoscaling/v2");
            }
        }
    }

    /// Out of the stored shape.
    pub(crate) fn to_served(self, object: &mut Value) {
        match self {
            Self::Events => {
                rename(object, EVENT_FIELDS.iter().map(|(served, stored)| (*stored, *served)));
                object::set_at(object, &["apiVersion"], "events.k8s.io/v1");
            }
            Self::ScalerV1 => {
                scaler_to_v1(object);
                object::set_at(object, &["apiVersion"], "autoscaling/v1");
            }
        }
    }

    /// Stored bytes in the served shape.
    pub(crate) fn served(self, bytes: &[u8]) -> ApiResult<Bytes> {
        let mut object = encode::decoded(bytes)?;
        self.to_served(&mut object);
        serde_json::to_vec(&object).map(Bytes::from).map_err(ApiError::internal)
    }
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    for (from, to) in names {
        if let Some(value) = object::remove_at(object, &[from]) {
            object::set_at(object, &[to], value);
        }
    }
}

fn scaler_to_v2(object: &mut Value) {
    let cpu = object::remove_at(object, &["spec", "targetCPUUtilizationPercentage"]);
    let kept = object::remove_at(object, &["metadata", "annotations", METRICS_ANNOTATION]);
    let mut metrics: Vec<Value> =
        kept.and_then(|text| serde_json::from_str(text.as_str()?).ok()).unwrap_or_default();
    if let Some(percent) = cpu {
        metrics.insert(
            0,
            json!({ "type": "Resource", "resource": { "name": "cpu",
            "target": { "type": "Utilization", "averageUtilization": percent } } }),
        );
    }
    if !metrics.is_empty() {
        object::set_at(object, &["spec", "metrics"], metrics);
    }
    let now = object::remove_at(object, &["status", "currentCPUUtilizationPercentage"]);
    if let Some(percent) = now {
        let current = json!([{ "type": "Resource", "resource": { "name": "cpu",
            "current": { "averageUtilization": percent, "averageValue": "0" } } }]);
        object::set_at(object, &["status", "currentMetrics"], current);
    }
}

fn scaler_to_v1(object: &mut Value) {
    let mut others = Vec::new();
    for metric in object::list_at(object, &["spec", "metrics"]).to_vec() {
        match object::at(&metric, &["resource", "target", "averageUtilization"]) {
            Some(percent) if object::str_at(&metric, &["resource", "name"]) == "cpu" => {
                object::set_at(object, &["spec", "targetCPUUtilizationPercentage"], percent.clone());
            }
            _ => others.push(metric),
        }
    }
    object::remove_at(object, &["spec", "metrics"]);
    object::remove_at(object, &["spec", "behavior"]);
    if !others.is_empty() {
        let text = Value::Array(others).to_string();
        object::set_at(object, &["metadata", "annotations", METRICS_ANNOTATION], text);
    }
    let current = object::list_at(object, &["status", "currentMetrics"]);
    let cpu = current.iter().find(|metric| object::str_at(metric, &["resource", "name"]) == "cpu");
    let percent =
        cpu.and_then(|metric| object::at(metric, &["resource", "current", "averageUtilization"]).cloned());
    object::remove_at(object, &["status", "currentMetrics"]);
    object::remove_at(object, &["status", "conditions"]);
    if let Some(percent) = percent {
        object::set_at(object, &["status", "currentCPUUtilizationPercentage"], percent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let served = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "regarding": {"name": "p"},
            "note": "hello", "reportingController": "x", "reason": "R"});
        let mut object = served.clone();
        Shape::Events.to_stored(&mut object);
        assert_eq!((&object["involvedObject"]["name"], &object["message"]), (&json!("p"), &json!("hello")));
        assert_eq!(object["apiVersion"], "v1");
        Shape::Events.to_served(&mut object);
        assert_eq!(object, served);
    }

    #[test]
    fn a_scaler_keeps_its_metrics_on_the_way_through_v1() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}}});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        let stored = json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {}}, "spec": {"metrics": [cpu, memory]}});
        let mut object = stored.clone();
        Shape::ScalerV1.to_served(&mut object);
        assert_eq!(object["spec"], json!({"targetCPUUtilizationPercentage": 80}));
        Shape::ScalerV1.to_stored(&mut object);
        assert_eq!(object, stored);
    }
}
