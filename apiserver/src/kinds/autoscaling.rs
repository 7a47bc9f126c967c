//! autoscaling v1 and v2: HorizontalPodAutoscaler. Stored in v2's shape.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Subresource;
use super::checks;
use super::columns::{self, Column};
use super::names;
use super::read::{Read, child, default, default_text};
use super::resources;
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};
use crate::object;

const V1: Api = Api { group: "autoscaling", version: "v1", package: "io.k8s.api.autoscaling.v1" };
const V2: Api = Api { group: "autoscaling", version: "v2", package: "io.k8s.api.autoscaling.v2" };
const SPEC: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec";
const STATUS: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus";
/// Where v1 keeps what only v2 has fields for, as JSON in v2's form.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
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
            validate: check,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

/// v1 knows one metric, the use of CPU; the others are annotations there.
pub(crate) fn to_v2(scaler: &mut Value) {
    let own = object::remove_at(scaler, &["spec", "targetCPUUtilizationPercentage"]);
    let mut metrics: Vec<Value> = own.filter(Value::is_number).map(cpu).into_iter().collect();
    if let Some(Value::Array(others)) = take(scaler, METRICS) {
        metrics.extend(others);
    }
    if !metrics.is_empty() {
        scaler["spec"]["metrics"] = metrics.into();
    }
    for (annotation, part, field) in [
        (BEHAVIOR, "spec", "behavior"),
        (CONDITIONS, "status", "conditions"),
        (CURRENT, "status", "currentMetrics"),
    ] {
        if let Some(value) = take(scaler, annotation) {
            scaler[part][field] = value;
        }
    }
    if let Some(percent) = object::remove_at(scaler, &["status", "currentCPUUtilizationPercentage"]) {
        let current = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}});
        match scaler["status"].get_mut("currentMetrics").and_then(Value::as_array_mut) {
            Some(all) => all.insert(0, current),
            None => scaler["status"]["currentMetrics"] = json!([current]),
        }
    }
    if scaler["status"].is_object() && !scaler["status"].has("currentMetrics") {
        scaler["status"]["currentMetrics"] = Value::Null;
    }
    defaults(scaler);
}

pub(crate) fn to_v1(scaler: &mut Value) {
    let percent = |metric: &Value, part: &str| match metric["resource"].text("name") {
        "cpu" => metric["resource"][part].get("averageUtilization").cloned(),
        _ => None,
    };
    for (part, field, inner, own, annotation) in [
        ("spec", "metrics", "target", "targetCPUUtilizationPercentage", METRICS),
        ("status", "currentMetrics", "current", "currentCPUUtilizationPercentage", CURRENT),
    ] {
        let Some(Value::Array(mut metrics)) = object::remove_at(scaler, &[part, field]) else { continue };
        let at = metrics.iter().position(|metric| percent(metric, inner).is_some());
        if let Some(value) = at.and_then(|at| percent(&metrics.remove(at), inner)) {
            scaler[part][own] = value;
        }
        if !metrics.is_empty() {
            annotate(scaler, annotation, &metrics.into());
        }
    }
    for (part, field, annotation) in [("spec", "behavior", BEHAVIOR), ("status", "conditions", CONDITIONS)] {
        if let Some(value) = object::remove_at(scaler, &[part, field]) {
            annotate(scaler, annotation, &value);
        }
    }
    default(child(scaler, "status"), "currentReplicas", 0);
}

fn cpu(percent: Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn annotate(scaler: &mut Value, annotation: &str, value: &Value) {
    object::set_at(scaler, &["metadata", "annotations", annotation], value.to_string());
}

fn take(scaler: &mut Value, annotation: &str) -> Option<Value> {
    let text = object::remove_at(scaler, &["metadata", "annotations", annotation])?;
    if scaler["metadata"].entries("annotations").next().is_none() {
        object::remove_at(scaler, &["metadata", "annotations"]);
    }
    serde_json::from_str(text.as_str()?).ok()
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

fn check(scaler: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &scaler["spec"];
    let (min, max) = (spec.int("minReplicas"), spec.int("maxReplicas").unwrap_or_default());
    if let Some(min) = min.filter(|min| *min < 1) {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(AT.child("minReplicas"), min, why));
    }
    if max < 1 {
        errors.push(FieldError::invalid(AT.child("maxReplicas"), max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(AT.child("maxReplicas"), max, why));
    }
    target_object(AT.child("scaleTargetRef"), &spec["scaleTargetRef"], errors);
    let metrics_at = AT.child("metrics");
    for (index, metric) in spec.list("metrics").iter().enumerate() {
        check_metric(metrics_at.index(index), metric, errors);
    }
    let behavior_at = AT.child("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        if spec["behavior"].has(direction) {
            check_rules(behavior_at.child(direction), &spec["behavior"][direction], errors);
        }
    }
}

fn target_object(at: Path<'_>, target: &Value, errors: &mut FieldErrors) {
    for field in ["kind", "name"] {
        match target.text(field) {
            "" => errors.push(FieldError::required(at.child(field), "")),
            text => checks::complain(at.child(field), text, names::path_segment(text, false), errors),
        }
    }
}

fn check_metric(at: Path<'_>, metric: &Value, errors: &mut FieldErrors) {
    const TYPES: [(&str, &str); 5] = [
        ("ContainerResource", "containerResource"),
        ("External", "external"),
        ("Object", "object"),
        ("Pods", "pods"),
        ("Resource", "resource"),
    ];
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.push(FieldError::required(at.child("type"), "must specify a metric source type"));
    }
    let Some((_, expected)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let names = TYPES.map(|(name, _)| name);
        errors.push(FieldError::not_supported(at.child("type"), kind, &names));
        return;
    };
    let source_at = at.child(expected);
    if !metric.has(expected) {
        let why = "must populate information for the given metric source";
        errors.push(FieldError::required(source_at, why));
    } else {
        check_source(source_at, expected, &metric[*expected], errors);
    }
    for (_, other) in TYPES.iter().filter(|(_, other)| other != expected && metric.has(other)) {
        let why = "must populate the given metric source only";
        errors.push(FieldError::forbidden(at.child(other), why));
    }
}

fn check_source(at: Path<'_>, kind: &str, source: &Value, errors: &mut FieldErrors) {
    let (target_at, target) = (at.child("target"), &source["target"]);
    if kind == "object" {
        target_object(at.child("describedObject"), &source["describedObject"], errors);
    }
    if matches!(kind, "object" | "pods" | "external") {
        let metric_at = at.child("metric");
        match source["metric"].text("name") {
            "" => errors.push(FieldError::required(metric_at.child("name"), "must specify a metric name")),
            name => checks::complain(metric_at.child("name"), name, names::path_segment(name, false), errors),
        }
    } else if source.text("name").is_empty() {
        errors.push(FieldError::required(at.child("name"), "must specify a resource name"));
    }
    check_target(target_at, target, errors);
    let (value, average) = (target.has("value"), target.has("averageValue"));
    match kind {
        "object" if !value && !average => {
            let why = "must set either a target value or averageValue";
            errors.push(FieldError::required(target_at.child("averageValue"), why));
        }
        "pods" if !average => {
            let why = "must specify a positive target averageValue";
            errors.push(FieldError::required(target_at.child("averageValue"), why));
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(target_at.child("value"), why));
        }
        "external" if !value && !average => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.push(FieldError::required(target_at.child("averageValue"), why));
        }
        "resource" | "containerResource" => match (target.has("averageUtilization"), average) {
            (false, false) => {
                let why = "must set either a target raw value or a target utilization";
                errors.push(FieldError::required(target_at.child("averageUtilization"), why));
            }
            (true, true) => {
                let why = "may not set both a target raw value and a target utilization";
                errors.push(FieldError::forbidden(target_at.child("averageValue"), why));
            }
            _ => {}
        },
        _ => {}
    }
}

fn check_target(at: Path<'_>, target: &Value, errors: &mut FieldErrors) {
    match target.text("type") {
        "" => errors.push(FieldError::required(at.child("type"), "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            let why = "must be either Utilization, Value, or AverageValue";
            errors.push(FieldError::invalid(at.child("type"), other, why));
        }
    }
    for field in ["value", "averageValue"] {
        let amount = resources::parse(&target[field]);
        if amount.is_some_and(|amount| amount.is_zero() || amount.is_negative()) {
            errors.push(FieldError::invalid(at.child(field), target[field].clone(), "must be positive"));
        }
    }
    if let Some(percent) = target.int("averageUtilization").filter(|percent| *percent < 1) {
        errors.push(FieldError::invalid(at.child("averageUtilization"), percent, "must be greater than 0"));
    }
}

fn check_rules(at: Path<'_>, rules: &Value, errors: &mut FieldErrors) {
    /// Longest look back, in seconds.
    const WINDOW_MAX: i64 = 3600;
    const PERIOD_MAX: i64 = 1800;
    if let Some(window) = rules.int("stabilizationWindowSeconds") {
        let at = at.child("stabilizationWindowSeconds");
        checks::not_negative(at, Some(window), errors);
        if window > WINDOW_MAX {
            let why = format!("must be less than or equal to {WINDOW_MAX}");
            errors.push(FieldError::invalid(at, window, why));
        }
    }
    checks::maybe_one_of(
        at.child("selectPolicy"),
        rules.text("selectPolicy"),
        &["Disabled", "Max", "Min"],
        errors,
    );
    let policies_at = at.child("policies");
    if rules.list("policies").is_empty() {
        errors.push(FieldError::required(policies_at, "must specify at least one Policy"));
    }
    for (index, policy) in rules.list("policies").iter().enumerate() {
        let at = policies_at.index(index);
        let kind = policy.text("type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.push(FieldError::not_supported(at.child("type"), kind, &["Percent", "Pods"]));
        }
        for (field, most) in [("value", i64::MAX), ("periodSeconds", PERIOD_MAX)] {
            let number = policy.int(field).unwrap_or_default();
            if number <= 0 {
                errors.push(FieldError::invalid(at.child(field), number, "must be greater than zero"));
            } else if number > most {
                let why = format!("must be less than or equal to {most}");
                errors.push(FieldError::invalid(at.child(field), number, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_lost_between_the_versions() {
        let queue = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "3"}}});
        let newer = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "minReplicas": 1,
            "metrics": [cpu(50.into()), queue]}, "status": {"desiredReplicas": 2, "currentReplicas": 1, "currentMetrics": null}});
        let mut older = newer.clone();
        to_v1(&mut older);
        assert_eq!(older["spec"]["targetCPUUtilizationPercentage"], 50);
        assert!(older["spec"].get("metrics").is_none());
        to_v2(&mut older);
        assert_eq!(older, newer);
        let mut bare = json!({"spec": {"maxReplicas": 3}});
        to_v2(&mut bare);
        assert_eq!(bare["spec"]["metrics"], json!([cpu(80.into())]));
    }

    #[test]
    fn metrics_show_current_and_target() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let seen =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}});
        let queue = json!({"type": "External", "external": {"target": {"averageValue": "30"}}});
        assert_eq!(targets(&[], &[]), "<none>");
        assert_eq!(targets(std::slice::from_ref(&cpu), &[]), "cpu: <unknown>/80%");
        assert_eq!(targets(&[cpu.clone(), queue.clone()], &[seen]), "cpu: 12%/80%, <unknown>/30 (avg)");
        let three = [cpu.clone(), cpu, queue];
        assert_eq!(targets(&three, &[]), "cpu: <unknown>/80%, cpu: <unknown>/80% + 1 more...");
    }
}
