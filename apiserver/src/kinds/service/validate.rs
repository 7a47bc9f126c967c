//! What is wrong with a Service.
//!
//! Addresses and node ports that are still to be handed out are not asked for here; `allocate` gives them.
//! Source: kubernetes `pkg/apis/core/validation` (`ValidateService`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::defaults::needs_health_check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::metadata;
use crate::kinds::read::Read;

const SPEC: Path<'static> = Path::root("spec");
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
/// A client sticks to a backend for a day at most, in seconds.
const AFFINITY_MAX: i64 = 86_400;

pub(super) fn service(service: &Value, errors: &mut FieldErrors) {
    let spec = &service["spec"];
    let kind = spec.text("type");
    let headless = spec.text("clusterIP") == "None";
    if spec.list("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(SPEC.child("ports"), ""));
    }
    of_type(spec, headless, errors);
    ports(spec, errors);
    metadata::labels(SPEC.child("selector"), &spec["selector"], errors);
    affinity(spec, errors);
    cluster_ips(spec, errors);
    let external_at = SPEC.child("externalIPs");
    for (index, ip) in spec.list("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let before = errors.len();
        checks::ip(external_at.index(index), ip, errors);
        if errors.len() == before {
            checks::reachable_ip(external_at.index(index), ip, errors);
        }
    }
    checks::one_of(SPEC.child("type"), kind, &TYPES, errors);
    unique_ports(spec, errors);
    load_balancer(spec, errors);
    traffic(spec, errors);
}

/// What an update may not do beyond that: move a Service to other addresses.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (&new["spec"], &old["spec"]);
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return;
    }
    for field in ["clusterIPs", "ipFamilies"] {
        let at = SPEC.child(field);
        for (index, (before, now)) in old.list(field).iter().zip(new.list(field)).enumerate() {
            if before != now {
                let why = "may not change once set";
                errors.push(FieldError::invalid(at.index(index), new[field].clone(), why));
            }
        }
    }
    let changed = new["healthCheckNodePort"] != old["healthCheckNodePort"];
    if needs_health_check(new) && needs_health_check(old) && changed {
        errors.push(FieldError::forbidden(SPEC.child("healthCheckNodePort"), metadata::IMMUTABLE));
    }
}

fn of_type(spec: &Value, headless: bool, errors: &mut FieldErrors) {
    let ips_at = SPEC.child("clusterIPs");
    match spec.text("type") {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(ips_at.index(0), "None", why));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let given = spec.has(field) && !spec[field].as_array().is_some_and(Vec::is_empty);
                if given {
                    let why = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(SPEC.child(field), why));
                }
            }
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(FieldError::required(SPEC.child("externalName"), ""));
            } else {
                checks::subdomain(SPEC.child("externalName"), name, errors);
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, errors: &mut FieldErrors) {
    let at = SPEC.child("ports");
    let ports = spec.list("ports");
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(at.child("name"), ""));
            }
        } else {
            checks::label(at.child("name"), name, errors);
            if !names.insert(name) {
                errors.push(FieldError::duplicate(at.child("name"), name));
            }
        }
        checks::port_number(at.child("port"), port.int("port").unwrap_or_default(), errors);
        checks::one_of(at.child("protocol"), port.text("protocol"), &PROTOCOLS, errors);
        checks::port(at.child("targetPort"), &port["targetPort"], errors);
        if port.has("appProtocol") {
            checks::qualified(at.child("appProtocol"), port.text("appProtocol"), errors);
        }
    }
}

fn affinity(spec: &Value, errors: &mut FieldErrors) {
    let affinity = spec.text("sessionAffinity");
    checks::one_of(SPEC.child("sessionAffinity"), affinity, &["ClientIP", "None"], errors);
    let at = SPEC.child("sessionAffinityConfig");
    if affinity == "ClientIP" {
        let seconds = spec["sessionAffinityConfig"]["clientIP"].int("timeoutSeconds").unwrap_or_default();
        if !(1..=AFFINITY_MAX).contains(&seconds) {
            let why = format!("must be greater than 0 and less than {AFFINITY_MAX}");
            errors.push(FieldError::invalid(at.child("clientIP.timeoutSeconds"), seconds, why));
        }
    } else if affinity == "None" && spec.has("sessionAffinityConfig") {
        errors.push(FieldError::forbidden(at, "must not be set when session affinity is None"));
    }
}

fn cluster_ips(spec: &Value, errors: &mut FieldErrors) {
    let at = SPEC.child("clusterIPs");
    let ips = spec.list("clusterIPs");
    if ips.first().is_some_and(|first| *first != spec["clusterIP"]) {
        let why = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(at, spec["clusterIPs"].clone(), why));
    }
    if ips.len() > 2 {
        errors.push(FieldError::invalid(at, spec["clusterIPs"].clone(), "may only hold up to 2 values"));
    }
    for (index, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
        if ip == "None" && index == 0 {
            continue;
        }
        checks::ip(at.index(index), ip, errors);
    }
    let families_at = SPEC.child("ipFamilies");
    let mut seen = Vec::new();
    for (index, family) in spec.list("ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        checks::maybe_one_of(families_at.index(index), family, &["IPv4", "IPv6"], errors);
        if seen.contains(&family) {
            errors.push(FieldError::duplicate(families_at.index(index), family));
        }
        seen.push(family);
    }
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    checks::maybe_one_of(SPEC.child("ipFamilyPolicy"), spec.text("ipFamilyPolicy"), &POLICIES, errors);
}

fn unique_ports(spec: &Value, errors: &mut FieldErrors) {
    let at = SPEC.child("ports");
    let ports = spec.list("ports");
    let node_port = |port: &Value| port.int("nodePort").filter(|number| *number != 0);
    if spec.text("type") == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port).is_some()) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(at.index(index).child("nodePort"), why));
        }
    }
    let mut node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if let Some(number) =
            node_port(port).filter(|number| !node_ports.insert((port.text("protocol"), *number)))
        {
            errors.push(FieldError::duplicate(at.index(index).child("nodePort"), number));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (port.text("protocol"), port.int("port").unwrap_or_default());
        if !seen.insert((protocol, number)) {
            // Upstream shows its internal struct.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                json!(protocol)
            );
            errors.push(FieldError::duplicate_as(at.index(index), shown));
        }
    }
}

fn load_balancer(spec: &Value, errors: &mut FieldErrors) {
    let is = spec.text("type") == "LoadBalancer";
    let ranges_at = SPEC.child("LoadBalancerSourceRanges");
    let ranges = spec.list("loadBalancerSourceRanges");
    if !ranges.is_empty() && !is {
        errors.push(FieldError::forbidden(ranges_at, "may only be used when `type` is 'LoadBalancer'"));
    }
    for (index, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        checks::cidr(ranges_at.index(index), range.trim(), errors);
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.has(field) && !is {
            errors.push(FieldError::forbidden(
                SPEC.child(field),
                "may only be used when `type` is 'LoadBalancer'",
            ));
        }
    }
    if spec.has("loadBalancerClass") {
        checks::qualified(SPEC.child("loadBalancerClass"), spec.text("loadBalancerClass"), errors);
    }
}

fn traffic(spec: &Value, errors: &mut FieldErrors) {
    let kind = spec.text("type");
    let reachable = matches!(kind, "LoadBalancer" | "NodePort")
        || (kind == "ClusterIP" && !spec.list("externalIPs").is_empty());
    let policy_at = SPEC.child("externalTrafficPolicy");
    let policy = spec.text("externalTrafficPolicy");
    if reachable {
        checks::maybe_one_of(policy_at, policy, &["Cluster", "Local"], errors);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(policy_at, policy, why));
    }
    let health_at = SPEC.child("healthCheckNodePort");
    match spec.int("healthCheckNodePort").unwrap_or_default() {
        0 => {}
        port if needs_health_check(spec) => checks::port_number(health_at, port, errors),
        port => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(health_at, port, why));
        }
    }
    let policy = spec.text("internalTrafficPolicy");
    checks::maybe_one_of(SPEC.child("internalTrafficPolicy"), policy, &["Cluster", "Local"], errors);
    let distribution = spec.text("trafficDistribution");
    checks::maybe_one_of(SPEC.child("trafficDistribution"), distribution, &DISTRIBUTIONS, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "s"}, "spec": spec});
        super::super::defaults::service(&mut object);
        let mut errors = FieldErrors::new();
        service(&object, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn errors_read_as_upstreams() {
        assert!(texts(json!({"ports": [{"port": 80}]})).is_empty());
        assert_eq!(texts(json!({})), ["spec.ports: Required value"]);
        assert_eq!(
            texts(json!({"ports": [{"port": 80}, {"port": 81}]})),
            ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]
        );
        assert_eq!(texts(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
        assert_eq!(
            texts(json!({"type": "Other", "ports": [{"port": 80}]})),
            ["spec.type: Unsupported value: \"Other\": supported values: \"ClusterIP\", \"ExternalName\", \
             \"LoadBalancer\", \"NodePort\""]
        );
        assert_eq!(
            texts(json!({"ports": [{"port": 70000}]})),
            [
                "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
            ]
        );
    }

    #[test]
    fn addresses_stay() {
        let old = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"]}});
        let new = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.2"]}});
        let mut errors = FieldErrors::new();
        update(&new, &old, &mut errors);
        assert_eq!(
            errors[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"
        );
    }
}
