//! ReplicaSet.

use jiff::Timestamp;
use serde_json::Value;

use super::{SCALE, V1};
use crate::field::{FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::{self, SelectableField};
use crate::kinds::metadata;
use crate::kinds::pod;
use crate::kinds::read::default;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;

const SPEC: &str = "io.k8s.api.apps.v1.ReplicaSetSpec";
const STATUS: &str = "io.k8s.api.apps.v1.ReplicaSetStatus";

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::field("Desired", SPEC, "replicas").of("integer"),
        Column::field("Current", STATUS, "replicas").of("integer"),
        Column::field("Ready", STATUS, "readyReplicas").of("integer"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "ReplicaSet", "replicasets")
        .short(&["rs"])
        .category("all")
        .subresources(&[SCALE, Subresource::Status])
        .fields([SelectableField::computed("status.replicas", |set| {
            fields::text(&columns::number(&set["status"]["replicas"]))
        })])
        .strategy(Rules {
            status: Some(r#"{"replicas": 0}"#),
            defaults: |set| {
                default(&mut set["spec"], "replicas", 1);
                pod::defaults::template(&mut set["spec"]["template"]);
            },
            validate: check,
            validate_update: check_update,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn check(set: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &set["spec"];
    checks::none_negative(AT, spec, &["replicas", "minReadySeconds"], errors);
    let empty = "empty selector is invalid for deployment";
    workload::selector(AT.child("selector"), &spec["selector"], empty, errors);
    workload::selects_its_template(AT.child("template"), &spec["selector"], &spec["template"], errors);
    workload::lasting_template(AT.child("template"), &spec["template"], "ReplicaSet", errors);
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    metadata::immutable(at.child("selector"), &new["spec"]["selector"], &old["spec"]["selector"], errors);
}

fn cells(set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    vec![
        set["metadata"]["name"].clone(),
        columns::number(&spec["replicas"]),
        columns::number(&status["replicas"]),
        columns::number(&status["readyReplicas"]),
        columns::age_of(set, now),
        containers,
        images,
        columns::selector(&spec["selector"]).into(),
    ]
}
