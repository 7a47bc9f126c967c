//! What the cluster's names are made of: namespaces, Services, their endpoints, addresses of pods.
//!
//! Promise: an object's change touches that object's entries only, in any order of arrival (endpoints may come before
//! their Service); an object that is gone leaves nothing behind. No clock, no client. Names are held in lower case.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use objects::views::Pod;
use rustc_hash::FxHashMap;

/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The annotation that publishNotReadyAddresses replaced; the DNS specification still names it.
const TOLERATE_UNREADY: &str = "service.alpha.kubernetes.io/tolerate-unready-endpoints";

/// What DNS knows of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    synced: bool,
    /// Counts changes; the serial of the zone.
    serial: u32,
    namespaces: FxHashMap<Box<[u8]>, ()>,
    /// By `name.namespace`, which cannot be mistaken: neither has a full stop.
    services: FxHashMap<Arc<[u8]>, Service>,
    /// Who may be behind an address: an entry for each time a Service or one of its endpoints has it.
    owners: FxHashMap<IpAddr, Vec<Arc<[u8]>>>,
    pods: FxHashMap<IpAddr, PodName>,
}

/// A Service and what is known of its endpoints.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// `None` while only endpoints are known.
    pub(super) kind: Option<Kind>,
    pub(super) ports: Vec<Port>,
    pub(super) publish_not_ready: bool,
    slices: FxHashMap<Box<str>, Slice>,
}

/// How a Service is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster(Vec<IpAddr>),
    Headless,
    External(Name),
    /// An ExternalName that is no name: the Service exists, and that is all.
    Unnamed,
}

/// A port; its name is empty if it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: Box<str>,
    pub(super) protocol: Box<str>,
    pub(super) number: u16,
}

#[derive(Debug, Default)]
struct Slice {
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

/// An address behind a Service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    /// Its host name, or its address with dashes.
    pub(super) host: Box<str>,
    /// Whether the host name was given.
    pub(super) named: bool,
    ready: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct PodName {
    namespace: Box<str>,
    name: Box<str>,
}

impl Index {
    /// An index that knows nothing and is not synced.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that everything that is there has been told.
    pub fn set_synced(&mut self) {
        self.synced = true;
    }

    /// Whether names that are not found do not exist.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Goes up with every change.
    pub(super) const fn serial(&self) -> u32 {
        self.serial
    }

    /// Takes a namespace's coming or going.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        self.serial = self.serial.wrapping_add(1);
        if exists {
            self.namespaces.insert(name.as_bytes().into(), ());
        } else {
            self.namespaces.remove(name.as_bytes());
        }
    }

    /// Takes the state of a Service, `None` if it is gone.
    pub fn set_service(&mut self, namespace: &str, name: &str, service: Option<&core::Service>) {
        self.serial = self.serial.wrapping_add(1);
        let key = key(name, namespace);
        let entry = self.services.entry(Arc::clone(&key)).or_default();
        let kind = service.map(kind);
        if let Some(Kind::Cluster(addresses)) = &entry.kind {
            disown(&mut self.owners, addresses.iter().copied(), &key);
        }
        if let Some(Kind::Cluster(addresses)) = &kind {
            own(&mut self.owners, addresses.iter().copied(), &key);
        }
        entry.kind = kind;
        entry.ports = service.map(ports_of).unwrap_or_default();
        entry.publish_not_ready = service.is_some_and(publishes_not_ready);
        self.forget_if_empty(&key);
    }

    /// Takes the state of an EndpointSlice; `old` is what was taken before.
    pub fn set_slice(
        &mut self,
        old: Option<&discovery::EndpointSlice>,
        new: Option<&discovery::EndpointSlice>,
    ) {
        self.serial = self.serial.wrapping_add(1);
        if let Some((key, name)) = old.and_then(slice_of) {
            if let Some(slice) = self.services.get_mut(&key).and_then(|entry| entry.slices.remove(name)) {
                disown(&mut self.owners, slice.endpoints.iter().map(|endpoint| endpoint.address), &key);
            }
            self.forget_if_empty(&key);
        }
        if let Some((key, name)) = new.and_then(slice_of) {
            let slice = new.map(slice).unwrap_or_default();
            own(&mut self.owners, slice.endpoints.iter().map(|endpoint| endpoint.address), &key);
            self.services.entry(key).or_default().slices.insert(name.into(), slice);
        }
    }

    /// Takes the addresses of a pod; `old` is what was taken before.
    pub fn set_pod(&mut self, old: Option<&Pod>, new: Option<&Pod>) {
        if let Some(pod) = old {
            let gone = pod_name(pod);
            for address in addresses_of(pod) {
                // Another pod may have the address by now.
                if self.pods.get(&address) == Some(&gone) {
                    self.pods.remove(&address);
                }
            }
        }
        if let Some(pod) = new {
            for address in addresses_of(pod) {
                self.pods.insert(address, pod_name(pod));
            }
        }
    }

    pub(super) fn has_namespace(&self, name: &[u8]) -> bool {
        self.namespaces.contains_key(name)
    }

    /// The Service under `name.namespace`.
    pub(super) fn service(&self, key: &[u8]) -> Option<&Service> {
        self.services.get(key).filter(|service| service.kind.is_some())
    }

    /// The Services that may have an address or endpoints at it, each once.
    pub(super) fn owners(&self, address: IpAddr) -> Vec<(&[u8], &Service)> {
        let mut keys: Vec<&[u8]> =
            self.owners.get(&address).into_iter().flatten().map(|key| &**key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().filter_map(|key| Some((key, self.service(key)?))).collect()
    }

    /// The namespace of the pod that has an address of its own.
    pub(super) fn pod_namespace(&self, address: IpAddr) -> Option<&str> {
        self.pods.get(&address).map(|pod| &*pod.namespace)
    }

    /// Whether nothing at all is held, for tests of leaks.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.services.is_empty()
            && self.owners.is_empty()
            && self.pods.is_empty()
    }

    fn forget_if_empty(&mut self, key: &[u8]) {
        if self.services.get(key).is_some_and(|entry| entry.kind.is_none() && entry.slices.is_empty()) {
            self.services.remove(key);
        }
    }
}

impl Service {
    /// The endpoints that count as ready, with the ports of their slices.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        let slices = self.slices.values();
        let all = slices.flat_map(|slice| slice.endpoints.iter().map(|endpoint| (endpoint, &*slice.ports)));
        all.filter(|(endpoint, _)| endpoint.ready || self.publish_not_ready)
    }
}

fn key(name: &str, namespace: &str) -> Arc<[u8]> {
    [name.as_bytes(), b".", namespace.as_bytes()].concat().to_ascii_lowercase().into()
}

fn own(
    owners: &mut FxHashMap<IpAddr, Vec<Arc<[u8]>>>,
    addresses: impl Iterator<Item = IpAddr>,
    key: &Arc<[u8]>,
) {
    for address in addresses {
        owners.entry(address).or_default().push(Arc::clone(key));
    }
}

fn disown(
    owners: &mut FxHashMap<IpAddr, Vec<Arc<[u8]>>>,
    addresses: impl Iterator<Item = IpAddr>,
    key: &[u8],
) {
    for address in addresses {
        let Some(keys) = owners.get_mut(&address) else { continue };
        if let Some(at) = keys.iter().position(|held| **held == *key) {
            keys.swap_remove(at);
        }
        if keys.is_empty() {
            owners.remove(&address);
        }
    }
}

fn kind(service: &core::Service) -> Kind {
    let Some(spec) = &service.spec else { return Kind::Cluster(Vec::new()) };
    if spec.type_.as_deref() == Some("ExternalName") {
        let target = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
        let name = Name::from_ascii(format!("{target}.")).ok();
        // An address is no name to point to.
        let name = name.filter(|name| !name.is_root() && target.parse::<IpAddr>().is_err());
        return name.map_or(Kind::Unnamed, Kind::External);
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Kind::Headless;
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = all.filter_map(|address| address.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Kind::Cluster(addresses)
}

fn publishes_not_ready(service: &core::Service) -> bool {
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(TOLERATE_UNREADY));
    let field = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
    field == Some(true) || annotation.is_some_and(|value| value == "true")
}

fn ports_of(service: &core::Service) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter_map(|port| one_port(port.name.as_deref(), port.protocol.as_deref(), port.port)).collect()
}

fn one_port(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Port> {
    let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
    let number = u16::try_from(number).ok()?;
    Some(Port { name: lower(name.unwrap_or_default()), protocol: lower(protocol.unwrap_or("TCP")), number })
}

/// The key of the Service that a slice belongs to, and the slice's own name.
fn slice_of(slice: &discovery::EndpointSlice) -> Option<(Arc<[u8]>, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((key(service, slice.metadata.namespace.as_deref()?), slice.metadata.name.as_deref()?))
}

fn slice(slice: &discovery::EndpointSlice) -> Slice {
    let ports = slice.ports.iter().flatten();
    // A slice without a port number stands for all ports; no SRV record can say that.
    let ports = ports.filter_map(|port| one_port(port.name.as_deref(), port.protocol.as_deref(), port.port?));
    let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| {
        // Consumers take an unknown state for ready (API reference of EndpointConditions).
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
        let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
        endpoint.addresses.iter().filter_map(move |text| {
            let address: IpAddr = text.parse().ok()?;
            let host = hostname.map_or_else(|| dashed(address), str::to_ascii_lowercase);
            Some(Endpoint { address, host: host.into(), named: hostname.is_some(), ready })
        })
    });
    Slice { ports: ports.collect(), endpoints: endpoints.collect() }
}

/// The name of an endpoint or pod that has none: its address with dashes, as CoreDNS.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn pod_name(pod: &Pod) -> PodName {
    let text = |text: Option<&String>| text.map_or("", String::as_str).into();
    PodName { namespace: text(pod.metadata.namespace.as_ref()), name: text(pod.metadata.name.as_ref()) }
}

/// The addresses that belong to this pod alone, while it lives.
fn addresses_of(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let own = !pod.spec.host_network && !ended;
    let all = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str()).chain(pod.status.pod_ip.as_deref());
    all.filter(move |_| own).filter_map(|ip| ip.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: serde_json::Value) -> core::Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"}, "spec": spec})).unwrap()
    }

    fn endpoints(name: &str, addresses: &[&str]) -> discovery::EndpointSlice {
        let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 80}],
        }))
        .unwrap()
    }

    fn ready(index: &Index) -> Vec<String> {
        let service = index.service(b"web.n").expect("the service");
        let mut addresses: Vec<_> =
            service.ready().map(|(endpoint, _)| endpoint.address.to_string()).collect();
        addresses.sort();
        addresses
    }

    #[test]
    fn endpoints_may_come_first_and_leave_last() {
        let mut index = Index::new();
        let (one, two) = (endpoints("a", &["10.0.0.1", "10.0.0.2"]), endpoints("b", &["10.0.0.2"]));
        index.set_slice(None, Some(&one));
        index.set_slice(None, Some(&two));
        assert!(index.service(b"web.n").is_none(), "no Service yet");
        index.set_service("n", "web", Some(&service(json!({"clusterIP": "None"}))));
        assert_eq!(ready(&index), ["10.0.0.1", "10.0.0.2", "10.0.0.2"]);
        let fewer = endpoints("a", &["10.0.0.1"]);
        index.set_slice(Some(&one), Some(&fewer));
        assert_eq!(index.owners("10.0.0.2".parse().unwrap()).len(), 1, "the other slice has it still");
        index.set_slice(Some(&two), None);
        assert_eq!(index.owners("10.0.0.2".parse().unwrap()).len(), 0);
        index.set_service("n", "web", None);
        index.set_slice(Some(&fewer), None);
        assert!(index.is_empty(), "{index:?}");
    }

    #[test]
    fn addresses_follow_the_service() {
        let mut index = Index::new();
        let at = |address: &str| service(json!({"clusterIP": address, "clusterIPs": [address]}));
        index.set_service("n", "web", Some(&at("10.96.0.1")));
        index.set_service("n", "web", Some(&at("10.96.0.2")));
        assert_eq!(index.owners("10.96.0.1".parse().unwrap()).len(), 0);
        assert_eq!(index.owners("10.96.0.2".parse().unwrap())[0].0, b"web.n");
        index.set_service("n", "web", None);
        assert!(index.is_empty(), "{index:?}");
    }

    #[test]
    fn an_address_stays_with_the_pod_that_has_it_now() {
        let pod = |name: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": name},
                "status": {"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
            }))
            .unwrap()
        };
        let mut index = Index::new();
        let address = "10.0.0.1".parse().unwrap();
        let (old, new) = (pod("old", "Running"), pod("new", "Running"));
        index.set_pod(None, Some(&old));
        index.set_pod(None, Some(&new));
        index.set_pod(Some(&old), None);
        assert_eq!(index.pod_namespace(address), Some("new"));
        index.set_pod(Some(&new), Some(&pod("new", "Succeeded")));
        assert!(index.is_empty(), "{index:?}");
    }

    #[test]
    fn an_external_address_is_no_name() {
        let external = |name: &str| kind(&service(json!({"type": "ExternalName", "externalName": name})));
        assert_eq!(external("10.0.0.1"), Kind::Unnamed);
        assert_eq!(external(""), Kind::Unnamed);
        assert_eq!(external("db.example.com"), Kind::External(Name::from_ascii("db.example.com.").unwrap()));
    }
}
