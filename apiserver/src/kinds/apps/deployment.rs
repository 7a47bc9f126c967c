//! Deployment.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{SCALE, V1};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::pod;
use crate::kinds::read::{Read, default, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;

const SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
const STATUS: &str = "io.k8s.api.apps.v1.DeploymentStatus";

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::text("Ready", "Number of the pod with ready state"),
        Column::field("Up-to-date", STATUS, "updatedReplicas"),
        Column::field("Available", STATUS, "availableReplicas"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "Deployment", "deployments")
        .short(&["deploy"])
        .category("all")
        .subresources(&[SCALE, Subresource::Status])
        .strategy(Rules {
            defaults,
            validate: check,
            validate_update: check_update,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn defaults(deployment: &mut Value) {
    let spec = &mut deployment["spec"];
    default(spec, "replicas", 1);
    default_text(&mut spec["strategy"], "type", "RollingUpdate");
    if spec["strategy"].text("type") == "RollingUpdate" {
        let rolling = &mut spec["strategy"]["rollingUpdate"];
        if rolling.is_null() {
            *rolling = json!({});
        }
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    pod::defaults::template(&mut spec["template"]);
}

fn check(deployment: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &deployment["spec"];
    checks::not_negative(AT.child("replicas"), spec.int("replicas"), errors);
    let empty = "empty selector is invalid for deployment";
    workload::selector(AT.child("selector"), &spec["selector"], empty, errors);
    workload::selects_its_template(AT.child("template"), &spec["selector"], &spec["template"], errors);
    workload::lasting_template(AT.child("template"), &spec["template"], "ReplicaSet", errors);
    strategy(AT.child("strategy"), &spec["strategy"], errors);
    checks::none_negative(
        AT,
        spec,
        &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
        errors,
    );
    let ready = spec.int("minReadySeconds").unwrap_or_default();
    if let Some(deadline) = spec.int("progressDeadlineSeconds").filter(|deadline| *deadline <= ready) {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(AT.child("progressDeadlineSeconds"), deadline, why));
    }
}

fn strategy(at: Path<'_>, strategy: &Value, errors: &mut FieldErrors) {
    let rolling_at = at.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if strategy.has("rollingUpdate") => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(rolling_at, why));
        }
        "Recreate" => {}
        "RollingUpdate" => rolling(rolling_at, &strategy["rollingUpdate"], errors),
        other => errors.push(FieldError::not_supported(at, other, &["Recreate", "RollingUpdate"])),
    }
}

fn rolling(at: Path<'_>, rolling: &Value, errors: &mut FieldErrors) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    checks::count_or_percent(at.child("maxUnavailable"), unavailable, errors);
    checks::count_or_percent(at.child("maxSurge"), surge, errors);
    if checks::is_zero(unavailable) && checks::is_zero(surge) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(at.child("maxUnavailable"), unavailable.clone(), why));
    }
    checks::at_most_everything(at.child("maxUnavailable"), unavailable, errors);
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    metadata::immutable(at.child("selector"), &new["spec"]["selector"], &old["spec"]["selector"], errors);
}

fn cells(deployment: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    let (ready, desired) = (status.int("readyReplicas"), spec.int("replicas"));
    vec![
        deployment["metadata"]["name"].clone(),
        format!("{}/{}", ready.unwrap_or_default(), desired.unwrap_or_default()).into(),
        columns::number(&status["updatedReplicas"]),
        columns::number(&status["availableReplicas"]),
        columns::age_of(deployment, now),
        containers,
        images,
        columns::selector(&spec["selector"]).into(),
    ]
}
