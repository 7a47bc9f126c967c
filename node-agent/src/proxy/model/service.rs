//! The plan of one Service: its frontends and what becomes of connections to each.
//!
//! Promise: pure. What cannot be done is a `Problem`, and the rest is done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component::informers::Key;

use super::endpoints::{Choice, choose};
use super::policy::{
    Endpoints, Frontend, HealthCheck, Kind, Masquerade, Policy, PortName, Problem, Unserved,
};
use super::settings::{NodeFacts, Settings};
use super::watched::{EndpointSlice, SOURCE_RANGES, Service, ServicePort, is_ours};
use crate::addresses::{Cidr, Family, Protocol};

/// Upstream's default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

/// What one Service adds to the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    pub frontends: Vec<(Frontend, Arc<Policy>)>,
    pub health_check: Option<HealthCheck>,
    pub problems: Vec<Problem>,
}

/// Plans a Service with the slices that belong to it. Empty for a Service that needs no proxy: headless, of type
/// ExternalName, or another proxy's.
#[must_use]
pub fn plan_service(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    node: &NodeFacts,
    settings: &Settings,
) -> ServicePlan {
    let spec = &service.spec;
    let headless = spec.cluster_ip.is_empty() || spec.cluster_ip == "None";
    if headless || spec.type_ == "ExternalName" || !is_ours(&service.metadata) {
        return ServicePlan::default();
    }
    let key = Arc::new(Key::of(service));
    let ours: Vec<_> = slices.iter().filter(|slice| is_ours(&slice.metadata)).cloned().collect();
    let mut planner = Planner {
        service,
        slices: &ours,
        node,
        settings,
        name: key.to_string(),
        plan: ServicePlan::default(),
    };
    let addresses = planner.addresses();
    let mut ready_here = BTreeSet::new();
    for port in &spec.ports {
        let Some(protocol) = Protocol::parse(&port.protocol) else {
            let value = port.protocol.clone();
            planner.plan.problems.push(Problem::Protocol { service: planner.name.clone(), value });
            continue;
        };
        let name = Arc::new(PortName { service: Arc::clone(&key), port: port.name.clone() });
        for family in addresses.families() {
            ready_here.extend(planner.port(&name, port, protocol, family, &addresses));
        }
    }
    if is_local(&spec.external_traffic_policy)
        && let Some(port) = spec.health_check_node_port.filter(|port| *port != 0)
    {
        planner.plan.health_check = Some(HealthCheck { port, local_endpoints: ready_here.len() });
    }
    planner.plan.problems.sort();
    planner.plan.problems.dedup();
    planner.plan
}

/// Addresses of a Service, by the field they come from.
struct Addresses {
    cluster: Vec<IpAddr>,
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
    sources: Option<Vec<Cidr>>,
}

impl Addresses {
    fn families(&self) -> impl Iterator<Item = Family> {
        Family::BOTH
            .into_iter()
            .filter(|family| self.cluster.iter().any(|found| Family::of(found) == *family))
    }
}

struct Planner<'a> {
    service: &'a Service,
    slices: &'a [Arc<EndpointSlice>],
    node: &'a NodeFacts,
    settings: &'a Settings,
    name: String,
    plan: ServicePlan,
}

impl Planner<'_> {
    fn addresses(&mut self) -> Addresses {
        let spec = &self.service.spec;
        let cluster = if spec.cluster_ips.is_empty() {
            std::slice::from_ref(&spec.cluster_ip)
        } else {
            &spec.cluster_ips
        };
        // An address that the load balancer itself answers for (mode Proxy) is none of ours.
        let ingress = self.service.status.load_balancer.ingress.iter();
        let ingress: Vec<String> = ingress
            .filter(|ingress| !ingress.ip.is_empty() && ingress.ip_mode != "Proxy")
            .map(|ingress| ingress.ip.clone())
            .collect();
        let is_load_balancer = spec.type_ == "LoadBalancer";
        let (cluster, external) = (cluster.to_vec(), spec.external_ips.clone());
        Addresses {
            cluster: self.parsed("clusterIPs", &cluster),
            external: self.parsed("externalIPs", &external),
            load_balancer: if is_load_balancer {
                self.parsed("status.loadBalancer", &ingress)
            } else {
                Vec::new()
            },
            sources: if is_load_balancer { self.sources() } else { None },
        }
    }

    fn parsed(&mut self, field: &'static str, texts: &[String]) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for text in texts {
            match text.parse::<IpAddr>() {
                Ok(address) if is_frontend(address) => found.push(address),
                _ => self.plan.problems.push(Problem::Address {
                    service: self.name.clone(),
                    field,
                    value: text.clone(),
                }),
            }
        }
        found
    }

    /// Who may use the load balancer's addresses; everybody if `None`.
    fn sources(&mut self) -> Option<Vec<Cidr>> {
        let spec = &self.service.spec.load_balancer_source_ranges;
        let annotation = self.service.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE_RANGES));
        let texts: Vec<&str> = match annotation {
            _ if !spec.is_empty() => spec.iter().map(String::as_str).collect(),
            Some(annotation) => annotation.split(',').filter(|text| !text.trim().is_empty()).collect(),
            None => Vec::new(),
        };
        if texts.is_empty() {
            return None;
        }
        let mut ranges = BTreeSet::new();
        for text in texts {
            match text.parse() {
                Ok(range) => drop(ranges.insert(range)),
                Err(_) => self
                    .plan
                    .problems
                    .push(Problem::SourceRange { service: self.name.clone(), value: text.to_owned() }),
            }
        }
        Some(ranges.into_iter().collect())
    }

    /// Adds the frontends of a port in a family. Answers the addresses of ready endpoints on this node.
    fn port(
        &mut self,
        name: &Arc<PortName>,
        port: &ServicePort,
        protocol: Protocol,
        family: Family,
        addresses: &Addresses,
    ) -> Vec<IpAddr> {
        let service = self.name.clone();
        let choice = choose(
            self.slices,
            family,
            (&port.name, protocol),
            self.node,
            &mut |value| Problem::Endpoint { service: service.clone(), value: value.to_owned() },
            &mut self.plan.problems,
        );
        let of_family = |list: &[IpAddr]| -> Vec<IpAddr> {
            list.iter().copied().filter(|address| Family::of(address) == family).collect()
        };
        let inside = Arc::new(self.inside(name, &choice));
        for address in of_family(&addresses.cluster) {
            self.plan.frontends.push((Frontend { address, protocol, port: port.port }, Arc::clone(&inside)));
        }
        let outside = |kind, sources| Arc::new(self.outside(name, kind, &choice, sources));
        let mut added = Vec::new();
        for address in of_family(&addresses.external) {
            added.push((Frontend { address, protocol, port: port.port }, outside(Kind::ExternalIp, None)));
        }
        for address in of_family(&addresses.load_balancer) {
            let sources = addresses.sources.as_deref().map(|ranges| self.admitted(ranges, address));
            added.push((
                Frontend { address, protocol, port: port.port },
                outside(Kind::LoadBalancer, sources),
            ));
        }
        if let Some(node_port) = port.node_port.filter(|port| *port != 0) {
            let frontend = Frontend::node_port(family, protocol, node_port);
            added.push((frontend, outside(Kind::NodePort, None)));
        }
        self.plan.frontends.extend(added);
        choice.ready_here
    }

    /// The policy of the cluster IPs.
    fn inside(&self, name: &Arc<PortName>, choice: &Choice) -> Policy {
        let local = is_local(&self.service.spec.internal_traffic_policy);
        Policy {
            name: Arc::clone(name),
            kind: Kind::ClusterIp,
            endpoints: if local { Arc::clone(&choice.local) } else { Arc::clone(&choice.cluster) },
            unserved: unserved(local, &choice.cluster),
            masquerade: if self.settings.masquerade_all {
                Masquerade::Always
            } else {
                Masquerade::UnlessFromPod
            },
            from_cluster: None,
            affinity: self.affinity(),
            sources: None,
        }
    }

    /// The policy of an address that is reached from outside.
    fn outside(
        &self,
        name: &Arc<PortName>,
        kind: Kind,
        choice: &Choice,
        sources: Option<Arc<[Cidr]>>,
    ) -> Policy {
        let local = is_local(&self.service.spec.external_traffic_policy);
        Policy {
            name: Arc::clone(name),
            kind,
            endpoints: if local { Arc::clone(&choice.local) } else { Arc::clone(&choice.cluster) },
            unserved: unserved(local, &choice.cluster),
            masquerade: if local { Masquerade::Never } else { Masquerade::Always },
            from_cluster: (local && !choice.cluster.is_empty()).then(|| Arc::clone(&choice.cluster)),
            affinity: self.affinity(),
            sources,
        }
    }

    fn affinity(&self) -> Option<Duration> {
        let spec = &self.service.spec;
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds);
        let timeout = seconds.map_or(AFFINITY_TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
        (spec.session_affinity == "ClientIP").then_some(timeout)
    }

    /// The source ranges, and the frontend itself where a node of these ranges may speak to it: its own connections
    /// have the address as their source then, as upstream allows.
    fn admitted(&self, ranges: &[Cidr], address: IpAddr) -> Arc<[Cidr]> {
        let family = Family::of(&address);
        let mut admitted: BTreeSet<Cidr> =
            ranges.iter().copied().filter(|range| range.family() == family).collect();
        let nodes = &self.node.addresses;
        if nodes.iter().any(|node| admitted.iter().any(|range| range.contains(*node))) {
            admitted.insert(Cidr::single(address));
        }
        // Ranges within others add nothing, and the kernel refuses sets of ranges that overlap.
        let within = |range: &Cidr| {
            admitted.iter().any(|other| {
                other != range && other.contains(range.network()) && other.prefix() <= range.prefix()
            })
        };
        admitted.iter().filter(|range| !within(range)).copied().collect()
    }
}

fn is_local(policy: &str) -> bool {
    policy == "Local"
}

/// With the policy Local a client is left waiting where the service lives on other nodes: the load balancer will ask
/// one of them.
fn unserved(local: bool, everywhere: &Endpoints) -> Unserved {
    if local && !everywhere.is_empty() { Unserved::Drop } else { Unserved::Reject }
}

fn is_frontend(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}
