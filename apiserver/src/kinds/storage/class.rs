//! StorageClass and VolumeAttributesClass.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::columns::{self, Column};
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
        .strategy(Rules::PLAIN)
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
