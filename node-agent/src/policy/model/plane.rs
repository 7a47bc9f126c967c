//! What is in force: which pods of this node are isolated, and what is allowed to them.
//!
//! Promise: everything is named by a hash of its content, so that two processes give the same thing the same name,
//! and counted by its users, so that it goes with the last of them.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use super::policy::Rules;
use crate::addresses::{Family, Protocol};

/// The name of something by its content. Of a hash that cannot be steered: who writes policies shall not be able to
/// give his group the name of another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 8]);

impl Id {
    pub(super) fn of(content: &impl fmt::Debug) -> Self {
        let whole = Sha256::digest(format!("{content:?}"));
        Self(*whole.first_chunk().expect("SHA-256 has 32 bytes"))
    }

    /// As it stands in the kernel's keys.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Of connections, as the pod sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// All that is allowed to a pod in one direction: what its policies allow together. Pods with the same policies share
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    pub id: Id,
    pub direction: Direction,
    pub rules: Rules,
}

impl Isolation {
    pub(super) fn new(direction: Direction, rules: Rules) -> Self {
        let id = Id::of(&(direction, rules.keys().collect::<Vec<_>>()));
        Self { id, direction, rules }
    }
}

/// A fact that rules look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// A pod of a group has this address.
    Member { group: Id, address: IpAddr },
    /// These addresses are of a block.
    Range { blocks: Id, first: IpAddr, last: IpAddr },
    /// This port is of a set.
    Port { ports: Id, protocol: Protocol, port: u16 },
    /// These ports are of a set.
    PortRange { ports: Id, protocol: Protocol, first: u16, last: u16 },
    /// The pod at this address gives this port a name.
    NamedPort { name: Id, address: IpAddr, protocol: Protocol, port: u16 },
    /// A pod that is isolated may reach itself, as it does through a Service.
    Loopback { address: IpAddr },
}

impl Entry {
    /// The family it belongs to; `None` for both.
    #[must_use]
    pub const fn family(&self) -> Option<Family> {
        match self {
            Self::Member { address, .. }
            | Self::Range { first: address, .. }
            | Self::NamedPort { address, .. }
            | Self::Loopback { address } => Some(Family::of(address)),
            Self::Port { .. } | Self::PortRange { .. } => None,
        }
    }
}

/// What a back end makes true.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    /// With the number of their users.
    pub entries: FxHashMap<Entry, usize>,
    /// The isolation of a pod's address; without one everything is allowed.
    pub isolated: FxHashMap<(Direction, IpAddr), Id>,
    /// With the number of addresses that they hold for.
    pub isolations: FxHashMap<Id, (Arc<Isolation>, usize)>,
}

/// What can differ since the last sync, with how it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything, also what the kernel has: look at all of it.
    pub everything: bool,
    pub entries: FxHashMap<Entry, bool>,
    pub isolated: FxHashMap<(Direction, IpAddr), Option<Id>>,
    pub isolations: FxHashMap<Id, Option<Arc<Isolation>>>,
}

impl Changes {
    /// Look at everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nothing can differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Plane {
    pub(super) fn add(&mut self, entry: Entry, changes: &mut Changes) {
        let users = self.entries.entry(entry).or_insert(0);
        changes.entries.entry(entry).or_insert(*users > 0);
        *users += 1;
    }

    pub(super) fn remove(&mut self, entry: Entry, changes: &mut Changes) {
        let Some(users) = self.entries.get_mut(&entry) else { return };
        changes.entries.entry(entry).or_insert(true);
        *users -= 1;
        if *users == 0 {
            self.entries.remove(&entry);
        }
    }

    /// Gives an address its isolation, or none.
    pub(super) fn isolate(
        &mut self,
        (direction, address): (Direction, IpAddr),
        by: Option<Id>,
        changes: &mut Changes,
    ) {
        let before = match by {
            Some(id) => self.isolated.insert((direction, address), id),
            None => self.isolated.remove(&(direction, address)),
        };
        changes.isolated.entry((direction, address)).or_insert(before);
    }

    /// One user more; true if it is the first.
    pub(super) fn acquire(&mut self, isolation: &Arc<Isolation>, changes: &mut Changes) -> bool {
        let (_, users) = self.isolations.entry(isolation.id).or_insert_with(|| (Arc::clone(isolation), 0));
        *users += 1;
        let first = *users == 1;
        if first {
            changes.isolations.entry(isolation.id).or_insert(None);
        }
        first
    }

    /// One user less; the isolation if it was the last.
    pub(super) fn release(&mut self, id: Id, changes: &mut Changes) -> Option<Arc<Isolation>> {
        let (isolation, users) = self.isolations.get_mut(&id)?;
        let isolation = Arc::clone(isolation);
        *users -= 1;
        if *users > 0 {
            return None;
        }
        changes.isolations.entry(id).or_insert_with(|| Some(Arc::clone(&isolation)));
        self.isolations.remove(&id);
        Some(isolation)
    }
}
