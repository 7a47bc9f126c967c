//! PersistentVolumeClaim.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use super::volume::{access_modes, unset_or};
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

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
