//! The objects a cluster starts with: namespaces, the `kubernetes` Service, roles and bindings, priority classes,
//! flow control, the service CIDR.
//!
//! Promise: pure; the server writes those that are not there yet, in this order, before it is ready.

mod flow;
mod roles;

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// What the objects depend on.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The range of cluster addresses, such as `10.96.0.0/16`.
    pub service_cidr: String,
    /// The address of the `kubernetes` Service: the first of the range.
    pub service_ip: IpAddr,
    /// Where this server is reached from inside the cluster; `None` when it does not listen.
    pub endpoint: Option<SocketAddr>,
    /// PEM of the CA of client certificates.
    pub client_ca: Option<String>,
    /// The time for conditions, in RFC 3339.
    pub now: String,
}

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// All objects, complete but for what the server sets on every new object (uid, times).
pub fn objects(setting: &Setting) -> Vec<Value> {
    let mut all: Vec<Value> = NAMESPACES.iter().map(|name| namespace(name)).collect();
    all.extend(priority_classes());
    all.extend(roles::objects());
    all.extend(flow::objects(&setting.now));
    all.push(service_cidr(setting));
    all.push(service(setting));
    all.push(ip_address(setting));
    if let Some(endpoint) = setting.endpoint {
        all.extend(endpoints(endpoint));
    }
    all.extend(setting.client_ca.as_deref().map(authentication));
    all
}

/// The ConfigMap in which components that serve by themselves read whose certificates are good.
pub fn authentication(client_ca: &str) -> Value {
    json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": client_ca},
    })
}

/// The objects that say where this server is. They follow it: the server rewrites them when it moves.
pub fn endpoints(at: SocketAddr) -> [Value; 2] {
    let ports = json!([{"name": "https", "port": at.port(), "protocol": "TCP"}]);
    let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
    [
        json!({
            "kind": "Endpoints", "apiVersion": "v1",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": at.ip().to_string()}], "ports": ports}],
        }),
        json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": family,
            "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": true}}],
            "ports": ports,
        }),
    ]
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name, "generation": 1},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    [
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
}

fn service_cidr(setting: &Setting) -> Value {
    json!({
        "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes", "generation": 1},
        "spec": {"cidrs": [setting.service_cidr]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": setting.now,
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    })
}

fn service(setting: &Setting) -> Value {
    let ip = setting.service_ip.to_string();
    let family = if setting.service_ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let target = setting.endpoint.map_or(443, |endpoint| endpoint.port());
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": ip, "clusterIPs": [ip],
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": target}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn ip_address(setting: &Setting) -> Value {
    super::allocate::ip_address(setting.service_ip, "default", "kubernetes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::object;

    #[test]
    fn every_object_is_of_a_known_kind_and_valid() {
        let setting = Setting {
            service_cidr: "10.96.0.0/16".to_owned(),
            service_ip: "10.96.0.1".parse().unwrap(),
            endpoint: Some("192.0.2.2:6443".parse().unwrap()),
            client_ca: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            now: "2026-01-01T00:00:00Z".to_owned(),
        };
        let kinds = Kinds::builtin();
        let objects = objects(&setting);
        assert!(objects.len() > 150);
        for object in objects {
            let api_version = object["apiVersion"].as_str().unwrap();
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let kind = kinds.kind(group, version, object["kind"].as_str().unwrap()).unwrap();
            assert_eq!(kind.validate(&object), [], "{} {}", kind.kind, object::name(&object));
            let mut defaulted = object.clone();
            kind.strategy.apply_defaults(&mut defaulted);
            assert_eq!(defaulted, object, "{} {}", kind.kind, object::name(&object));
        }
    }
}
