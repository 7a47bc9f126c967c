//! LimitRange and ResourceQuota: what a namespace may use, a pod and all together.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::Read;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn limit_ranges() -> Row {
    Row::namespaced(V1, "LimitRange", "limitranges")
        .short(&["limits"])
        .strategy(Rules { create_on_update: true, ..Rules::PLAIN })
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
