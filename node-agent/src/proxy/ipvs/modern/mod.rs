//! Netfilter by nf_tables: one table a family, its sets those of `sets`.
//!
//! Promise: a replacement is compared with what the kernel has, and each change is one transaction. Writes the tables
//! `steersman-ipvs` and no others.

mod layout;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::firewall::{Elements, Firewall, Rules};
use super::sets::{Element, Set};
use crate::addresses::{Family, octets};
use crate::netlink::SyncError;
use crate::nftables::{self, Data, Kernel, Transaction, refused};
use layout::TABLE;

/// The kernel's side.
#[derive(Debug)]
pub(super) struct Modern {
    kernel: Kernel,
}

impl Modern {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Without permission, or when the kernel has no nf_tables.
    pub(super) fn open() -> Result<Self, SyncError> {
        Ok(Self { kernel: Kernel::open()? })
    }

    /// Elements of a family that this kernel has.
    fn knows(&self, element: &Element) -> bool {
        self.kernel.families().contains(&family(element))
    }
}

impl Firewall for Modern {
    fn replace(&mut self, rules: &Rules, elements: &Elements<'_>) -> Result<(), SyncError> {
        let edits = self.kernel.compare(&TABLE, |family| {
            let mut all: BTreeMap<&'static str, Vec<nftables::Element>> = BTreeMap::new();
            for (set, elements) in elements.iter().filter(|(set, _)| layout::has(**set)) {
                let ours = elements.iter().filter(|element| self::family(element) == family);
                all.entry(set.name()).or_default().extend(ours.map(|element| wire(element)));
            }
            (layout::chains(family, rules), all)
        })?;
        self.kernel.commit(&TABLE, &edits)
    }

    fn change(&mut self, added: &[(Set, Element)], removed: &[(Set, Element)]) -> Result<(), SyncError> {
        let mut transaction = Transaction::new();
        for (changes, adds) in [(removed, false), (added, true)] {
            let mut sorted: BTreeMap<(Family, &'static str), Vec<nftables::Element>> = BTreeMap::new();
            for (set, element) in changes.iter().filter(|(set, it)| layout::has(*set) && self.knows(it)) {
                sorted.entry((family(element), set.name())).or_default().push(wire(element));
            }
            for ((family, set), elements) in &sorted {
                if adds {
                    transaction.add_elements(*family, TABLE.name, set, elements);
                } else {
                    transaction.delete_elements(*family, TABLE.name, set, elements);
                }
            }
        }
        if transaction.is_empty() {
            return Ok(());
        }
        self.kernel.send(transaction)?.map_err(|(doing, failure)| refused(doing, failure))
    }

    fn is_in_force(&mut self) -> Result<bool, SyncError> {
        Ok(!self.kernel.is_disturbed()?)
    }

    fn is_there(&mut self) -> Result<bool, SyncError> {
        self.kernel.has(&TABLE)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.kernel.remove(&TABLE)
    }
}

fn family(element: &Element) -> Family {
    if element.is_v6() { Family::V6 } else { Family::V4 }
}

fn wire(element: &Element) -> nftables::Element {
    let plain = |key: Vec<u8>| nftables::Element { key: key.into(), end: None, data: Data::Nothing };
    match *element {
        Element::Address(address) => plain(octets(address)),
        Element::Port(address, protocol, port) => plain(port_key(address, protocol, port)),
        Element::PortFrom(address, protocol, port, range) => {
            let with = |end| [port_key(address, protocol, port), octets(end)].concat();
            nftables::Element { end: Some(with(range.last()).into()), ..plain(with(range.network())) }
        }
        Element::PortMark(address, protocol, port, mark) => nftables::Element {
            data: Data::Bytes(mark.to_ne_bytes().into()),
            ..plain(port_key(address, protocol, port))
        },
        Element::Twice(address) => plain([octets(address), octets(address)].concat()),
        // Ranges of pods are rules here.
        Element::Range(range) => plain(octets(range.network())),
    }
}

/// Each part of a key is filled up to four bytes.
fn port_key(address: IpAddr, protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [octets(address), vec![protocol, 0, 0, 0, high, low, 0, 0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_long_as_their_sets_say() {
        for family in Family::BOTH {
            let address: IpAddr = if family == Family::V4 { [10, 0, 0, 1].into() } else { [0_u16; 8].into() };
            let range = crate::addresses::Cidr::single(address);
            for (set, element) in [
                (Set::Addresses, Element::Address(address)),
                (Set::Claimed, Element::Port(address, 6, 80)),
                (Set::Admitted, Element::PortFrom(address, 6, 80, range)),
                (Set::FromCluster, Element::PortMark(address, 6, 80, 0x20000)),
                (Set::Hairpin, Element::Twice(address)),
            ] {
                let forms = (TABLE.sets)(family);
                let form = forms.iter().find(|form| form.name == set.name()).unwrap();
                let bytes: u32 = form.key.iter().map(|(_, bytes)| bytes.next_multiple_of(4)).sum();
                assert_eq!(wire(&element).key.len(), bytes as usize, "{set:?}");
            }
        }
        let port = wire(&Element::Port([10, 96, 0, 1].into(), 17, 53));
        assert_eq!(*port.key, [10, 96, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0]);
    }
}
