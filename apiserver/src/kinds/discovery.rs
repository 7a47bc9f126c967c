//! discovery.k8s.io/v1: EndpointSlice.

use jiff::Timestamp;
use serde_json::Value;

use super::checks;
use super::columns::{self, Column};
use super::metadata;
use super::read::{Read, default, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

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
                generation_of: &["metadata.labels", "addressType", "endpoints", "ports"],
                validate: check,
                validate_update: check_update,
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

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Most of each in one slice.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

fn check(slice: &Value, errors: &mut FieldErrors) {
    let kind = slice.text("addressType");
    checks::one_of(Path::root("addressType"), kind, &TYPES, errors);
    endpoints(slice.list("endpoints"), kind, errors);
    ports(slice.list("ports"), errors);
}

fn endpoints(endpoints: &[Value], kind: &str, errors: &mut FieldErrors) {
    let at = Path::root("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(at, endpoints.len(), ENDPOINTS_MAX));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = at.index(index);
        let addresses_at = at.child("addresses");
        let addresses = endpoint.list("addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(addresses_at, "must contain at least 1 address"));
        } else if addresses.len() > ADDRESSES_MAX {
            errors.push(FieldError::too_many(addresses_at, addresses.len(), ADDRESSES_MAX));
        }
        for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            check_address(addresses_at.index(index), address, kind, errors);
        }
        if endpoint.has("nodeName") {
            checks::subdomain(at.child("nodeName"), endpoint.text("nodeName"), errors);
        }
        if endpoint.has("hostname") {
            checks::label(at.child("hostname"), endpoint.text("hostname"), errors);
        }
    }
}

fn check_address(at: Path<'_>, address: &str, kind: &str, errors: &mut FieldErrors) {
    let parsed: Option<std::net::IpAddr> = address.parse().ok();
    match (kind, parsed) {
        ("IPv4", Some(ip)) if ip.is_ipv4() => checks::reachable_ip(at, address, errors),
        ("IPv6", Some(ip)) if ip.is_ipv6() => checks::reachable_ip(at, address, errors),
        ("IPv4", _) => errors.push(FieldError::invalid(at, address, "must be a valid IPv4 address")),
        ("IPv6", _) => errors.push(FieldError::invalid(at, address, "must be a valid IPv6 address")),
        ("FQDN", _) => checks::subdomain(at, address, errors),
        _ => {}
    }
}

fn ports(ports: &[Value], errors: &mut FieldErrors) {
    let at = Path::root("ports");
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many(at, ports.len(), PORTS_MAX));
        return;
    }
    let mut names = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            checks::label(at.child("name"), name, errors);
        }
        if names.contains(&name) {
            errors.push(FieldError::duplicate(at.child("name"), name));
        }
        names.push(name);
        checks::one_of(at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"], errors);
        if port.has("appProtocol") {
            checks::qualified(at.child("appProtocol"), port.text("appProtocol"), errors);
        }
    }
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    metadata::immutable(Path::root("addressType"), &new["addressType"], &old["addressType"], errors);
}
