//! ComponentStatus: how the other parts of the control plane do. Nothing is stored; each request asks them.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::Read;
use crate::kinds::row::Row;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Status", "Status of the component conditions"),
        Column::text("Message", "Message of the component conditions"),
        Column::text("Error", "Error of the component conditions"),
    ];
    Row::cluster(V1, "ComponentStatus", "componentstatuses")
        .short(&["cs"])
        .verbs(&["get", "list"])
        .deprecated("v1 ComponentStatus is deprecated in v1.19+")
        .columns(columns, cells)
}

fn cells(object: &Value, _: Timestamp) -> Vec<Value> {
    let healthy = object.list("conditions").iter().find(|condition| condition.text("type") == "Healthy");
    let status = match healthy.map(|condition| condition.text("status")) {
        Some("True") => "Healthy",
        Some("False") => "Unhealthy",
        _ => "Unknown",
    };
    let said = |field: &str| healthy.map_or("", |condition| condition.text(field)).into();
    vec![object["metadata"]["name"].clone(), status.into(), said("message"), said("error")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_healthy_condition_is_shown() {
        let with = |conditions: Value| json!({"metadata": {"name": "scheduler"}, "conditions": conditions});
        let table = [
            (json!([{"type": "Healthy", "status": "True", "message": "ok"}]), ["Healthy", "ok", ""]),
            (json!([{"type": "Healthy", "status": "False", "error": "no"}]), ["Unhealthy", "", "no"]),
            (json!([{"type": "Other", "status": "True", "message": "ok"}]), ["Unknown", "", ""]),
            (json!([]), ["Unknown", "", ""]),
        ];
        for (conditions, want) in table {
            assert_eq!(cells(&with(conditions), Timestamp::UNIX_EPOCH)[1..], want, "{want:?}");
        }
    }
}
