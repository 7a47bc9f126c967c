//! Node labels that are places: for each key that some rule names, the value of every node as a small number, and the
//! nodes of each value.

use super::tables::At;
use crate::cache::{NodeInfo, Snapshot};
use rustc_hash::FxHashMap;

/// A label key.
pub(super) type KeyId = usize;
/// A value of a key.
pub(super) type Domain = u32;

/// The domain of nodes without the label.
pub(super) const NOWHERE: Domain = 0;
/// The domain of nodes whose label is the empty text.
pub(super) const EMPTY: Domain = 1;

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Topology {
    keys: Vec<Key>,
    by_name: FxHashMap<String, KeyId>,
}

#[derive(Debug)]
struct Key {
    name: String,
    domains: Vec<Domain>,
    /// The nodes of each domain.
    members: Vec<Vec<At>>,
    values: FxHashMap<String, Domain>,
}

impl Topology {
    /// The number of a key.
    pub(super) fn key(&mut self, name: &str, cluster: &Snapshot) -> KeyId {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let values = [(String::new(), EMPTY)].into_iter().collect();
        let mut key = Key { name: name.to_owned(), domains: Vec::new(), members: Vec::new(), values };
        cluster.nodes().iter().for_each(|node| key.push(node));
        self.by_name.insert(name.to_owned(), self.keys.len());
        self.keys.push(key);
        self.keys.len() - 1
    }

    /// The domain of each node.
    pub(super) fn domains(&self, key: KeyId) -> &[Domain] {
        &self.keys[key].domains
    }

    /// The nodes of a domain, in no order.
    pub(super) fn members(&self, key: KeyId, domain: Domain) -> &[At] {
        self.keys[key].members.get(domain as usize).map_or(&[], Vec::as_slice)
    }

    /// One more than the greatest domain.
    pub(super) fn size(&self, key: KeyId) -> usize {
        self.keys[key].values.len() + 1
    }

    /// How many values were ever seen.
    pub(super) fn len(&self) -> usize {
        self.keys.iter().map(|key| key.values.len()).sum()
    }

    /// A node was added at the end, or changed.
    pub(super) fn set_node(&mut self, at: At, node: &NodeInfo) {
        for key in &mut self.keys {
            match key.domains.get(at as usize).copied() {
                Some(before) => key.moved(at, before, node),
                None => key.push(node),
            }
        }
    }

    /// Reads all nodes anew, for their places have changed.
    pub(super) fn read_again(&mut self, cluster: &Snapshot) {
        for key in &mut self.keys {
            key.domains.clear();
            key.members.clear();
            cluster.nodes().iter().for_each(|node| key.push(node));
        }
    }
}

impl Key {
    fn push(&mut self, node: &NodeInfo) {
        let (domain, at) = (self.domain(node), super::place(self.domains.len()));
        self.domains.push(domain);
        self.enter(at, domain);
    }

    fn moved(&mut self, at: At, before: Domain, node: &NodeInfo) {
        let domain = self.domain(node);
        if domain != before {
            self.members[before as usize].retain(|other| *other != at);
            self.domains[at as usize] = domain;
            self.enter(at, domain);
        }
    }

    fn enter(&mut self, at: At, domain: Domain) {
        if self.members.len() <= domain as usize {
            self.members.resize_with(domain as usize + 1, Vec::new);
        }
        self.members[domain as usize].push(at);
    }

    fn domain(&mut self, node: &NodeInfo) -> Domain {
        let Some(value) = node.labels().get(&self.name) else { return NOWHERE };
        if let Some(known) = self.values.get(value) {
            return *known;
        }
        let domain = Domain::try_from(self.values.len() + 1).unwrap_or(NOWHERE);
        self.values.insert(value.clone(), domain);
        domain
    }
}
