//! What each frontend has beside its virtual servers: elements of sets and reachable addresses, some of them shared.
//!
//! Promise: an element or address is added with its first user and removed with its last. A frontend that ends keeps
//! its own until its last virtual server has gone, so that connections which drain still find their way.

use std::net::IpAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::netlink::ipvs::ServerKey;
use crate::proxy::model::{Frontend, Protocol};

use super::sets::{Element, Set};
use super::wanted::{Wanted, frontend_named};

/// What one frontend has.
#[derive(Debug, Default)]
struct Share {
    servers: Box<[ServerKey]>,
    elements: Box<[(Set, Element)]>,
    address: Option<IpAddr>,
}

/// What all frontends have.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// In boxes, as half of a large table is empty.
    shares: FxHashMap<Frontend, Box<Share>>,
    elements: FxHashMap<(Set, Element), u32>,
    addresses: FxHashMap<IpAddr, u32>,
    /// Virtual servers that only wait for their connections, with their frontend.
    closing: FxHashMap<ServerKey, Frontend>,
}

/// What came to have a user, and what lost its last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Elements to add.
    pub(super) added: Vec<(Set, Element)>,
    /// Elements to remove.
    pub(super) removed: Vec<(Set, Element)>,
    /// Addresses to make reachable.
    pub(super) reachable: Vec<IpAddr>,
    /// Addresses to take away.
    pub(super) unreachable: Vec<IpAddr>,
}

impl Delta {
    /// Forgets what was told.
    pub(super) fn clear(&mut self) {
        self.added.clear();
        self.removed.clear();
        self.reachable.clear();
        self.unreachable.clear();
    }
}

impl Owned {
    /// Nothing yet, with room for so many frontends.
    pub(super) fn with_room(frontends: usize) -> Owned {
        let mut owned = Owned::default();
        owned.shares.reserve(frontends);
        owned.elements.reserve(2 * frontends);
        owned.addresses.reserve(frontends);
        owned
    }

    /// Gives a frontend what it wants; nothing takes all away. `closing` are virtual servers that it had and that
    /// still have connections: for them it keeps what it had.
    pub(super) fn set(
        &mut self,
        frontend: Frontend,
        wanted: Wanted,
        closing: Vec<ServerKey>,
        delta: &mut Delta,
    ) {
        let old = self.shares.remove(&frontend).map(|share| *share).unwrap_or_default();
        for key in &old.servers {
            self.closing.remove(key);
        }
        let mut share = Share { address: wanted.address, ..Share::default() };
        let mut elements = wanted.elements;
        if !closing.is_empty() {
            elements.extend(
                old.elements
                    .iter()
                    .filter(|element| element.0 == Set::Claimed || element.0 == Set::Addresses),
            );
            elements.extend(closing.iter().filter_map(refused));
            elements.sort_unstable();
            elements.dedup();
            share.address = share.address.or(old.address);
        }
        let live = wanted.servers.into_iter().map(|(key, ..)| key);
        share.servers = live.chain(closing.iter().copied()).collect();
        share.elements = elements.into();
        self.closing.extend(closing.into_iter().map(|key| (key, frontend)));
        self.count(&share, &old, delta);
        if !share.servers.is_empty() || !share.elements.is_empty() {
            self.shares.insert(frontend, Box::new(share));
        }
    }

    /// New users come before old ones go, so that what both use is no change.
    fn count(&mut self, new: &Share, old: &Share, delta: &mut Delta) {
        for element in &new.elements {
            if count_up(&mut self.elements, *element) {
                delta.added.push(*element);
            }
        }
        for element in &old.elements {
            if count_down(&mut self.elements, element) {
                delta.removed.push(*element);
            }
        }
        if let Some(address) = new.address
            && count_up(&mut self.addresses, address)
        {
            delta.reachable.push(address);
        }
        if let Some(address) = &old.address
            && count_down(&mut self.addresses, address)
        {
            delta.unreachable.push(*address);
        }
    }

    /// Takes over a virtual server that nobody wants, so that it closes as if its frontend had just gone:
    /// `reachable` are the addresses that the kernel has.
    pub(super) fn inherit(&mut self, key: &ServerKey, reachable: &FxHashSet<IpAddr>) {
        let Some(frontend) = orphanage(key) else { return };
        let mut wanted = Wanted::default();
        if let ServerKey::Address { address, protocol, port } = *key {
            wanted.elements.push((Set::Claimed, Element::Port(address, protocol, port)));
            if reachable.contains(&address) {
                wanted.elements.push((Set::Addresses, Element::Address(address)));
                wanted.address = Some(address);
            }
        }
        // Marked servers share a frontend that no service can have: it owns all of them.
        let others: Vec<ServerKey> = self.servers(&frontend).copied().chain([*key]).collect();
        self.set(frontend, wanted, others, &mut Delta::default());
        for key in self.shares.get(&frontend).into_iter().flat_map(|share| share.servers.iter()) {
            self.closing.insert(*key, frontend);
        }
    }

    /// The virtual servers of a frontend, also those that close.
    pub(super) fn servers(&self, frontend: &Frontend) -> impl Iterator<Item = &ServerKey> {
        self.shares.get(frontend).into_iter().flat_map(|share| share.servers.iter())
    }

    /// Frontends that have anything.
    pub(super) fn frontends(&self) -> impl Iterator<Item = Frontend> {
        self.shares.keys().copied()
    }

    /// All elements.
    pub(super) fn elements(&self) -> impl Iterator<Item = &(Set, Element)> {
        self.elements.keys()
    }

    /// Whether anybody uses an address.
    pub(super) fn has_address(&self, address: &IpAddr) -> bool {
        self.addresses.contains_key(address)
    }

    /// All addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// Whether a virtual server only waits for its connections.
    pub(super) fn is_closing(&self, key: &ServerKey) -> bool {
        self.closing.contains_key(key)
    }

    /// The frontend for which a virtual server closes.
    pub(super) fn frontend_of(&self, key: &ServerKey) -> Option<Frontend> {
        self.closing.get(key).copied()
    }
}

/// The frontend that a virtual server which nobody wants is listed under.
fn orphanage(key: &ServerKey) -> Option<Frontend> {
    match key {
        ServerKey::Address { .. } => frontend_named(key),
        ServerKey::Mark { .. } => {
            Some(Frontend { address: [255; 4].into(), protocol: Protocol::Tcp, port: 0 })
        }
    }
}

/// New connections to a virtual server that closes are refused.
fn refused(key: &ServerKey) -> Option<(Set, Element)> {
    let ServerKey::Address { address, protocol, port } = *key else { return None };
    Some((Set::Rejected, Element::Port(address, protocol, port)))
}

fn count_up<K: std::hash::Hash + Eq>(users: &mut FxHashMap<K, u32>, key: K) -> bool {
    let count = users.entry(key).or_insert(0);
    *count += 1;
    *count == 1
}

fn count_down<K: std::hash::Hash + Eq>(users: &mut FxHashMap<K, u32>, key: &K) -> bool {
    let Some(count) = users.get_mut(key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        users.remove(key);
    }
    last
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::netlink::ipvs::Server;

    fn key(port: u16) -> ServerKey {
        ServerKey::Address { protocol: 6, address: [10, 96, 0, 1].into(), port }
    }

    fn wanted(port: u16) -> Wanted {
        let address: IpAddr = [10, 96, 0, 1].into();
        let server = Server { scheduler: "rr".into(), flags: 0, timeout: 0 };
        Wanted {
            servers: vec![(key(port), server, Arc::new([]))],
            elements: vec![
                (Set::Claimed, Element::Port(address, 6, port)),
                (Set::Masqueraded, Element::Port(address, 6, port)),
                (Set::Addresses, Element::Address(address)),
            ],
            address: Some(address),
        }
    }

    #[test]
    fn an_address_goes_with_its_last_frontend() {
        let mut owned = Owned::default();
        let mut first = Delta::default();
        owned.set(frontend_named(&key(80)).unwrap(), wanted(80), vec![], &mut first);
        assert_eq!((first.added.len(), first.reachable.len()), (3, 1));
        let mut second = Delta::default();
        owned.set(frontend_named(&key(81)).unwrap(), wanted(81), vec![], &mut second);
        assert_eq!((second.added.len(), second.reachable.len()), (2, 0));
        let mut same = Delta::default();
        owned.set(frontend_named(&key(81)).unwrap(), wanted(81), vec![], &mut same);
        same.added.clear();
        assert_eq!(same, Delta::default());
        let mut gone = Delta::default();
        owned.set(frontend_named(&key(80)).unwrap(), Wanted::default(), vec![], &mut gone);
        assert_eq!((gone.removed.len(), gone.unreachable.len()), (2, 0));
        owned.set(frontend_named(&key(81)).unwrap(), Wanted::default(), vec![], &mut gone);
        assert_eq!((gone.removed.len(), gone.unreachable.len()), (5, 1));
        assert!(owned.shares.is_empty() && owned.elements.is_empty() && owned.addresses.is_empty());
    }

    #[test]
    fn what_closes_stays_reachable() {
        let (mut owned, mut delta) = (Owned::default(), Delta::default());
        let at = frontend_named(&key(80)).unwrap();
        owned.set(at, wanted(80), vec![], &mut delta);
        let mut closing = Delta::default();
        owned.set(at, Wanted::default(), vec![key(80)], &mut closing);
        assert!(closing.unreachable.is_empty() && owned.is_closing(&key(80)));
        let port = Element::Port([10, 96, 0, 1].into(), 6, 80);
        assert_eq!(closing.removed, [(Set::Masqueraded, port)]);
        assert!(closing.added.contains(&(Set::Rejected, port)));
        let mut closed = Delta::default();
        owned.set(at, Wanted::default(), vec![], &mut closed);
        assert_eq!((closed.removed.len(), closed.unreachable.len()), (3, 1));
        assert!(!owned.is_closing(&key(80)));
    }
}
