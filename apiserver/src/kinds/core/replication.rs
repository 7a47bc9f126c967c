//! ReplicationController, the predecessor of ReplicaSet.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::{self, SelectableField};
use crate::kinds::pod;
use crate::kinds::read::{Read, default};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;

const SPEC: &str = "io.k8s.api.core.v1.ReplicationControllerSpec";
const STATUS: &str = "io.k8s.api.core.v1.ReplicationControllerStatus";

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
    let scale = Subresource::Scale {
        replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "spec.selector",
    };
    Row::namespaced(V1, "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .category("all")
        .subresources(&[scale, Subresource::Status])
        .fields([SelectableField::computed("status.replicas", |object| {
            fields::text(&columns::number(&object["status"]["replicas"]))
        })])
        .strategy(Rules {
            status: Some(r#"{"replicas": 0}"#),
            defaults,
            validate: check,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

/// Selector and labels default to the labels of the template.
fn defaults(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    default(&mut object["spec"], "replicas", 1);
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        let is_empty = |value: &Value| value.as_object().is_none_or(Map::is_empty);
        if is_empty(&object["spec"]["selector"]) {
            object["spec"]["selector"] = labels.clone();
        }
        if is_empty(&object["metadata"]["labels"]) {
            object["metadata"]["labels"] = labels;
        }
    }
    pod::defaults::template(&mut object["spec"]["template"]);
}

fn check(controller: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &controller["spec"];
    checks::not_negative(AT.child("minReadySeconds"), spec.int("minReadySeconds"), errors);
    if spec["selector"].as_object().is_none_or(Map::is_empty) {
        errors.push(FieldError::required(AT.child("selector"), ""));
    }
    checks::not_negative(AT.child("replicas"), spec.int("replicas"), errors);
    let template_at = AT.child("template");
    if spec["template"].is_null() {
        errors.push(FieldError::required(template_at, ""));
        return;
    }
    let selector = json!({"matchLabels": spec["selector"]});
    workload::selects_its_template(template_at, &selector, &spec["template"], errors);
    workload::lasting_template(template_at, &spec["template"], "ReplicationController", errors);
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    vec![
        object["metadata"]["name"].clone(),
        columns::number(&spec["replicas"]),
        columns::number(&status["replicas"]),
        columns::number(&status["readyReplicas"]),
        columns::age_of(object, now),
        containers,
        images,
        columns::labels(&spec["selector"]).into(),
    ]
}
