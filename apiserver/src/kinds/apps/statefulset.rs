//! StatefulSet.

use jiff::Timestamp;
use serde_json::Value;

use super::{SCALE, V1};
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::pod;
use crate::kinds::read::{Read, child, default, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::text("Ready", "Number of the pod with ready state"),
        columns::age(),
        containers,
        images,
    ];
    Row::namespaced(V1, "StatefulSet", "statefulsets")
        .short(&["sts"])
        .category("all")
        .subresources(&[SCALE, Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"replicas": 0, "availableReplicas": 0}"#),
            defaults,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn defaults(set: &mut Value) {
    let spec = &mut set["spec"];
    default(spec, "replicas", 1);
    default_text(spec, "podManagementPolicy", "OrderedReady");
    default_text(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"].text("type") == "RollingUpdate" {
        default(child(&mut spec["updateStrategy"], "rollingUpdate"), "partition", 0);
    }
    default(spec, "revisionHistoryLimit", 10);
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    default_text(retention, "whenDeleted", "Retain");
    default_text(retention, "whenScaled", "Retain");
    pod::defaults::template(&mut spec["template"]);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["apiVersion"] = "v1".into();
        default_text(child(claim, "spec"), "volumeMode", "Filesystem");
        default_text(child(claim, "status"), "phase", "Pending");
    }
}

fn cells(set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    let (ready, desired) = (status.int("readyReplicas"), spec.int("replicas"));
    vec![
        set["metadata"]["name"].clone(),
        format!("{}/{}", ready.unwrap_or_default(), desired.unwrap_or_default()).into(),
        columns::age_of(set, now),
        containers,
        images,
    ]
}
