//! PersistentVolumeClaim.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use super::volume::{access_modes, check_modes, unset_or};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::read::{Read, default_text};
use crate::kinds::resources;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::object;

const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
const STATUS: &str = "io.k8s.api.core.v1.PersistentVolumeClaimStatus";

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Status", STATUS, "phase"),
        Column::field("Volume", SPEC, "volumeName"),
        Column::field("Capacity", STATUS, "capacity"),
        Column::field("Access Modes", STATUS, "accessModes"),
        Column::text("StorageClass", "StorageClass of the pvc"),
        Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
        columns::age(),
        Column::field("VolumeMode", SPEC, "volumeMode").wide(),
    ];
    Row::namespaced(V1, "PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"phase": "Pending"}"#),
            defaults: |claim| default_text(&mut claim["spec"], "volumeMode", "Filesystem"),
            validate: check,
            validate_update: check_update,
            ..Rules::PLAIN
        })
        .columns(columns, cells)
}

fn cells(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let deleting = claim["metadata"].has("deletionTimestamp");
    let bound = !spec.text("volumeName").is_empty();
    vec![
        claim["metadata"]["name"].clone(),
        if deleting { "Terminating".into() } else { status.text("phase").into() },
        spec.text("volumeName").into(),
        if bound { status["capacity"].text("storage").into() } else { "".into() },
        if bound { access_modes(status.list("accessModes")).into() } else { "".into() },
        spec.text("storageClassName").into(),
        unset_or(spec.text("volumeAttributesClassName")),
        columns::age_of(claim, now),
        unset_or(spec.text("volumeMode")),
    ]
}

fn check(claim: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &claim["spec"];
    check_modes(AT.child("accessModes"), spec, "at least 1 access mode is required", errors);
    checks::selector(AT.child("selector"), &spec["selector"], errors);
    let storage_at = AT.child("resources");
    let storage_at = storage_at.key("storage");
    match resources::parse(&spec["resources"]["requests"]["storage"]) {
        None => errors.push(FieldError::required(storage_at, "")),
        Some(amount) if amount.is_zero() || amount.is_negative() => {
            errors.push(FieldError::invalid(storage_at, amount.to_string(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        if !spec.text(field).is_empty() {
            checks::subdomain(AT.child(field), spec.text(field), errors);
        }
    }
    checks::maybe_one_of(AT.child("volumeMode"), spec.text("volumeMode"), &["Block", "Filesystem"], errors);
}

/// A claim is what quotas counted: of a bound one only the size grows.
fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let bound = new["status"].text("phase") == "Bound";
    let mut rest = new["spec"].clone();
    let (spec, before) = (&new["spec"], &old["spec"]);
    if before.text("volumeName").is_empty() {
        object::carry_over(&mut rest, before, "volumeName");
    }
    if !before.has("storageClassName") {
        object::carry_over(&mut rest, before, "storageClassName");
    }
    if bound {
        for field in ["resources", "volumeAttributesClassName"] {
            object::carry_over(&mut rest, before, field);
        }
    }
    if rest != *before {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(AT, why));
    }
    let size = |spec: &Value| resources::parse(&spec["resources"]["requests"]["storage"]).unwrap_or_default();
    let capacity = resources::parse(&new["status"]["capacity"]["storage"]).unwrap_or_default();
    if size(spec) < size(before) && size(spec) <= capacity {
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(AT.child("resources.requests.storage"), why));
    }
    metadata::immutable(Path::root("volumeMode"), &spec["volumeMode"], &before["volumeMode"], errors);
}
