//! autoscaling v1 and v2: HorizontalPodAutoscaler. Stored in v2's shape.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Subresource;
use super::columns::{self, Column};
use super::read::{Read, child, default, default_text};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "autoscaling", version: "v1", package: "io.k8s.api.autoscaling.v1" };
const V2: Api = Api { group: "autoscaling", version: "v2", package: "io.k8s.api.autoscaling.v2" };
const SPEC: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec";
const STATUS: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus";
/// How many metrics the table shows.
const SHOWN: usize = 2;

pub(super) fn rows() -> Vec<Row> {
    vec![row(V2), row(V1)]
}

fn row(api: Api) -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Reference", SPEC, "scaleTargetRef"),
        Column::field("Targets", SPEC, "metrics"),
        Column::field("MinPods", SPEC, "minReplicas"),
        Column::field("MaxPods", SPEC, "maxReplicas"),
        Column::field("Replicas", STATUS, "currentReplicas"),
        columns::age(),
    ];
    Row::namespaced(api, "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .category("all")
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"desiredReplicas": 0, "currentMetrics": null}"#),
            generation: false,
            defaults,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn defaults(scaler: &mut Value) {
    let spec = &mut scaler["spec"];
    default(spec, "minReplicas", 1);
    if spec.list("metrics").is_empty() {
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]);
    }
    if !spec.has("behavior") {
        return;
    }
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    for (direction, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        let rules = child(&mut spec["behavior"], direction);
        if direction == "scaleUp" {
            default(rules, "stabilizationWindowSeconds", 0);
        }
        default_text(rules, "selectPolicy", "Max");
        default(rules, "policies", policies);
    }
}

fn cells(scaler: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&scaler["spec"], &scaler["status"]);
    let target = &spec["scaleTargetRef"];
    let min = spec.int("minReplicas").map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
    vec![
        scaler["metadata"]["name"].clone(),
        format!("{}/{}", target.text("kind"), target.text("name")).into(),
        targets(spec.list("metrics"), status.list("currentMetrics")).into(),
        min.into(),
        columns::number(&spec["maxReplicas"]),
        columns::number(&status["currentReplicas"]),
        columns::age_of(scaler, now),
    ]
}

fn targets(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let texts: Vec<_> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| target(spec, statuses.get(index).unwrap_or(&Value::Null)))
        .collect();
    columns::at_most(&texts, SHOWN, ", ")
}

/// `current/target` of one metric, with the resource's name where it is about one.
fn target(spec: &Value, status: &Value) -> String {
    let (field, named) = match spec.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (wanted, current) = (&spec[field]["target"], &status[field]["current"]);
    let read = |value: &Value, key: &str, otherwise: &str| match &value[key] {
        Value::String(quantity) => quantity.clone(),
        Value::Number(percent) => format!("{percent}%"),
        _ => otherwise.to_owned(),
    };
    let pair = |key: &str, missing: &str| {
        format!("{}/{}", read(current, key, "<unknown>"), read(wanted, key, missing))
    };
    let by_average = wanted.has("averageValue");
    let text = match (named, by_average) {
        (true, false) => pair("averageUtilization", "<auto>"),
        (true, true) => pair("averageValue", ""),
        (false, true) if field == "pods" => pair("averageValue", ""),
        (false, true) => format!("{} (avg)", pair("averageValue", "")),
        (false, false) => pair("value", ""),
    };
    if named { format!("{}: {text}", spec[field].text("name")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_show_current_and_target() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let seen =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}});
        let queue = json!({"type": "External", "external": {"target": {"averageValue": "30"}}});
        assert_eq!(targets(&[], &[]), "<none>");
        assert_eq!(targets(&[cpu.clone()], &[]), "cpu: <unknown>/80%");
        assert_eq!(targets(&[cpu.clone(), queue.clone()], &[seen]), "cpu: 12%/80%, <unknown>/30 (avg)");
        let three = [cpu.clone(), cpu, queue];
        assert_eq!(targets(&three, &[]), "cpu: <unknown>/80%, cpu: <unknown>/80% + 1 more...");
    }
}
