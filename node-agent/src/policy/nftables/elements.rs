//! Facts of the plane as elements of our sets.
//!
//! Promise: pure; the keys are laid out as the rules load them.

use std::net::IpAddr;

use super::layout;
use crate::addresses::{Family, Protocol, octets};
use crate::nftables::{Data, Element, Verdict};
use crate::policy::model::{Direction, Entry, Id};

/// The element of a fact, with the set it belongs to; `None` in the other family.
#[must_use]
pub(crate) fn of_entry(family: Family, entry: &Entry) -> Option<(&'static str, Element)> {
    if entry.family().is_some_and(|of| of != family) {
        return None;
    }
    Some(match *entry {
        Entry::Member { group, address } => (layout::MEMBERS, plain(&[&group.bytes(), &octets(address)])),
        Entry::Range { blocks, first, last } => {
            let key = |address| [blocks.bytes().as_slice(), &octets(address)].concat();
            (layout::RANGES, range(key(first), key(last)))
        }
        Entry::Port { ports, protocol, port } => {
            (layout::PORTS, plain(&[&ports.bytes(), &port_key(protocol, port)]))
        }
        Entry::PortRange { ports, protocol, first, last } => {
            let key = |port| [ports.bytes().as_slice(), &port_key(protocol, port)].concat();
            (layout::PORT_RANGES, range(key(first), key(last)))
        }
        Entry::NamedPort { name, address, protocol, port } => {
            let (name, port) = (name.bytes(), port_key(protocol, port));
            (layout::NAMED_PORTS, plain(&[&name, &octets(address), &port]))
        }
        Entry::Loopback { address } => (layout::LOOPBACK, plain(&[&octets(address), &octets(address)])),
    })
}

/// The element that leads from a pod's address to the chain of its isolation.
#[must_use]
pub(crate) fn of_isolated(direction: Direction, address: IpAddr, isolation: Id) -> Element {
    let verdict = Verdict::Jump(layout::chain_name(direction, isolation));
    Element { key: octets(address).into(), end: None, data: Data::Verdict(verdict) }
}

fn plain(key: &[&[u8]]) -> Element {
    Element { key: key.concat().into(), end: None, data: Data::Nothing }
}

fn range(first: Vec<u8>, last: Vec<u8>) -> Element {
    Element { key: first.into(), end: Some(last.into()), data: Data::Nothing }
}

/// Each in a register of its own.
fn port_key(protocol: Protocol, port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [protocol.number(), 0, 0, 0, high, low, 0, 0]
}
