//! Which endpoints of a service port connections may reach from this node.
//!
//! Promise: upstream's order of preference. Everywhere: ready endpoints, of these the ones hinted at this node or,
//! failing that, at this zone, if every ready endpoint has such a hint and one fits; else terminating endpoints that
//! still serve. Here: ready ones of this node, else terminating ones of this node that still serve (KEP-1669,
//! KEP-2433, KEP-3015).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::policy::{Endpoint, Endpoints, Problem};
use super::settings::NodeFacts;
use super::watched::{Conditions, EndpointSlice, Named, SliceEndpoint};
use crate::addresses::{Family, Protocol};

/// The endpoints of one port of a service, in one family.
#[derive(Debug)]
pub(super) struct Choice {
    /// For the policy Cluster.
    pub(super) cluster: Endpoints,
    /// For the policy Local.
    pub(super) local: Endpoints,
    /// Addresses on this node that are ready, for health checks.
    pub(super) ready_here: Vec<IpAddr>,
}

/// An endpoint with what the choice depends on.
struct Candidate<'a> {
    endpoint: Endpoint,
    ready: bool,
    /// Terminating, but it still answers.
    last_resort: bool,
    zones: &'a [Named],
    nodes: &'a [Named],
}

/// Chooses among the endpoints of a port.
pub(super) fn choose(
    slices: &[Arc<EndpointSlice>],
    family: Family,
    port: (&str, Protocol),
    node: &NodeFacts,
    problem: &mut dyn FnMut(&str) -> Problem,
    problems: &mut Vec<Problem>,
) -> Choice {
    let mut candidates = BTreeMap::new();
    for (endpoint, number) in of_port(slices, family, port) {
        match candidate(endpoint, number, family, node) {
            Ok(candidate) => {
                let at = (candidate.endpoint.address, candidate.endpoint.port);
                // While a pod moves between slices it is in both: the better news counts.
                match candidates.get(&at) {
                    Some(known) if rank(known) >= rank(&candidate) => {}
                    _ => drop(candidates.insert(at, candidate)),
                }
            }
            Err(value) => problems.push(problem(value)),
        }
    }
    let all: Vec<Candidate<'_>> = candidates.into_values().collect();
    let ready: Vec<&Candidate<'_>> = all.iter().filter(|candidate| candidate.ready).collect();
    let ready_here =
        ready.iter().filter(|found| found.endpoint.local).map(|found| found.endpoint.address).collect();
    Choice {
        cluster: first_of([nearest(&ready, node), last_resort(&all)]),
        local: first_of([here(ready), here(last_resort(&all))]),
        ready_here,
    }
}

/// The endpoints of the slices of a family, with the number of the named port.
fn of_port<'a>(
    slices: &'a [Arc<EndpointSlice>],
    family: Family,
    (name, protocol): (&str, Protocol),
) -> impl Iterator<Item = (&'a SliceEndpoint, u16)> {
    let address_type = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let fitting = slices.iter().filter(move |slice| slice.address_type == address_type);
    fitting.flat_map(move |slice| {
        let named = slice.ports.iter().find(|port| {
            port.name.as_deref().unwrap_or_default() == name
                && Protocol::parse(port.protocol.as_deref().unwrap_or_default()) == Some(protocol)
        });
        let number = named.and_then(|port| port.port).filter(|number| *number != 0);
        number.into_iter().flat_map(|number| slice.endpoints.iter().map(move |endpoint| (endpoint, number)))
    })
}

/// # Errors
///
/// The address, if it cannot be used.
fn candidate<'a>(
    found: &'a SliceEndpoint,
    port: u16,
    family: Family,
    node: &NodeFacts,
) -> Result<Candidate<'a>, &'a str> {
    let text = found.addresses.first().map(|address| &**address).unwrap_or_default();
    let address: IpAddr = text.parse().map_err(|_| text)?;
    if Family::of(&address) != family || !is_usable(address) {
        return Err(text);
    }
    let local = found.node_name.as_deref().is_some_and(|name| name == node.name);
    let Conditions { ready, serving, terminating } = found.conditions;
    let (ready, terminating) = (ready.unwrap_or(true), terminating.unwrap_or(false));
    Ok(Candidate {
        endpoint: Endpoint { address, port, local },
        ready,
        last_resort: terminating && serving.unwrap_or(ready),
        zones: found.hints.as_ref().map(|hints| &*hints.for_zones).unwrap_or_default(),
        nodes: found.hints.as_ref().map(|hints| &*hints.for_nodes).unwrap_or_default(),
    })
}

/// The API forbids these as endpoints, as they would lead a client back into the node or nowhere.
fn is_usable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

const fn rank(candidate: &Candidate<'_>) -> u8 {
    if candidate.ready { 2 } else { candidate.last_resort as u8 }
}

/// Of the ready endpoints those that the hints point at from this node; all if the hints do not help.
fn nearest<'a, 'b>(ready: &[&'b Candidate<'a>], node: &NodeFacts) -> Vec<&'b Candidate<'a>> {
    let names =
        |hints: &[Named], name: &str| !name.is_empty() && hints.iter().any(|hint| *hint.name == *name);
    let at_node = |found: &Candidate<'_>| names(found.nodes, &node.name);
    let in_zone = |found: &Candidate<'_>| names(found.zones, &node.zone);
    let everywhere = |hinted: fn(&Candidate<'_>) -> bool| ready.iter().all(|found| hinted(found));
    if everywhere(|found| !found.nodes.is_empty()) && ready.iter().any(|found| at_node(found)) {
        ready.iter().copied().filter(|found| at_node(found)).collect()
    } else if everywhere(|found| !found.zones.is_empty()) && ready.iter().any(|found| in_zone(found)) {
        ready.iter().copied().filter(|found| in_zone(found)).collect()
    } else {
        ready.to_vec()
    }
}

fn last_resort<'a, 'b>(all: &'b [Candidate<'a>]) -> Vec<&'b Candidate<'a>> {
    all.iter().filter(|found| found.last_resort).collect()
}

fn here<'a, 'b>(found: Vec<&'b Candidate<'a>>) -> Vec<&'b Candidate<'a>> {
    found.into_iter().filter(|found| found.endpoint.local).collect()
}

fn first_of(choices: [Vec<&Candidate<'_>>; 2]) -> Endpoints {
    let chosen = choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_default();
    chosen.into_iter().map(|found| found.endpoint).collect()
}
