//! Kinds that are served in two shapes and stored in one: Event and HorizontalPodAutoscaler.
//!
//! Promise: pure; strategies, selectors and the store only ever see the stored shape, clients only the shape they
//! asked for. Source: kubernetes `pkg/apis/events/v1/conversion.go`, `pkg/apis/autoscaling/v1/conversion.go`.

use bytes::Bytes;
use serde_json::Value;

use super::encode;
use crate::kinds::{Kind, autoscaling};
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
                autoscaling::to_v2(object);
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
                autoscaling::to_v1(object);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
