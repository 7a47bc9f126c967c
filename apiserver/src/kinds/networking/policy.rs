//! NetworkPolicy.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Pod-Selector", "io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"),
        columns::age(),
    ];
    Row::namespaced(V1, "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .strategy(Rules { generation: true, defaults, validate: check, ..Rules::PLAIN })
        .columns(columns, |policy, now| {
            vec![
                policy["metadata"]["name"].clone(),
                columns::selector(&policy["spec"]["podSelector"]).into(),
                columns::age_of(policy, now),
            ]
        })
}

/// A policy without types is about ingress, and about egress where it has rules for it.
fn defaults(policy: &mut Value) {
    let spec = &mut policy["spec"];
    for direction in ["ingress", "egress"] {
        for rule in items_mut(spec, direction) {
            items_mut(rule, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

fn check(policy: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &policy["spec"];
    checks::selector(AT.child("podSelector"), &spec["podSelector"], errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let at = AT.child(direction);
        for (index, rule) in spec.list(direction).iter().enumerate() {
            let at = at.index(index);
            let (ports_at, peers_at) = (at.child("ports"), at.child(peers));
            for (index, port) in rule.list("ports").iter().enumerate() {
                check_port(ports_at.index(index), port, errors);
            }
            for (index, peer) in rule.list(peers).iter().enumerate() {
                check_peer(peers_at.index(index), peer, errors);
            }
        }
    }
    let types_at = AT.child("policyTypes");
    let types = spec.list("policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(types_at, spec["policyTypes"].clone(), why));
        return;
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        checks::maybe_one_of(types_at.index(index), kind, &["Ingress", "Egress"], errors);
    }
}

fn check_port(at: Path<'_>, port: &Value, errors: &mut FieldErrors) {
    checks::maybe_one_of(at.child("protocol"), port.text("protocol"), &["TCP", "UDP", "SCTP"], errors);
    let end_at = at.child("endPort");
    let end = port.int("endPort");
    let mut refuse = |why: &str| {
        if let Some(end) = end {
            errors.push(FieldError::invalid(end_at, end, why));
        }
    };
    match &port["port"] {
        Value::Null => refuse("may not be specified when `port` is not specified"),
        Value::String(_) => refuse("may not be specified when `port` is non-numeric"),
        number => {
            if end.is_some_and(|end| end < number.as_i64().unwrap_or_default()) {
                refuse("must be greater than or equal to `port`");
            }
        }
    }
    if port.has("port") {
        checks::port(at.child("port"), &port["port"], errors);
    }
    if let (Some(end), true) = (end, port["port"].is_number()) {
        checks::port_number(end_at, end, errors);
    }
}

fn check_peer(at: Path<'_>, peer: &Value, errors: &mut FieldErrors) {
    for field in ["podSelector", "namespaceSelector"] {
        checks::selector(at.child(field), &peer[field], errors);
    }
    let selectors = peer.has("podSelector") || peer.has("namespaceSelector");
    match (selectors, peer.has("ipBlock")) {
        (false, false) => errors.push(FieldError::required(at, "must specify a peer")),
        (true, true) => {
            errors.push(FieldError::forbidden(at, "may not specify both ipBlock and another peer"));
        }
        _ => {}
    }
    if !peer.has("ipBlock") {
        return;
    }
    let (at, block) = (at.child("ipBlock"), &peer["ipBlock"]);
    let whole = block.text("cidr");
    if whole.is_empty() {
        errors.push(FieldError::required(at.child("cidr"), ""));
        return;
    }
    checks::cidr(at.child("cidr"), whole, errors);
    let except_at = at.child("except");
    for (index, except) in block.list("except").iter().filter_map(Value::as_str).enumerate() {
        let at = except_at.index(index);
        checks::cidr(at, except, errors);
        let both = checks::parse_cidr(except).zip(checks::parse_cidr(whole));
        if both.is_some_and(|(part, whole)| !is_part(part, whole)) {
            errors.push(FieldError::invalid(at, except, "must be a strict subset of `cidr`"));
        }
    }
}

/// Whether a range lies within another and is smaller.
fn is_part((ip, prefix): (IpAddr, u32), (whole, whole_prefix): (IpAddr, u32)) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (32, u128::from(u32::from(ip))),
        IpAddr::V6(ip) => (128, u128::from(ip)),
    };
    let ((bits, part), (whole_bits, whole)) = (number(ip), number(whole));
    let start = |address: u128| address.checked_shr(bits - whole_prefix.min(bits)).unwrap_or_default();
    bits == whole_bits && prefix > whole_prefix && start(part) == start(whole)
}
