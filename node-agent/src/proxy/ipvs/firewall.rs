//! What IPVS cannot do by itself: masquerade, admit by source, drop, close ports, mark.
//!
//! Promise: two ways lead to the same: nf_tables, and where the kernel lacks that the old tables with ipsets. Both
//! have a fixed number of rules over the sets of `sets`.

use std::collections::BTreeMap;

use crate::proxy::SyncError;
use crate::proxy::model::PodDetection;

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
pub(super) type Elements = BTreeMap<Set, Vec<Element>>;

/// Netfilter, one way or the other.
pub(super) trait Firewall: Send + std::fmt::Debug {
    /// Makes rules and sets so. Packets see the old elements or the new ones, never a part.
    fn replace(&mut self, rules: &Rules, elements: &Elements) -> Result<(), SyncError>;

    /// Adds and removes elements.
    fn change(&mut self, added: &[(Set, Element)], removed: &[(Set, Element)]) -> Result<(), SyncError>;

    /// Whether rules and sets are still in force.
    fn is_in_force(&mut self) -> Result<bool, SyncError>;

    /// Takes everything away.
    fn cleanup(&mut self) -> Result<(), SyncError>;
}
