//! discovery.k8s.io/v1: EndpointSlice.

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{self, Column};
use super::read::{Read, default, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "discovery.k8s.io", version: "v1", package: "io.k8s.api.discovery.v1" };
const SLICE: &str = "io.k8s.api.discovery.v1.EndpointSlice";
/// How many ports and addresses the table shows.
const SHOWN: usize = 3;

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("AddressType", SLICE, "addressType"),
        Column::field("Ports", SLICE, "ports"),
        Column::field("Endpoints", SLICE, "endpoints"),
        columns::age(),
    ];
    vec![
        Row::namespaced(V1, "EndpointSlice", "endpointslices")
            .strategy(Rules {
                generation: true,
                defaults: |slice| {
                    for port in items_mut(slice, "ports") {
                        default(port, "name", "");
                        default_text(port, "protocol", "TCP");
                    }
                },
                ..Rules::PLAIN
            })
            .columns(columns, cells),
    ]
}

fn cells(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<_> = slice
        .list("ports")
        .iter()
        .map(|port| port.int("port").map_or_else(|| "*".to_owned(), |number| number.to_string()))
        .collect();
    let addresses: Vec<_> = slice
        .list("endpoints")
        .iter()
        .flat_map(|endpoint| endpoint.list("addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let shown = |texts: &[String]| match texts {
        [] => "<unset>".to_owned(),
        texts => columns::at_most(texts, SHOWN, ","),
    };
    vec![
        slice["metadata"]["name"].clone(),
        slice.text("addressType").into(),
        shown(&ports).into(),
        shown(&addresses).into(),
        columns::age_of(slice, now),
    ]
}
