//! PersistentVolume.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::pod::validate::node_selector;
use crate::kinds::read::{Read, default, default_text};
use crate::kinds::resources;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
const STATUS: &str = "io.k8s.api.core.v1.PersistentVolumeStatus";

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Capacity", SPEC, "capacity"),
        Column::field("Access Modes", SPEC, "accessModes"),
        Column::field("Reclaim Policy", SPEC, "persistentVolumeReclaimPolicy"),
        Column::field("Status", STATUS, "phase"),
        Column::field("Claim", SPEC, "claimRef"),
        Column::text("StorageClass", "StorageClass of the pv"),
        Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
        Column::field("Reason", STATUS, "reason"),
        columns::age(),
        Column::field("VolumeMode", SPEC, "volumeMode").wide(),
    ];
    Row::cluster(V1, "PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"phase": "Pending"}"#),
            defaults: |volume| {
                default_text(&mut volume["spec"], "persistentVolumeReclaimPolicy", "Retain");
                default_text(&mut volume["spec"], "volumeMode", "Filesystem");
                if volume["spec"].has("hostPath") {
                    default(&mut volume["spec"]["hostPath"], "type", "");
                }
            },
            // Upstream stamps the phase it starts in.
            create: |volume| {
                volume["status"]["lastPhaseTransitionTime"] = volume["metadata"]["creationTimestamp"].clone();
            },
            validate: check,
            validate_update: check_update,
            ..Rules::PLAIN
        })
        .columns(columns, cells)
}

fn cells(volume: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let deleting = volume["metadata"].has("deletionTimestamp");
    let claim = match spec.get("claimRef") {
        Some(claim) => format!("{}/{}", claim.text("namespace"), claim.text("name")),
        None => String::new(),
    };
    vec![
        volume["metadata"]["name"].clone(),
        spec["capacity"].text("storage").into(),
        access_modes(spec.list("accessModes")).into(),
        spec.text("persistentVolumeReclaimPolicy").into(),
        if deleting { "Terminating".into() } else { status.text("phase").into() },
        claim.into(),
        spec.text("storageClassName").into(),
        unset_or(spec.text("volumeAttributesClassName")),
        status.text("reason").into(),
        columns::age_of(volume, now),
        unset_or(spec.text("volumeMode")),
    ]
}

/// Access modes in their short names: `RWO,ROX`.
pub(super) fn access_modes(modes: &[Value]) -> String {
    // Upstream prints them in this order, each once.
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let present = SHORT.iter().filter(|(long, _)| modes.iter().any(|mode| mode == long));
    columns::joined(present.map(|(_, short)| *short), ",")
}

/// Text, or `<unset>` where there is none.
pub(super) fn unset_or(text: &str) -> Value {
    if text.is_empty() { "<unset>".into() } else { text.into() }
}

pub(super) const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// The sources of volumes that a cluster can have.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn check(volume: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &volume["spec"];
    check_modes(AT.child("accessModes"), spec, "", errors);
    let capacity_at = AT.child("capacity");
    if spec.entries("capacity").next().is_none() {
        errors.push(FieldError::required(capacity_at, ""));
    } else if !spec["capacity"].has("storage") || spec.entries("capacity").count() > 1 {
        errors.push(FieldError::not_supported(capacity_at, spec["capacity"].clone(), &["storage"]));
    }
    for (resource, value) in spec.entries("capacity") {
        let at = capacity_at.key(resource);
        let positive =
            resources::parse(value).is_some_and(|amount| !amount.is_zero() && !amount.is_negative());
        if !positive {
            errors.push(FieldError::invalid(at, value.clone(), "must be greater than zero"));
        }
    }
    const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
    let policy = spec.text("persistentVolumeReclaimPolicy");
    checks::maybe_one_of(AT.child("persistentVolumeReclaimPolicy"), policy, &POLICIES, errors);
    if spec["nodeAffinity"].has("required") {
        let at = AT.child("nodeAffinity");
        node_selector(at.child("required"), &spec["nodeAffinity"]["required"], true, errors);
    }
    check_source(AT, spec, errors);
    if !spec.text("storageClassName").is_empty() {
        checks::subdomain(AT.child("storageClassName"), spec.text("storageClassName"), errors);
    }
    checks::maybe_one_of(AT.child("volumeMode"), spec.text("volumeMode"), &["Block", "Filesystem"], errors);
}

pub(super) fn check_modes(at: Path<'_>, spec: &Value, none: &str, errors: &mut FieldErrors) {
    let modes: Vec<&str> = spec.list("accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.push(FieldError::required(at, none));
    }
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        errors.push(FieldError::not_supported(at, *mode, &MODES));
    }
    let alone = modes.contains(&"ReadWriteOncePod");
    if alone && modes.iter().any(|mode| *mode != "ReadWriteOncePod" && MODES.contains(mode)) {
        errors.push(FieldError::forbidden(at, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn check_source(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let mut found = false;
    for source in SOURCES.iter().filter(|source| spec.has(source)) {
        if std::mem::replace(&mut found, true) {
            errors.push(FieldError::forbidden(at.child(source), "may not specify more than 1 volume type"));
        }
    }
    if !found {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
    let (path_at, path) = (at.child("hostPath"), spec["hostPath"].text("path"));
    if spec.has("hostPath") && path.is_empty() {
        errors.push(FieldError::required(path_at.child("path"), ""));
    }
    if path == "/" && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        errors.push(FieldError::forbidden(
            path_at.child("path"),
            "may not be '/' for a reclaim policy of 'recycle'",
        ));
    }
}

/// Where the data of a volume is stays.
fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    if SOURCES.iter().any(|source| new.get(source) != old.get(source)) {
        let why = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(at.child("persistentvolumesource"), why));
    }
    metadata::immutable(Path::root("volumeMode"), &new["volumeMode"], &old["volumeMode"], errors);
    if old["nodeAffinity"].has("required") {
        metadata::immutable(at.child("nodeAffinity"), &new["nodeAffinity"], &old["nodeAffinity"], errors);
    }
}
