//! resource.k8s.io/v1: devices that pods claim (DRA).

use jiff::Timestamp;
use serde_json::Value;

use super::Subresource;
use super::columns::{self, Column};
use super::fields::SelectableField;
use super::read::{Read, child, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "resource.k8s.io", version: "v1", package: "io.k8s.api.resource.v1" };
const SLICE: &str = "io.k8s.api.resource.v1.ResourceSliceSpec";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::cluster(V1, "DeviceClass", "deviceclasses").strategy(Rules { generation: true, ..Rules::PLAIN }),
        claims(),
        Row::namespaced(V1, "ResourceClaimTemplate", "resourceclaimtemplates").strategy(Rules {
            defaults: |template| request_defaults(child(child(template, "spec"), "spec")),
            ..Rules::PLAIN
        }),
        slices(),
    ]
}

fn claims() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
        columns::age(),
    ];
    Row::namespaced(V1, "ResourceClaim", "resourceclaims")
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            generation: false,
            defaults: |claim| request_defaults(child(claim, "spec")),
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, |claim, now| {
            vec![claim["metadata"]["name"].clone(), state(claim).into(), columns::age_of(claim, now)]
        })
}

fn request_defaults(spec: &mut Value) {
    let count = |request: &mut Value| {
        default_text(request, "allocationMode", "ExactCount");
        if request.text("allocationMode") == "ExactCount" && request.int("count").unwrap_or_default() == 0 {
            request["count"] = 1.into();
        }
    };
    let Some(devices) = spec.get_mut("devices") else { return };
    for request in items_mut(devices, "requests") {
        if request.has("exactly") {
            count(&mut request["exactly"]);
        }
        items_mut(request, "firstAvailable").for_each(count);
    }
}

fn state(claim: &Value) -> String {
    let status = &claim["status"];
    let states: Vec<_> = [
        (claim["metadata"].has("deletionTimestamp"), "deleted"),
        (status.has("allocation"), "allocated"),
        (!status.list("reservedFor").is_empty(), "reserved"),
    ]
    .into_iter()
    .filter_map(|(holds, name)| holds.then_some(name))
    .collect();
    if states.is_empty() { "pending".to_owned() } else { states.join(",") }
}

fn slices() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Node", SLICE, "nodeName"),
        Column::field("Driver", SLICE, "driver"),
        Column::field("Pool", "io.k8s.api.resource.v1.ResourcePool", "name"),
        columns::age(),
    ];
    Row::cluster(V1, "ResourceSlice", "resourceslices")
        .fields([SelectableField::at("spec.nodeName"), SelectableField::at("spec.driver")])
        .strategy(Rules { generation: true, ..Rules::PLAIN })
        .columns(columns, slice_cells)
}

fn slice_cells(slice: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &slice["spec"];
    vec![
        slice["metadata"]["name"].clone(),
        spec.text("nodeName").into(),
        spec.text("driver").into(),
        spec["pool"].text("name").into(),
        columns::age_of(slice, now),
    ]
}
