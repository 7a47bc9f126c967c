//! Defaults of a Service, and what an update takes over or drops when the type changes.
//!
//! Addresses and node ports are not defaults: `allocate` hands them out.
//! Source: kubernetes `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/service`.

use serde_json::{Value, json};

use crate::kinds::read::{Read, child, default, default_text, items_mut};
use crate::object;

/// How long a client sticks to a backend, in seconds.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn service(service: &mut Value) {
    let spec = child(service, "spec");
    default_text(spec, "sessionAffinity", "None");
    if spec.text("sessionAffinity") == "ClientIP" {
        let config = child(child(spec, "sessionAffinityConfig"), "clientIP");
        default(config, "timeoutSeconds", AFFINITY_SECONDS);
    } else {
        object::remove_at(spec, &["sessionAffinityConfig"]);
    }
    default_text(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        default_text(port, "protocol", "TCP");
        if is_unset(&port["targetPort"]) {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec.text("type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// A new service: `clusterIP` and the first of `clusterIPs` are the same field.
pub(super) fn create(service: &mut Value) {
    let spec = &mut service["spec"];
    if !spec.text("clusterIP").is_empty() && spec.list("clusterIPs").is_empty() {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    if spec.text("clusterIP").is_empty() && !spec.list("clusterIPs").is_empty() {
        spec["clusterIP"] = spec["clusterIPs"][0].clone();
    }
}

/// Fields of an update that follow from the old service: addresses and ports the user did not repeat stay,
/// and what the new type has no use for goes.
pub(super) fn update(service: &mut Value, old: &Value) {
    let (new, before) = (&mut service["spec"], &old["spec"]);
    keep_cluster_ips(new, before);
    drop_what_the_type_forbids(new, before);
    keep_node_ports(new, before);
}

fn keep_cluster_ips(new: &mut Value, old: &Value) {
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return;
    }
    let (ip_changed, ips_changed) =
        (new["clusterIP"] != old["clusterIP"], new["clusterIPs"] != old["clusterIPs"]);
    if new.text("clusterIP").is_empty() && new.list("clusterIPs").is_empty() {
        object::carry_over(new, old, "clusterIP");
        object::carry_over(new, old, "clusterIPs");
    } else if new.list("clusterIPs").is_empty() || (ip_changed && !ips_changed) {
        // Who writes only the one address means the list as well.
        new["clusterIPs"] = json!([new["clusterIP"]]);
    } else if ips_changed && !ip_changed || new.text("clusterIP").is_empty() {
        new["clusterIP"] = new["clusterIPs"][0].clone();
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if !new.has(field) {
            object::carry_over(new, old, field);
        }
    }
}

fn drop_what_the_type_forbids(new: &mut Value, old: &Value) {
    let kind = new.text("type").to_owned();
    let checked =
        |spec: &Value| spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local";
    let mut useless: Vec<&str> = Vec::new();
    if kind == "ExternalName" {
        useless.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    } else if old.text("type") == "ExternalName" {
        useless.push("externalName");
    }
    if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        useless.push("externalTrafficPolicy");
    }
    if checked(old) && !checked(new) {
        useless.push("healthCheckNodePort");
    }
    if kind != "LoadBalancer" {
        useless.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    for field in useless {
        // What the user changes with the type stays, for validation to complain about.
        if new.get(field) == old.get(field) {
            object::remove_at(new, &[field]);
        }
    }
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let used = uses_node_ports(new);
    let old_ports = old.list("ports");
    for port in items_mut(new, "ports") {
        let same = |one: &&Value| one["port"] == port["port"] && one["protocol"] == port["protocol"];
        let before = old_ports.iter().find(same).and_then(|one| one.int("nodePort")).unwrap_or_default();
        let own = port.int("nodePort").unwrap_or_default();
        if used && own == 0 && before != 0 {
            port["nodePort"] = before.into();
        } else if !used && own == before {
            object::remove_at(port, &["nodePort"]);
        }
    }
    if needs_health_check(new) && new.int("healthCheckNodePort").unwrap_or_default() == 0 {
        object::carry_over(new, old, "healthCheckNodePort");
    }
}

/// Whether every port of a service spec gets a node port.
pub(in crate::kinds) fn uses_node_ports(spec: &Value) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false),
        _ => false,
    }
}

/// Whether load balancers ask nodes on a port of its own which of them have backends.
pub(in crate::kinds) fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn is_unset(port: &Value) -> bool {
    port.is_null() || port.as_i64() == Some(0) || port.as_str() == Some("")
}
