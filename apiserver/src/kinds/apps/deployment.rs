//! Deployment.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{SCALE, V1};
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::pod;
use crate::kinds::read::{Read, default, default_text};
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
        .strategy(Rules { defaults, ..Rules::SPEC_AND_STATUS })
        .columns(columns, cells)
}

fn defaults(deployment: &mut Value) {
    let spec = &mut deployment["spec"];
    default(spec, "replicas", 1);
    default_text(&mut spec["strategy"], "type", "RollingUpdate");
    if spec["strategy"].text("type") == "RollingUpdate" {
        let rolling = &mut spec["strategy"]["rollingUpdate"];
        if rolling.is_null() {
            *rolling = json!({});
        }
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    pod::defaults::template(&mut spec["template"]);
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
