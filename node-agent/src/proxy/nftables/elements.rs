//! A frontend with its policy as elements of our sets.
//!
//! Promise: pure, and the other way round where a kernel's element has to be understood.

use std::net::IpAddr;

use super::layout::{self, Entry, Shape};
use crate::addresses::octets;
use crate::nftables::{Data, Element, Verdict};
use crate::proxy::model::{Endpoint, Family, Frontend, Masquerade, Policy, Protocol, Unserved};

/// The chain that connections to a frontend go to; `None` if nobody serves it.
#[must_use]
pub(crate) fn shape(frontend: &Frontend, policy: &Policy) -> Option<Shape> {
    if policy.endpoints.is_empty() && policy.from_cluster.is_none() {
        return None;
    }
    let entry = match (&policy.from_cluster, policy.masquerade) {
        (Some(inside), _) => Entry::FromOutside { inside: inside.len() as u32 },
        (None, Masquerade::Always) => Entry::Masquerade,
        (None, Masquerade::UnlessFromPod) => Entry::UnlessFromPod,
        (None, Masquerade::Never) => Entry::Untouched,
    };
    Some(Shape {
        node_port: frontend.is_node_port(),
        entry,
        endpoints: policy.endpoints.len() as u32,
        affinity: policy.affinity,
    })
}

/// All elements of a frontend, with the sets they belong to.
pub(crate) fn of_policy(frontend: &Frontend, policy: &Policy, mut add: impl FnMut(&'static str, Element)) {
    let key = frontend_key(frontend);
    let plain = |key: &[u8], data| Element { key: key.into(), end: None, data };
    match shape(frontend, policy) {
        Some(shape) => {
            add(layout::SERVICES, plain(&key, Data::Verdict(Verdict::Goto(shape.name()))));
            if let Some(timeout) = policy.affinity {
                let remember = Verdict::Jump(layout::remember_name(timeout));
                add(layout::STICKY, plain(&key, Data::Verdict(remember)));
            }
        }
        None => {
            let verdict = match policy.unserved {
                Unserved::Reject => Verdict::Goto(layout::REJECT.to_owned()),
                Unserved::Drop => Verdict::Drop,
            };
            add(layout::UNSERVED, plain(&key, Data::Verdict(verdict)));
        }
    }
    let inside = policy.from_cluster.as_deref().unwrap_or_default();
    for (offset, endpoints) in [(0, &*policy.endpoints), (layout::INSIDE, inside)] {
        for (endpoint, number) in endpoints.iter().zip(offset..) {
            let key = [key.as_slice(), &number.to_ne_bytes()].concat();
            add(layout::ENDPOINTS, plain(&key, Data::Bytes(endpoint_value(endpoint))));
        }
    }
    if let Some(sources) = &policy.sources {
        add(layout::RESTRICTED, plain(&key, Data::Nothing));
        for range in sources.iter() {
            let with = |address| [key.as_slice(), &octets(address)].concat().into_boxed_slice();
            let (key, end) = (with(range.network()), Some(with(range.last())));
            add(layout::SOURCES, Element { key, end, data: Data::Nothing });
        }
    }
}

/// The element of an address in the set of cluster IPs.
#[must_use]
pub(crate) fn of_cluster_address(address: IpAddr) -> Element {
    Element { key: octets(address).into(), end: None, data: Data::Nothing }
}

/// The element of an endpoint's address in the set for hairpins.
#[must_use]
pub(crate) fn of_local_endpoint(address: IpAddr) -> Element {
    let octets = octets(address);
    Element { key: [octets.as_slice(), &octets].concat().into(), end: None, data: Data::Nothing }
}

/// The frontend that an element's key begins with.
#[must_use]
pub(crate) fn frontend_of(family: Family, key: &[u8]) -> Option<Frontend> {
    let (address, rest) = address_of(family, key)?;
    let protocol = match rest.first()? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return None,
    };
    let port = u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?);
    Some(Frontend { address, protocol, port })
}

/// The endpoint that a map leads to.
#[must_use]
pub(crate) fn endpoint_of(family: Family, value: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, rest) = address_of(family, value)?;
    Some((address, u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)))
}

/// The frontend and the endpoint of a client that is remembered; of a node port with the address that was asked.
#[must_use]
pub(crate) fn remembered(family: Family, element: &Element) -> Option<(Frontend, (IpAddr, u16))> {
    let (_, frontend) = address_of(family, &element.key)?;
    let Data::Bytes(value) = &element.data else { return None };
    Some((frontend_of(family, frontend)?, endpoint_of(family, value)?))
}

fn frontend_key(frontend: &Frontend) -> Vec<u8> {
    let mut key = octets(frontend.address);
    key.extend([frontend.protocol.number(), 0, 0, 0]);
    key.extend(frontend.port.to_be_bytes());
    key.extend([0, 0]);
    key
}

fn endpoint_value(endpoint: &Endpoint) -> Box<[u8]> {
    let mut value = octets(endpoint.address);
    value.extend(endpoint.port.to_be_bytes());
    value.extend([0, 0]);
    value.into()
}

fn address_of(family: Family, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    match family {
        Family::V4 => bytes.split_first_chunk::<4>().map(|(address, rest)| (IpAddr::from(*address), rest)),
        Family::V6 => bytes.split_first_chunk::<16>().map(|(address, rest)| (IpAddr::from(*address), rest)),
    }
}
