//! Endpoints, the predecessor of EndpointSlice.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

/// How many addresses the table shows.
const SHOWN: usize = 3;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Endpoints", "io.k8s.api.core.v1.Endpoints", "subsets"),
        columns::age(),
    ];
    Row::namespaced(V1, "Endpoints", "endpoints")
        .short(&["ep"])
        .strategy(Rules {
            create_on_update: true,
            defaults: |endpoints| {
                for subset in items_mut(endpoints, "subsets") {
                    items_mut(subset, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
                }
            },
            ..Rules::PLAIN
        })
        .columns(columns, cells)
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![object["metadata"]["name"].clone(), addresses(object).into(), columns::age_of(object, now)]
}

fn addresses(object: &Value) -> String {
    let subsets = object.list("subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let ips = subset.list("addresses").iter().map(|address| address.text("ip"));
        if subset.list("ports").is_empty() {
            all.extend(ips.map(str::to_owned));
            continue;
        }
        for port in subset.list("ports") {
            all.extend(ips.clone().map(|ip| host_port(ip, port.int("port").unwrap_or_default())));
        }
    }
    columns::at_most(&all, SHOWN, ",")
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
