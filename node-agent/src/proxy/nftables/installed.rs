//! What we made last, in the model's words, and how it changes.
//!
//! Promise: pure; a change costs what changed. The policies are shared with the model, so that this takes little
//! memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::elements;
use super::layout::{self, Shape};
use crate::nftables::{Chain, Edits, Element};
use crate::proxy::model::{Changes, DataPlane, Family, Frontend, Policy, Settings};

/// Elements by the set they belong to.
pub(crate) type Elements = BTreeMap<&'static str, Vec<Element>>;

#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) settings: Settings,
    frontends: FxHashMap<Frontend, Arc<Policy>>,
    cluster_addresses: FxHashSet<IpAddr>,
    local_endpoints: FxHashSet<IpAddr>,
    /// How many frontends lead to a chain, directly or through another.
    shapes: BTreeMap<(Family, Shape), usize>,
}

impl Installed {
    /// The whole of a plane, and all its elements.
    pub(crate) fn all(desired: &DataPlane) -> (Self, BTreeMap<Family, Elements>) {
        let mut wanted: BTreeMap<Family, Elements> = BTreeMap::new();
        let mut installed = Self {
            settings: desired.settings.clone(),
            frontends: desired.frontends.clone(),
            cluster_addresses: desired.cluster_addresses.keys().copied().collect(),
            local_endpoints: desired.local_endpoints.keys().copied().collect(),
            shapes: BTreeMap::new(),
        };
        for (frontend, policy) in &desired.frontends {
            collect(frontend, policy, wanted.entry(frontend.family()).or_default());
            installed.count(frontend, policy, 1);
        }
        let mut add = |set, address: &IpAddr, element| {
            wanted.entry(Family::of(address)).or_default().entry(set).or_default().push(element);
        };
        for address in &installed.cluster_addresses {
            add(layout::CLUSTER_ADDRESSES, address, elements::of_cluster_address(*address));
        }
        for address in &installed.local_endpoints {
            add(layout::HAIRPIN, address, elements::of_local_endpoint(*address));
        }
        (installed, wanted)
    }

    /// All chains of a family, callees first.
    pub(crate) fn chains(&self, family: Family) -> Vec<Chain> {
        let shapes: BTreeSet<Shape> =
            self.shapes.keys().filter(|(of, _)| *of == family).map(|(_, shape)| *shape).collect();
        let mut chains = layout::fixed_chains(family, &self.settings);
        let timeouts: BTreeSet<Duration> = shapes.iter().filter_map(|shape| shape.affinity).collect();
        chains.extend(timeouts.into_iter().map(|timeout| layout::remember_chain(family, timeout)));
        chains.extend(callees_first(shapes).iter().map(|shape| shape.chain(family, &self.settings)));
        chains
    }

    /// Those of the frontends whose clients are remembered.
    pub(crate) fn sticky(&self, frontends: &BTreeSet<Frontend>) -> BTreeSet<Frontend> {
        let is_sticky = |frontend: &&Frontend| {
            self.frontends.get(frontend).is_some_and(|policy| policy.affinity.is_some())
        };
        frontends.iter().filter(is_sticky).copied().collect()
    }

    /// Becomes `desired`, where `changes` says that it differs.
    pub(crate) fn change(&mut self, desired: &DataPlane, changes: &Changes) -> Vec<(Family, Edits)> {
        let mut edits: BTreeMap<Family, Edits> = BTreeMap::new();
        let mut before = BTreeMap::new();
        for frontend in &changes.frontends {
            let new = desired.frontends.get(frontend);
            let old = match new {
                Some(policy) => self.frontends.insert(*frontend, Arc::clone(policy)),
                None => self.frontends.remove(frontend),
            };
            if old.as_ref() == new {
                continue;
            }
            let (mut there, mut wanted) = (Elements::new(), Elements::new());
            if let Some(policy) = &old {
                collect(frontend, policy, &mut there);
                self.note(frontend, policy, -1, &mut before);
            }
            if let Some(policy) = new {
                collect(frontend, policy, &mut wanted);
                self.note(frontend, policy, 1, &mut before);
            }
            let edits = edits.entry(frontend.family()).or_default();
            let sets: BTreeSet<&'static str> = there.keys().chain(wanted.keys()).copied().collect();
            for set in sets {
                let (there, wanted) = (there.remove(set), wanted.remove(set));
                edits.elements(set, there.unwrap_or_default(), wanted.unwrap_or_default());
            }
        }
        for address in &changes.cluster_addresses {
            let wanted = desired.cluster_addresses.contains_key(address);
            let element = || elements::of_cluster_address(*address);
            toggle(
                &mut self.cluster_addresses,
                address,
                wanted,
                layout::CLUSTER_ADDRESSES,
                element,
                &mut edits,
            );
        }
        for address in &changes.local_endpoints {
            let wanted = desired.local_endpoints.contains_key(address);
            let element = || elements::of_local_endpoint(*address);
            toggle(&mut self.local_endpoints, address, wanted, layout::HAIRPIN, element, &mut edits);
        }
        self.chain_edits(before, &mut edits);
        edits.into_iter().collect()
    }

    /// Chains that got their first or lost their last user, compared with the counts `before`.
    fn chain_edits(&self, before: BTreeMap<(Family, Shape), usize>, edits: &mut BTreeMap<Family, Edits>) {
        for family in Family::BOTH {
            let (mut appear, mut go) = (BTreeSet::new(), BTreeSet::new());
            for ((_, shape), count) in before.iter().filter(|((of, _), _)| *of == family) {
                match (count, self.shapes.contains_key(&(family, *shape))) {
                    (0, true) => drop(appear.insert(*shape)),
                    (1.., false) => drop(go.insert(*shape)),
                    _ => {}
                }
            }
            if appear.is_empty() && go.is_empty() {
                continue;
            }
            let edits = edits.entry(family).or_default();
            let users = |shape: &Shape| self.shapes.get(&(family, *shape)).copied().unwrap_or(0);
            let users_before =
                |shape: &Shape| before.get(&(family, *shape)).copied().unwrap_or_else(|| users(shape));
            let known = || self.shapes.keys().chain(before.keys()).filter(|(of, _)| *of == family);
            let timeouts = |users: &dyn Fn(&Shape) -> usize| -> BTreeSet<Duration> {
                known()
                    .filter(|(_, shape)| users(shape) > 0)
                    .filter_map(|(_, shape)| shape.affinity)
                    .collect()
            };
            let (there, wanted) = (timeouts(&users_before), timeouts(&users));
            for timeout in wanted.difference(&there) {
                edits.chain_appears(layout::remember_chain(family, *timeout));
            }
            for timeout in there.difference(&wanted) {
                edits.chain_goes(layout::remember_name(*timeout));
            }
            for shape in callees_first(appear) {
                edits.chain_appears(shape.chain(family, &self.settings));
            }
            for shape in callees_first(go).into_iter().rev() {
                edits.chain_goes(shape.name());
            }
        }
    }

    /// Counts, and keeps what the counts were before the first change.
    fn note(
        &mut self,
        frontend: &Frontend,
        policy: &Policy,
        by: isize,
        before: &mut BTreeMap<(Family, Shape), usize>,
    ) {
        for key in users(frontend, policy) {
            before.entry(key).or_insert_with(|| self.shapes.get(&key).copied().unwrap_or(0));
        }
        self.count(frontend, policy, by);
    }

    fn count(&mut self, frontend: &Frontend, policy: &Policy, by: isize) {
        for key in users(frontend, policy) {
            let users = self.shapes.entry(key).or_insert(0);
            *users = users.saturating_add_signed(by);
            if *users == 0 {
                self.shapes.remove(&key);
            }
        }
    }
}

/// The chains that a frontend needs.
fn users(frontend: &Frontend, policy: &Policy) -> impl Iterator<Item = (Family, Shape)> {
    let shape = elements::shape(frontend, policy);
    let inside = shape.and_then(|shape| shape.inside());
    let family = frontend.family();
    shape.into_iter().chain(inside).map(move |shape| (family, shape))
}

fn callees_first(shapes: BTreeSet<Shape>) -> Vec<Shape> {
    let (callers, callees): (Vec<Shape>, Vec<Shape>) =
        shapes.into_iter().partition(|shape| shape.inside().is_some());
    [callees, callers].concat()
}

fn collect(frontend: &Frontend, policy: &Policy, into: &mut Elements) {
    elements::of_policy(frontend, policy, |set, element| into.entry(set).or_default().push(element));
}

/// Puts an address into a set or takes it out, if it is not so already.
fn toggle(
    there: &mut FxHashSet<IpAddr>,
    address: &IpAddr,
    wanted: bool,
    set: &'static str,
    element: impl Fn() -> Element,
    edits: &mut BTreeMap<Family, Edits>,
) {
    let changed = if wanted { there.insert(*address) } else { there.remove(address) };
    if changed {
        let elements = |yes: bool| if yes { vec![element()] } else { Vec::new() };
        edits.entry(Family::of(address)).or_default().elements(set, elements(!wanted), elements(wanted));
    }
}
