//! StorageClass and VolumeAttributesClass.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::read::{Read, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const CLASS: &str = "io.k8s.api.storage.v1.StorageClass";
/// Set to `true` on the class that claims without a class get.
pub(in crate::kinds) const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
const OLD_DEFAULT_ANNOTATION: &str = "storageclass.beta.kubernetes.io/is-default-class";

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Provisioner", CLASS, "provisioner"),
        Column::field("ReclaimPolicy", CLASS, "reclaimPolicy"),
        Column::field("VolumeBindingMode", CLASS, "volumeBindingMode"),
        Column::field("AllowVolumeExpansion", CLASS, "allowVolumeExpansion"),
        columns::age(),
    ];
    Row::cluster(V1, "StorageClass", "storageclasses")
        .short(&["sc"])
        .strategy(Rules {
            defaults: |class| {
                default_text(class, "reclaimPolicy", "Delete");
                default_text(class, "volumeBindingMode", "Immediate");
            },
            validate: check,
            validate_update: check_update,
            ..Rules::PLAIN
        })
        .columns(columns, cells)
}

pub(super) fn attributes() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("DriverName", "io.k8s.api.storage.v1.VolumeAttributesClass", "driverName"),
        columns::age(),
    ];
    Row::cluster(V1, "VolumeAttributesClass", "volumeattributesclasses")
        .short(&["vac"])
        .strategy(Rules {
            validate: check_attributes,
            validate_update: check_attributes_update,
            ..Rules::PLAIN
        })
        .columns(columns, |class, now| {
            vec![
                class["metadata"]["name"].clone(),
                class.text("driverName").into(),
                columns::age_of(class, now),
            ]
        })
}

fn cells(class: &Value, now: Timestamp) -> Vec<Value> {
    let name = class["metadata"].text("name");
    vec![
        if is_default(class) { format!("{name} (default)") } else { name.to_owned() }.into(),
        class.text("provisioner").into(),
        or(class.text("reclaimPolicy"), "Delete"),
        or(class.text("volumeBindingMode"), "Immediate"),
        class.flag("allowVolumeExpansion").into(),
        columns::age_of(class, now),
    ]
}

/// Whether claims without a class get this one.
pub(crate) fn is_default(class: &Value) -> bool {
    let annotations = &class["metadata"]["annotations"];
    annotations.text(DEFAULT_ANNOTATION) == "true" || annotations.text(OLD_DEFAULT_ANNOTATION) == "true"
}

fn or(text: &str, otherwise: &str) -> Value {
    if text.is_empty() { otherwise.into() } else { text.into() }
}

fn check(class: &Value, errors: &mut FieldErrors) {
    provisioner(Path::root("provisioner"), class.text("provisioner"), errors);
    const POLICIES: [&str; 2] = ["Delete", "Retain"];
    checks::maybe_one_of(Path::root("reclaimPolicy"), class.text("reclaimPolicy"), &POLICIES, errors);
    const MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];
    checks::one_of(Path::root("volumeBindingMode"), class.text("volumeBindingMode"), &MODES, errors);
    for (key, _) in class.entries("parameters").filter(|(key, _)| key.is_empty()) {
        errors.push(FieldError::invalid(Path::root("parameters"), key.as_str(), "field can not be empty."));
    }
}

fn provisioner(at: Path<'_>, name: &str, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else {
        checks::qualified(at, &name.to_lowercase(), errors);
    }
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if new.get(field) != old.get(field) {
            let why = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(Path::root(field), why));
        }
    }
    let at = Path::root("volumeBindingMode");
    metadata::immutable(at, &new["volumeBindingMode"], &old["volumeBindingMode"], errors);
}

fn check_attributes(class: &Value, errors: &mut FieldErrors) {
    provisioner(Path::root("driverName"), class.text("driverName"), errors);
    if class.entries("parameters").next().is_none() {
        errors
            .push(FieldError::required(Path::root("parameters"), "must contain at least one key/value pair"));
    }
}

fn check_attributes_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for field in ["driverName", "parameters"] {
        metadata::immutable(Path::root(field), &new[field], &old[field], errors);
    }
}
