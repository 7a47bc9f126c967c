//! Slim views of what is watched.
//!
//! Promise: they decode from the same JSON as the full types and keep only what the model reads, so that thousands
//! of services fit into little memory. They cannot be encoded.

use std::collections::BTreeMap;

use component::informers::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use objects::view_of;
use objects::views::{list, nullable};
use serde::{Deserialize, Deserializer};

/// A slice belongs to the Service that this label names.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who shall proxy a service, if not the standard proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Slices and services that need no proxy.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Labels and annotations that are kept.
const KEPT: &[&str] =
    &[SERVICE_NAME, PROXY_NAME, HEADLESS, "topology.kubernetes.io/zone", SOURCE_RANGES, LAST_CHANGE];
/// The older form of `loadBalancerSourceRanges`.
pub(super) const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// When the pods behind a slice changed last.
pub(crate) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Service {
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ServiceSpec,
    #[serde(default, deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// Fields as in the API reference; absent texts are empty, absent lists too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub type_: String,
    #[serde(rename = "clusterIP", deserialize_with = "nullable")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    pub cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", deserialize_with = "nullable")]
    pub external_ips: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub ip_families: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
    #[serde(deserialize_with = "nullable")]
    pub session_affinity: String,
    pub session_affinity_config: Option<SessionAffinityConfig>,
    #[serde(deserialize_with = "nullable")]
    pub internal_traffic_policy: String,
    #[serde(deserialize_with = "nullable")]
    pub external_traffic_policy: String,
    pub health_check_node_port: Option<u16>,
    #[serde(deserialize_with = "nullable")]
    pub load_balancer_source_ranges: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
    pub port: u16,
    pub node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    pub timeout_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancerStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<LoadBalancerIngress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    #[serde(deserialize_with = "nullable")]
    pub ip: String,
    /// `VIP` if empty.
    #[serde(deserialize_with = "nullable")]
    pub ip_mode: String,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(default)]
    pub address_type: String,
    #[serde(default, deserialize_with = "list")]
    pub endpoints: Vec<SliceEndpoint>,
    #[serde(default, deserialize_with = "list")]
    pub ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// Proxies use the first one only, as the API says.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    pub conditions: Conditions,
    pub node_name: Option<Box<str>>,
    pub hints: Option<Box<Hints>>,
}

/// Absent means: ready yes, serving as ready, terminating no.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    #[serde(deserialize_with = "list")]
    pub for_zones: Vec<Named>,
    #[serde(deserialize_with = "list")]
    pub for_nodes: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SlicePort {
    pub name: Option<Box<str>>,
    pub protocol: Option<Box<str>>,
    pub port: Option<u16>,
}

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "nullable")]
    pub spec: NodeSpec,
    #[serde(default, deserialize_with = "nullable")]
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDRs", deserialize_with = "nullable")]
    pub pod_cidrs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub type_: String,
    pub address: String,
}

/// Whether an object (Service or slice) is for the standard proxy.
#[must_use]
pub fn is_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_none_or(|labels| !labels.contains_key(PROXY_NAME) && !labels.contains_key(HEADLESS))
}

/// The Service that a slice belongs to.
#[must_use]
pub fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

/// Names, version and the few labels and annotations of [`KEPT`].
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Lean {
        annotations: Option<BTreeMap<String, String>>,
        deletion_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        uid: Option<String>,
    }
    let kept = |texts: Option<BTreeMap<String, String>>| {
        let kept = texts.into_iter().flatten().filter(|(key, _)| KEPT.contains(&key.as_str()));
        Some(kept.collect::<BTreeMap<_, _>>()).filter(|kept| !kept.is_empty())
    };
    let lean: Lean = nullable(deserializer)?;
    Ok(ObjectMeta {
        annotations: kept(lean.annotations),
        deletion_timestamp: lean.deletion_timestamp,
        labels: kept(lean.labels),
        name: lean.name,
        namespace: lean.namespace,
        resource_version: lean.resource_version,
        uid: lean.uid,
        ..ObjectMeta::default()
    })
}

view_of!(Service, "Service", "v1", "services", NamespaceResourceScope);
view_of!(EndpointSlice, "EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", NamespaceResourceScope);
view_of!(Node, "Node", "v1", "nodes", ClusterResourceScope);
