//! What IPVS cannot do by itself: masquerade, admit by source, drop, close ports, mark.
//!
//! Promise: two ways lead to the same: nf_tables, and where the kernel lacks that the old tables with ipsets. Both
//! have a fixed number of rules over the sets of `sets`.

use std::collections::BTreeMap;

use crate::proxy::SyncError;
use crate::proxy::model::{Changes, DataPlane, PodDetection};

use super::legacy::Legacy;
use super::modern::Modern;
use super::sets::{Element, Set};

/// What the rules depend on besides the sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// The bit of a packet's mark that asks for masquerading.
    pub(super) masquerade_mark: u32,
    /// How pods are told from others.
    pub(super) pods: PodDetection,
}

/// Elements by set.
pub(super) type Elements<'a> = BTreeMap<Set, Vec<&'a Element>>;

/// The rules for a plane.
pub(super) fn rules(desired: &DataPlane) -> Rules {
    Rules { masquerade_mark: desired.settings.masquerade_mark, pods: desired.settings.pods.clone() }
}

/// Elements that belong to no frontend: endpoints on this node, and how pods are told.
pub(super) fn shared_elements(desired: &DataPlane) -> Vec<(Set, Element)> {
    let ranges = match &desired.settings.pods {
        PodDetection::Cidrs(ranges) => ranges.as_slice(),
        _ => &[],
    };
    let hairpin = desired.local_endpoints.keys().map(|address| (Set::Hairpin, Element::Twice(*address)));
    hairpin.chain(ranges.iter().map(|range| (Set::Pods, Element::Range(*range)))).collect()
}

/// Endpoints on this node that came (`there`) or went.
pub(super) fn hairpins<'a>(
    desired: &'a DataPlane,
    changes: &'a Changes,
    there: bool,
) -> impl Iterator<Item = (Set, Element)> + 'a {
    let changed = changes.local_endpoints.iter();
    let of_kind = changed.filter(move |address| desired.local_endpoints.contains_key(*address) == there);
    of_kind.map(|address| (Set::Hairpin, Element::Twice(*address)))
}

/// Sorts elements by set, with room for `expected` in each.
pub(super) fn by_set<'a>(all: impl Iterator<Item = &'a (Set, Element)>, expected: usize) -> Elements<'a> {
    let mut sorted = Elements::new();
    for (set, element) in all {
        sorted.entry(*set).or_insert_with(|| Vec::with_capacity(expected)).push(element);
    }
    sorted
}

/// The better way that this kernel has.
///
/// # Errors
///
/// When it has neither, by the names of the modules, or without permission.
pub(super) fn open() -> Result<Box<dyn Firewall>, SyncError> {
    match Modern::open() {
        Ok(modern) => Ok(Box::new(modern)),
        Err(SyncError::Missing(what)) => {
            tracing::info!(missing = what, "IPVS masquerades by the tables of iptables");
            Ok(Box::new(Legacy::open()?))
        }
        Err(error) => Err(error),
    }
}

/// Netfilter, one way or the other.
pub(super) trait Firewall: Send + std::fmt::Debug {
    /// Makes rules and sets so. Packets see the old elements or the new ones, never a part.
    fn replace(&mut self, rules: &Rules, elements: &Elements<'_>) -> Result<(), SyncError>;

    /// Adds and removes elements.
    fn change(&mut self, added: &[(Set, Element)], removed: &[(Set, Element)]) -> Result<(), SyncError>;

    /// Whether rules and sets are still in force.
    fn is_in_force(&mut self) -> Result<bool, SyncError>;

    /// Whether anything of it is there.
    fn is_there(&mut self) -> Result<bool, SyncError>;

    /// Takes everything away.
    fn cleanup(&mut self) -> Result<(), SyncError>;
}
