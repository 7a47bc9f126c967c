//! What a name of the cluster means: the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.
//!
//! Promise: a pure function of (index, zone, question). Where the specification is silent CoreDNS's kubernetes
//! plug-in is followed: a name that exists without a record of the asked type is told from one that does not exist,
//! because resolvers go on to the next search domain only for the latter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustc_hash::FxHashSet;

use super::index::{Endpoint, Index, Kind, Port, Service};
use super::zone::{self, Pods, Zone};

/// The version of the specification.
const SCHEMA: &str = "1.1.0";

/// Seconds that the version may be kept, as in the specification's example.
const SCHEMA_TTL: u32 = 28_800;

/// Times of the zone's SOA record, in seconds (CoreDNS's).
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86400;

/// SRV weights of the targets of one name add up to this, as far as they can.
const WEIGHT: usize = 100;

/// The Service that the zone's name server is reached at, as `name.namespace`.
const OWN_SERVICE: &[u8] = b"kube-dns.kube-system";

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records of the asked type.
    Records {
        /// For the answer section.
        answers: Vec<Record>,
        /// Addresses of names in the answers.
        additionals: Vec<Record>,
    },
    /// Another name for it, of which the records are to be looked up.
    Alias(Box<Record>, Name),
    /// The name exists and has no record of that type.
    NoData,
    /// There is no such name.
    NoName,
    /// Not known yet: the cluster's objects are still being read.
    NotSynced,
    /// Not a name of the cluster.
    Elsewhere,
}

/// Looks a name up.
#[must_use]
pub fn lookup(index: &Index, zone: &Zone, name: &Name, kind: RecordType) -> Answer {
    let lower = name.to_lowercase();
    let labels: Vec<&[u8]> = lower.iter().collect();
    let Some(inside) = zone.inside(&labels) else {
        return match zone::reverse(&labels) {
            Some(_) if !index.is_synced() => Answer::NotSynced,
            Some(address) => reverse(&Asked { index, zone, name, kind }, address),
            None => Answer::Elsewhere,
        };
    };
    if !index.is_synced() {
        return Answer::NotSynced;
    }
    let asked = Asked { index, zone, name, kind };
    match inside {
        [] => apex(&asked),
        [b"dns-version"] if kind == RecordType::TXT => {
            let text = RData::TXT(TXT::new(vec![SCHEMA.to_owned()]));
            records(vec![Record::from_rdata(name.clone(), SCHEMA_TTL, text)])
        }
        [b"dns-version" | b"dns" | b"svc" | b"pod"] => Answer::NoData,
        [b"ns", b"dns"] => asked.addresses(own_addresses(index)),
        [namespace, b"svc" | b"pod"] if index.has_namespace(namespace) => Answer::NoData,
        [label, namespace, b"pod"] => pod(&asked, label, namespace),
        [inside @ .., name, namespace, b"svc"] => {
            let key = [name, b".".as_slice(), namespace].concat();
            match index.service(&key) {
                Some(service) => service_name(&Of { asked, service, name, namespace }, inside),
                None => Answer::NoName,
            }
        }
        _ => Answer::NoName,
    }
}

/// The record that says how long the absence of a name may be kept.
pub(super) fn soa(index: &Index, zone: &Zone) -> Record {
    let server = name_server(zone);
    let mailbox = zone.below(&[b"hostmaster"]).unwrap_or_else(|| zone.name.clone());
    let soa = SOA::new(server, mailbox, index.serial(), REFRESH, RETRY, EXPIRE, zone.ttl);
    Record::from_rdata(zone.name.clone(), zone.ttl, RData::SOA(soa))
}

/// A question and what it is answered from.
#[derive(Clone, Copy)]
struct Asked<'a> {
    index: &'a Index,
    zone: &'a Zone,
    name: &'a Name,
    kind: RecordType,
}

impl Asked<'_> {
    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), self.zone.ttl, data)
    }

    /// A or AAAA records of a name that exists.
    fn addresses(&self, addresses: Vec<IpAddr>) -> Answer {
        let of_kind = unique(addresses).into_iter().filter(|address| kind_of(*address) == self.kind);
        some(of_kind.map(|address| self.record(data(address))).collect())
    }
}

/// A question about a Service or below it.
struct Of<'a> {
    asked: Asked<'a>,
    service: &'a Service,
    name: &'a [u8],
    namespace: &'a [u8],
}

impl Of<'_> {
    /// A name in the Service's domain.
    fn below(&self, host: Option<&str>) -> Option<Name> {
        let labels = [host.unwrap_or_default().as_bytes(), self.name, self.namespace, b"svc"];
        self.asked.zone.below(if host.is_some() { &labels } else { &labels[1..] })
    }
}

fn apex(asked: &Asked<'_>) -> Answer {
    match asked.kind {
        RecordType::SOA => records(vec![soa(asked.index, asked.zone)]),
        RecordType::NS => {
            let server = name_server(asked.zone);
            let glue = own_addresses(asked.index).into_iter();
            let glue = glue
                .map(|address| Record::from_rdata(server.clone(), asked.zone.ttl, data(address)))
                .collect();
            Answer::Records { answers: vec![asked.record(RData::NS(NS(server)))], additionals: glue }
        }
        _ => Answer::NoData,
    }
}

/// A name with `inside` before the Service's own.
fn service_name(of: &Of<'_>, inside: &[&[u8]]) -> Answer {
    let service = of.service;
    match (service.kind.as_ref(), inside) {
        (Some(Kind::External(target)), []) => {
            let alias = of.asked.record(RData::CNAME(CNAME(target.clone())));
            Answer::Alias(Box::new(alias), target.clone())
        }
        (Some(Kind::Unnamed), []) => Answer::NoData,
        (Some(Kind::External(_) | Kind::Unnamed), _) => Answer::NoName,
        (Some(Kind::Headless), []) if service.ready().next().is_none() => Answer::NoName,
        // CoreDNS: the bare name has an SRV record for every port.
        (_, []) if of.asked.kind == RecordType::SRV => ports(of, |_| true),
        (Some(Kind::Cluster(addresses)), []) => of.asked.addresses(addresses.clone()),
        (_, []) => of.asked.addresses(service.ready().map(|(endpoint, _)| endpoint.address).collect()),
        (_, [port, protocol]) if port.starts_with(b"_") && protocol.starts_with(b"_") => {
            let is = |candidate: &Port| {
                !candidate.name.is_empty()
                    && candidate.name.as_bytes() == &port[1..]
                    && candidate.protocol.as_bytes() == &protocol[1..]
            };
            match ports(of, is) {
                Answer::Records { .. } if of.asked.kind != RecordType::SRV => Answer::NoData,
                Answer::NoData => Answer::NoName,
                answer => answer,
            }
        }
        // Below it are the names of its ports (RFC 8020: then it exists).
        (_, [protocol]) if protocol.starts_with(b"_") => {
            let is = |port: &Port| !port.name.is_empty() && port.protocol.as_bytes() == &protocol[1..];
            match ports(of, is) {
                Answer::Records { .. } => Answer::NoData,
                _ => Answer::NoName,
            }
        }
        (_, [host]) => {
            let named = service.ready().filter(|(endpoint, _)| endpoint.host.as_bytes() == *host);
            let addresses: Vec<_> = named.map(|(endpoint, _)| endpoint.address).collect();
            if addresses.is_empty() { Answer::NoName } else { of.asked.addresses(addresses) }
        }
        _ => Answer::NoName,
    }
}

/// SRV records of the ports that are wanted, with the addresses of their targets.
fn ports(of: &Of<'_>, wanted: impl Fn(&Port) -> bool) -> Answer {
    let mut targets: Vec<(Option<&str>, u16, Vec<IpAddr>)> = Vec::new();
    if let Some(Kind::Cluster(addresses)) = &of.service.kind {
        let ports = of.service.ports.iter().filter(|port| wanted(port));
        targets.extend(ports.map(|port| (None, port.number, addresses.clone())));
    } else {
        for (endpoint, ports) in of.service.ready() {
            let ports = ports.iter().filter(|port| wanted(port));
            let target = |port: &Port| (Some(&*endpoint.host), port.number, vec![endpoint.address]);
            targets.extend(ports.map(target));
        }
        join_hosts(&mut targets);
    }
    let weight = u16::try_from(WEIGHT.checked_div(targets.len()).unwrap_or(WEIGHT).max(1)).unwrap_or(1);
    let (mut answers, mut additionals, mut given) = (Vec::new(), Vec::new(), FxHashSet::default());
    for (host, port, addresses) in targets {
        let Some(target) = of.below(host) else { continue };
        for address in unique(addresses) {
            if given.insert((host, address)) {
                additionals.push(Record::from_rdata(target.clone(), of.asked.zone.ttl, data(address)));
            }
        }
        answers.push(of.asked.record(RData::SRV(SRV::new(0, weight, port, target))));
    }
    if answers.is_empty() { Answer::NoData } else { Answer::Records { answers, additionals } }
}

/// One target for each host and port, however many addresses and slices it is in.
fn join_hosts(targets: &mut Vec<(Option<&str>, u16, Vec<IpAddr>)>) {
    targets.sort();
    targets.dedup_by(|later, first| {
        let same = (later.0, later.1) == (first.0, first.1);
        if same {
            first.2.append(&mut later.2);
        }
        same
    });
}

fn pod(asked: &Asked<'_>, label: &[u8], namespace: &[u8]) -> Answer {
    let Some(address) = zone::dashed(label) else { return Answer::NoName };
    let exists = match asked.zone.pods {
        Pods::Disabled => false,
        Pods::Insecure => asked.index.has_namespace(namespace),
        Pods::Verified => {
            asked.index.pod_namespace(address).is_some_and(|found| found.as_bytes() == namespace)
        }
    };
    if exists { asked.addresses(vec![address]) } else { Answer::NoName }
}

/// The names of an address: of Services that have it, else of endpoints.
fn reverse(asked: &Asked<'_>, address: IpAddr) -> Answer {
    let owners = asked.index.owners(address);
    let mut names = Vec::new();
    let labels = |key: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let dot = key.iter().position(|byte| *byte == b'.')?;
        Some((key[..dot].to_vec(), key[dot + 1..].to_vec()))
    };
    for (key, service) in &owners {
        if matches!(&service.kind, Some(Kind::Cluster(addresses)) if addresses.contains(&address)) {
            names.extend(labels(key).and_then(|(name, space)| asked.zone.below(&[&name, &space, b"svc"])));
        }
    }
    if names.is_empty() {
        for (key, service) in &owners {
            let Some((name, space)) = labels(key) else { continue };
            let hosts = service.ready().filter(|(endpoint, _)| shows(service, endpoint, address));
            names.extend(hosts.filter_map(|(endpoint, _)| {
                asked.zone.below(&[endpoint.host.as_bytes(), &name, &space, b"svc"])
            }));
        }
    }
    names.sort_unstable();
    names.dedup();
    match (names.is_empty(), asked.kind) {
        // Others may know it: CoreDNS's fallthrough.
        (true, _) => Answer::Elsewhere,
        (false, RecordType::PTR) => {
            records(names.into_iter().map(|name| asked.record(RData::PTR(PTR(name)))).collect())
        }
        (false, _) => Answer::NoData,
    }
}

/// Whether an endpoint has a reverse name: those of headless Services do, others if they were given a host name.
fn shows(service: &Service, endpoint: &Endpoint, address: IpAddr) -> bool {
    endpoint.address == address && (endpoint.named || service.kind == Some(Kind::Headless))
}

fn name_server(zone: &Zone) -> Name {
    zone.below(&[b"ns", b"dns"]).unwrap_or_else(|| zone.name.clone())
}

fn own_addresses(index: &Index) -> Vec<IpAddr> {
    match index.service(OWN_SERVICE).map(|service| (&service.kind, service)) {
        Some((Some(Kind::Cluster(addresses)), _)) => addresses.clone(),
        Some((Some(Kind::Headless), service)) => {
            service.ready().map(|(endpoint, _)| endpoint.address).collect()
        }
        _ => Vec::new(),
    }
}

fn records(answers: Vec<Record>) -> Answer {
    Answer::Records { answers, additionals: Vec::new() }
}

fn some(answers: Vec<Record>) -> Answer {
    if answers.is_empty() { Answer::NoData } else { records(answers) }
}

fn unique(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

const fn kind_of(address: IpAddr) -> RecordType {
    match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::AAAA,
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => four(address),
        IpAddr::V6(address) => six(address),
    }
}

const fn four(address: Ipv4Addr) -> RData {
    RData::A(A(address))
}

const fn six(address: Ipv6Addr) -> RData {
    RData::AAAA(AAAA(address))
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
