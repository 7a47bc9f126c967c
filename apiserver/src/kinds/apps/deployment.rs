//! Deployment.

use jiff::Timestamp;
use serde_json::Value;

use super::{SCALE, V1};
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::Read;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
const STATUS: &str = "io.k8s.api.apps.v1.DeploymentStatus";

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::text("Ready", "Number of the pod with ready state"),
        Column::field("Up-to-date", STATUS, "updatedReplicas"),
        Column::field("Available", STATUS, "availableReplicas"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "Deployment", "deployments")
        .short(&["deploy"])
        .category("all")
        .subresources(&[SCALE, Subresource::Status])
        .strategy(Rules::SPEC_AND_STATUS)
        .columns(columns, cells)
}

fn cells(deployment: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    let (ready, desired) = (status.int("readyReplicas"), spec.int("replicas"));
    vec![
        deployment["metadata"]["name"].clone(),
        format!("{}/{}", ready.unwrap_or_default(), desired.unwrap_or_default()).into(),
        columns::number(&status["updatedReplicas"]),
        columns::number(&status["availableReplicas"]),
        columns::age_of(deployment, now),
        containers,
        images,
        columns::selector(&spec["selector"]).into(),
    ]
}
