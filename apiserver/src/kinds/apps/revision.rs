//! ControllerRevision: a snapshot of what a StatefulSet or DaemonSet looked like.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::read::Read;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Controller", "Controller of the object"),
        Column::field("Revision", "io.k8s.api.apps.v1.ControllerRevision", "revision"),
        columns::age(),
    ];
    Row::namespaced(V1, "ControllerRevision", "controllerrevisions")
        .strategy(Rules { validate: check, validate_update: check_update, ..Rules::PLAIN })
        .columns(columns, cells)
}

fn check(revision: &Value, errors: &mut FieldErrors) {
    if !revision.has("data") {
        errors.push(FieldError::required(Path::root("data"), "data is mandatory"));
    }
    checks::not_negative(Path::root("revision"), revision.int("revision"), errors);
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    metadata::immutable(Path::root("data"), &new["data"], &old["data"], errors);
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let owners = object["metadata"].list("ownerReferences");
    let controller = owners.iter().find(|owner| owner.flag("controller")).map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = owner.text("kind").to_lowercase();
            match owner.text("apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
                None => format!("{kind}/{}", owner.text("name")),
            }
        },
    );
    vec![
        object["metadata"]["name"].clone(),
        controller.into(),
        columns::number(&object["revision"]),
        columns::age_of(object, now),
    ]
}
