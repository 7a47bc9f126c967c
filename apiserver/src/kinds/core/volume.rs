//! PersistentVolume.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, default, default_text};
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
