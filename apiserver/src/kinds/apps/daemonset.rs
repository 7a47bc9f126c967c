//! DaemonSet.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::pod;
use crate::kinds::read::{Read, child, default, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.apps.v1.DaemonSetSpec";
const STATUS: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const NEW_STATUS: &str = r#"{"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}"#;

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::field("Desired", STATUS, "desiredNumberScheduled").of("integer"),
        Column::field("Current", STATUS, "currentNumberScheduled").of("integer"),
        Column::field("Ready", STATUS, "numberReady").of("integer"),
        Column::field("Up-to-date", STATUS, "updatedNumberScheduled").of("integer"),
        Column::field("Available", STATUS, "numberAvailable").of("integer"),
        Column::field("Node Selector", "io.k8s.api.core.v1.PodSpec", "nodeSelector"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "DaemonSet", "daemonsets")
        .short(&["ds"])
        .category("all")
        .subresources(&[Subresource::Status])
        .strategy(Rules { status: Some(NEW_STATUS), defaults, create, update, ..Rules::SPEC_AND_STATUS })
        .columns(columns, cells)
}

fn defaults(set: &mut Value) {
    let spec = &mut set["spec"];
    default_text(child(spec, "updateStrategy"), "type", "RollingUpdate");
    if spec["updateStrategy"].text("type") == "RollingUpdate" {
        let rolling = child(&mut spec["updateStrategy"], "rollingUpdate");
        default(rolling, "maxUnavailable", 1);
        default(rolling, "maxSurge", 0);
    }
    default(spec, "revisionHistoryLimit", 10);
    pod::defaults::template(&mut spec["template"]);
}

fn create(set: &mut Value) {
    set["metadata"]["annotations"][TEMPLATE_GENERATION] = "1".into();
}

/// Counts the templates, as an annotation since the field is gone from the API.
fn update(set: &mut Value, old: &Value) {
    let last: i64 = old["metadata"]["annotations"].text(TEMPLATE_GENERATION).parse().unwrap_or(1);
    let next = last + i64::from(set["spec"]["template"] != old["spec"]["template"]);
    set["metadata"]["annotations"][TEMPLATE_GENERATION] = next.to_string().into();
}

fn cells(set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let pod = &spec["template"]["spec"];
    let [containers, images] = columns::container_cells(pod);
    vec![
        set["metadata"]["name"].clone(),
        columns::number(&status["desiredNumberScheduled"]),
        columns::number(&status["currentNumberScheduled"]),
        columns::number(&status["numberReady"]),
        columns::number(&status["updatedNumberScheduled"]),
        columns::number(&status["numberAvailable"]),
        columns::labels(&pod["nodeSelector"]).into(),
        columns::age_of(set, now),
        containers,
        images,
        columns::selector(&spec["selector"]).into(),
    ]
}
