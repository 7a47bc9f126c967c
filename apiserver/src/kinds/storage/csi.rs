//! What CSI drivers and the attach controller tell each other: CSIDriver, CSINode, CSIStorageCapacity,
//! VolumeAttachment.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::V1;
use crate::field::{FieldError, Path};
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, child, default};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const DRIVER: &str = "io.k8s.api.storage.v1.CSIDriverSpec";
const ATTACHMENT: &str = "io.k8s.api.storage.v1.VolumeAttachmentSpec";

pub(super) fn drivers() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("AttachRequired", DRIVER, "attachRequired").of("boolean"),
        Column::field("PodInfoOnMount", DRIVER, "podInfoOnMount").of("boolean"),
        Column::field("StorageCapacity", DRIVER, "storageCapacity").of("boolean"),
        Column::field("TokenRequests", DRIVER, "tokenRequests"),
        Column::field("RequiresRepublish", DRIVER, "requiresRepublish").of("boolean"),
        Column::field("Modes", DRIVER, "volumeLifecycleModes"),
        columns::age(),
    ];
    Row::cluster(V1, "CSIDriver", "csidrivers")
        .strategy(Rules { unconditional_update: false, defaults: driver_defaults, ..Rules::PLAIN })
        .columns(columns, driver_cells)
}

fn driver_defaults(driver: &mut Value) {
    let spec = child(driver, "spec");
    default(spec, "attachRequired", true);
    default(spec, "podInfoOnMount", false);
    default(spec, "storageCapacity", false);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.list("volumeLifecycleModes").is_empty() {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
    default(spec, "requiresRepublish", false);
    default(spec, "seLinuxMount", false);
}

fn driver_cells(driver: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &driver["spec"];
    let audiences = spec.list("tokenRequests").iter().map(|request| request.text("audience"));
    let tokens = columns::joined(audiences, ",");
    let modes = columns::joined(spec.list("volumeLifecycleModes").iter().filter_map(Value::as_str), ",");
    let or = |text: String, otherwise: &str| {
        Value::from(if text.is_empty() { otherwise.to_owned() } else { text })
    };
    vec![
        driver["metadata"]["name"].clone(),
        spec.get("attachRequired").and_then(Value::as_bool).unwrap_or(true).into(),
        spec.flag("podInfoOnMount").into(),
        spec.flag("storageCapacity").into(),
        or(tokens, "<unset>"),
        spec.flag("requiresRepublish").into(),
        or(modes, "<none>"),
        columns::age_of(driver, now),
    ]
}

pub(super) fn nodes() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Drivers", "Drivers indicates the number of CSI drivers registered on the node")
            .of("integer"),
        columns::age(),
    ];
    Row::cluster(V1, "CSINode", "csinodes")
        .strategy(Rules { unconditional_update: false, ..Rules::PLAIN })
        .columns(columns, |node, now| {
            let drivers = columns::count(&node["spec"]["drivers"]);
            vec![node["metadata"]["name"].clone(), drivers, columns::age_of(node, now)]
        })
}

pub(super) fn capacities() -> Row {
    Row::namespaced(V1, "CSIStorageCapacity", "csistoragecapacities")
        .strategy(Rules { unconditional_update: false, ..Rules::PLAIN })
        .columns(columns::created_at(), columns::created_at_cells)
}

pub(super) fn attachments() -> Row {
    let mut attacher = Column::field("Attacher", ATTACHMENT, "attacher");
    attacher.format = "name".into();
    let columns = vec![
        columns::name(),
        attacher,
        Column::field("PV", "io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName"),
        Column::field("Node", ATTACHMENT, "nodeName"),
        Column::field("Attached", "io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached").of("boolean"),
        columns::age(),
    ];
    Row::cluster(V1, "VolumeAttachment", "volumeattachments")
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"attached": false}"#),
            unconditional_update: false,
            validate_update: |new, old, errors| {
                if new["spec"] != old["spec"] {
                    let why = "field is immutable";
                    errors.push(FieldError::invalid(Path::root("spec"), new["spec"].clone(), why));
                }
            },
            ..Rules::PLAIN
        })
        .columns(columns, |attachment, now| {
            let spec = &attachment["spec"];
            vec![
                attachment["metadata"]["name"].clone(),
                spec.text("attacher").into(),
                spec["source"].text("persistentVolumeName").into(),
                spec.text("nodeName").into(),
                attachment["status"].flag("attached").into(),
                columns::age_of(attachment, now),
            ]
        })
}
