//! DaemonSet.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::pod;
use crate::kinds::read::{Read, child, default, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;

const SPEC: &str = "io.k8s.api.apps.v1.DaemonSetSpec";
const STATUS: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const NEW_STATUS: &str = r#"{"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}"#;

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::field("Desired", STATUS, "desiredNumberScheduled").of("integer"),
        Column::field("Current", STATUS, "currentNumberScheduled").of("integer"),
        Column::field("Ready", STATUS, "numberReady").of("integer"),
        Column::field("Up-to-date", STATUS, "updatedNumberScheduled").of("integer"),
        Column::field("Available", STATUS, "numberAvailable").of("integer"),
        Column::field("Node Selector", "io.k8s.api.core.v1.PodSpec", "nodeSelector"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "DaemonSet", "daemonsets")
        .short(&["ds"])
        .category("all")
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(NEW_STATUS),
            defaults,
            create,
            update,
            validate: check,
            validate_update: check_update,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn defaults(set: &mut Value) {
    let spec = &mut set["spec"];
    default_text(child(spec, "updateStrategy"), "type", "RollingUpdate");
    if spec["updateStrategy"].text("type") == "RollingUpdate" {
        let rolling = child(&mut spec["updateStrategy"], "rollingUpdate");
        default(rolling, "maxUnavailable", 1);
        default(rolling, "maxSurge", 0);
    }
    default(spec, "revisionHistoryLimit", 10);
    pod::defaults::template(&mut spec["template"]);
}

fn create(set: &mut Value) {
    set["metadata"]["annotations"][TEMPLATE_GENERATION] = "1".into();
}

/// Counts the templates, as an annotation since the field is gone from the API.
fn update(set: &mut Value, old: &Value) {
    let last: i64 = old["metadata"]["annotations"].text(TEMPLATE_GENERATION).parse().unwrap_or(1);
    let next = last + i64::from(set["spec"]["template"] != old["spec"]["template"]);
    set["metadata"]["annotations"][TEMPLATE_GENERATION] = next.to_string().into();
}

fn check(set: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &set["spec"];
    let (selector, template) = (&spec["selector"], &spec["template"]);
    checks::selector(AT.child("selector"), selector, errors);
    workload::selects_its_template(AT.child("template"), selector, template, errors);
    if !selector.is_null() && checks::is_empty_selector(selector) {
        let why = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid(AT.child("selector"), selector.clone(), why));
    }
    workload::lasting_template(AT.child("template"), template, "DaemonSet", errors);
    checks::not_negative(AT.child("minReadySeconds"), spec.int("minReadySeconds"), errors);
    update_strategy(AT.child("updateStrategy"), &spec["updateStrategy"], errors);
    checks::not_negative(AT.child("revisionHistoryLimit"), spec.int("revisionHistoryLimit"), errors);
}

fn update_strategy(at: Path<'_>, strategy: &Value, errors: &mut FieldErrors) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling(at.child("rollingUpdate"), &strategy["rollingUpdate"], errors),
        other => errors.push(FieldError::not_supported(at, other, &["RollingUpdate", "OnDelete"])),
    }
}

/// Either old pods go before new ones come, or the other way round.
fn rolling(at: Path<'_>, rolling: &Value, errors: &mut FieldErrors) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        checks::count_or_percent(at.child(field), value, errors);
        checks::at_most_everything(at.child(field), value, errors);
    }
    match (checks::is_zero(unavailable), checks::is_zero(surge)) {
        (false, false) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(at.child("maxSurge"), surge.clone(), why));
        }
        (true, true) => {
            errors.push(FieldError::required(at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    metadata::immutable(at.child("selector"), &new["spec"]["selector"], &old["spec"]["selector"], errors);
}

fn cells(set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let pod = &spec["template"]["spec"];
    let [containers, images] = columns::container_cells(pod);
    vec![
        set["metadata"]["name"].clone(),
        columns::number(&status["desiredNumberScheduled"]),
        columns::number(&status["currentNumberScheduled"]),
        columns::number(&status["numberReady"]),
        columns::number(&status["updatedNumberScheduled"]),
        columns::number(&status["numberAvailable"]),
        columns::labels(&pod["nodeSelector"]).into(),
        columns::age_of(set, now),
        containers,
        images,
        columns::selector(&spec["selector"]).into(),
    ]
}
