//! LimitRange and ResourceQuota: what a namespace may use, a pod and all together.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn limit_ranges() -> Row {
    Row::namespaced(V1, "LimitRange", "limitranges")
        .short(&["limits"])
        .strategy(Rules { create_on_update: true, defaults: limit_defaults, ..Rules::PLAIN })
        .columns(columns::created_at(), columns::created_at_cells)
}

pub(super) fn resource_quotas() -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Request",
            "Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column::text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        columns::age(),
    ];
    Row::namespaced(V1, "ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .subresources(&[Subresource::Status])
        .strategy(Rules { status: Some("{}"), ..Rules::PLAIN })
        .columns(columns, quota_cells)
}

/// Limits of containers default each other: the maximum is the default limit, that the default request,
/// and else the minimum is.
fn limit_defaults(range: &mut Value) {
    for item in items_mut(&mut range["spec"], "limits").filter(|item| item.text("type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(values) = item.get(from).and_then(Value::as_object).cloned() else { continue };
            for (resource, value) in values {
                if !item[to].has(&resource) {
                    item[to][resource] = value;
                }
            }
        }
    }
}

fn quota_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let used =
        |resource: &str| status["used"].get(resource).and_then(Value::as_str).unwrap_or("0").to_owned();
    let (limits, requests): (Vec<_>, Vec<_>) =
        status.entries("hard").partition(|(resource, _)| resource.starts_with("limits."));
    let column = |entries: Vec<(&String, &Value)>| {
        let texts = entries.into_iter().map(|(resource, hard)| {
            format!("{resource}: {}/{}", used(resource), hard.as_str().unwrap_or_default())
        });
        Value::from(texts.collect::<Vec<_>>().join(", "))
    };
    vec![object["metadata"]["name"].clone(), column(requests), column(limits), columns::age_of(object, now)]
}
