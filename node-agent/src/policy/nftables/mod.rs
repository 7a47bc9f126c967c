//! Network policies in nf_tables.
//!
//! Promise: a sync costs what changed. Everything changes in one transaction: a packet sees the policies before or
//! those after, and a transaction that the kernel refuses changes nothing. Writes the tables `ip steersman-policy` and
//! `ip6 steersman-policy` and no others.

mod elements;
mod layout;

use std::collections::BTreeMap;

use self::layout::TABLE;
use super::model::{Changes, Plane};
use crate::addresses::Family;
use crate::netlink::SyncError;
use crate::nftables::{Chain, Edits, Element, Kernel};

/// Makes the kernel do what a plane says.
#[derive(Debug)]
pub struct Enforcer {
    kernel: Kernel,
    /// Whether the kernel has what the last sync made, as far as we know.
    in_step: bool,
}

/// How many elements, chains and sets a sync added and removed. Both 0 when the kernel was right already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub added: usize,
    pub removed: usize,
}

/// Elements by the set they belong to.
type Elements = BTreeMap<&'static str, Vec<Element>>;

impl Enforcer {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Without permission, or when the kernel has no nf_tables.
    pub fn open() -> Result<Self, SyncError> {
        Ok(Self { kernel: Kernel::open()?, in_step: false })
    }

    /// Makes the kernel do what `plane` says. `changes` tells what can differ since the last sync that succeeded; if
    /// everything can, the kernel's state is read and compared. Only the difference is sent.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. What was in force before stays in force, and the next sync compares everything.
    pub fn sync(&mut self, plane: &Plane, changes: &Changes) -> Result<Report, SyncError> {
        let known = std::mem::replace(&mut self.in_step, false) && !changes.everything;
        let edits = match known {
            true => {
                self.kernel.families().iter().map(|family| (*family, some(*family, plane, changes))).collect()
            }
            false => self.kernel.compare(&TABLE, |family| all(family, plane))?,
        };
        self.kernel.commit(&TABLE, &edits)?;
        self.in_step = true;
        let sizes = edits.iter().map(|(_, edits)| edits.sizes());
        Ok(sizes.fold(Report::default(), |sum, (added, removed)| Report {
            added: sum.added + added,
            removed: sum.removed + removed,
        }))
    }

    /// Whether somebody else may have changed the kernel's state since the last sync. Cheap.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub fn is_disturbed(&mut self) -> Result<bool, SyncError> {
        self.kernel.is_disturbed()
    }

    /// Takes everything away: every pod is reached by everybody.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn cleanup(&mut self) -> Result<(), SyncError> {
        self.in_step = false;
        self.kernel.remove(&TABLE)
    }
}

/// The whole of a plane in a family: chains, callees first, and elements.
fn all(family: Family, plane: &Plane) -> (Vec<Chain>, Elements) {
    let mut chains = layout::fixed_chains(family);
    chains.extend(plane.isolations.values().map(|(isolation, _)| layout::chain(family, isolation)));
    let mut wanted = Elements::new();
    for (set, element) in plane.entries.keys().filter_map(|entry| elements::of_entry(family, entry)) {
        wanted.entry(set).or_default().push(element);
    }
    let isolated = plane.isolated.iter().filter(|((_, address), _)| Family::of(address) == family);
    for ((direction, address), id) in isolated {
        let set = wanted.entry(layout::isolated(*direction)).or_default();
        set.push(elements::of_isolated(*direction, *address, *id));
    }
    (chains, wanted)
}

/// What is another than before.
fn some(family: Family, plane: &Plane, changes: &Changes) -> Edits {
    let mut edits = Edits::default();
    for (entry, was) in &changes.entries {
        let is = plane.entries.contains_key(entry);
        if *was == is {
            continue;
        }
        if let Some((set, element)) = elements::of_entry(family, entry) {
            let (there, wanted) = if is { (vec![], vec![element]) } else { (vec![element], vec![]) };
            edits.elements(set, there, wanted);
        }
    }
    for ((direction, address), was) in changes.isolated.iter().filter(|((_, at), _)| Family::of(at) == family)
    {
        let is = plane.isolated.get(&(*direction, *address));
        let element = |id: Option<&_>| -> Vec<Element> {
            id.map(|id| elements::of_isolated(*direction, *address, *id)).into_iter().collect()
        };
        edits.elements(layout::isolated(*direction), element(was.as_ref()), element(is));
    }
    for (id, was) in &changes.isolations {
        match (was, plane.isolations.get(id)) {
            (None, Some((isolation, _))) => edits.chain_appears(layout::chain(family, isolation)),
            (Some(was), None) => edits.chain_goes(layout::chain_name(was.direction, *id)),
            _ => {}
        }
    }
    edits
}
