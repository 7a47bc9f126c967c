//! Endpoints, the predecessor of EndpointSlice.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
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
        .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        .strategy(Rules {
            create_on_update: true,
            validate: check,
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

fn check(endpoints: &Value, errors: &mut FieldErrors) {
    let at = Path::root("subsets");
    for (index, subset) in endpoints.list("subsets").iter().enumerate() {
        let at = at.index(index);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.push(FieldError::required(at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            let at = at.child(list);
            for (index, address) in subset.list(list).iter().enumerate() {
                check_address(at.index(index), address, errors);
            }
        }
        let ports_at = at.child("ports");
        let ports = subset.list("ports");
        for (index, port) in ports.iter().enumerate() {
            let at = ports_at.index(index);
            let name = port.text("name");
            if !name.is_empty() {
                checks::label(at.child("name"), name, errors);
            } else if ports.len() > 1 {
                errors.push(FieldError::required(at.child("name"), ""));
            }
            checks::port_number(at.child("port"), port.int("port").unwrap_or_default(), errors);
            checks::one_of(at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"], errors);
        }
    }
}

fn check_address(at: Path<'_>, address: &Value, errors: &mut FieldErrors) {
    let ip = address.text("ip");
    checks::ip(at.child("ip"), ip, errors);
    if !address.text("hostname").is_empty() {
        checks::label(at.child("hostname"), address.text("hostname"), errors);
    }
    if address.has("nodeName") {
        checks::subdomain(at.child("nodeName"), address.text("nodeName"), errors);
    }
    checks::reachable_ip(at.child("ip"), ip, errors);
}
