//! What IPVS cannot do by itself: masquerade, admit by source, drop, close ports, mark.
//!
//! Promise: two ways lead to the same: nf_tables, and where the kernel lacks that the old tables with ipsets. Both
//! have a fixed number of rules over the sets of `sets`.

use std::collections::BTreeMap;

use crate::proxy::SyncError;
use crate::proxy::model::PodDetection;

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
pub(super) type Elements = BTreeMap<Set, Vec<Element>>;

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
    fn replace(&mut self, rules: &Rules, elements: &Elements) -> Result<(), SyncError>;

    /// Adds and removes elements.
    fn change(&mut self, added: &[(Set, Element)], removed: &[(Set, Element)]) -> Result<(), SyncError>;

    /// Whether rules and sets are still in force.
    fn is_in_force(&mut self) -> Result<bool, SyncError>;

    /// Whether anything of it is there.
    fn is_there(&mut self) -> Result<bool, SyncError>;

    /// Takes everything away.
    fn cleanup(&mut self) -> Result<(), SyncError>;
}
