//! Who waits for what: the parked and gated pods by class, the classes by what they lack, and the parked pods by time.
//!
//! Pods that were refused for the same reasons and need the same are one class: what helps one helps all, so it is
//! asked once. Classes are found through what a change offers (`framework::lack`), so that a change asks only the
//! classes that it may concern, whatever waits besides.

use super::Ticket;
use super::class::{Class, ClassId, Posting};
use crate::framework::{Atom, Lack, Offer, Profiles, Space, Wakeup, WakeupSet};
use crate::pod::PodInfo;
use jiff::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    since: BTreeSet<(Timestamp, Ticket)>,
    class_of: FxHashMap<Ticket, ClassId>,
    classes: FxHashMap<ClassId, Class>,
    /// Classes with the same fingerprint: those that may be the same.
    alike: FxHashMap<u64, Vec<ClassId>>,
    next: u64,
    interest: BTreeMap<Wakeup, Interest>,
}

/// The classes that wait for one kind of change.
#[derive(Debug, Default)]
struct Interest {
    /// Those that have to be asked about each.
    always: BTreeSet<ClassId>,
    by_atom: FxHashMap<Atom, BTreeSet<ClassId>>,
    /// By the priority below which pods may be evicted, then by what they need.
    by_room: BTreeMap<i32, BTreeSet<(i64, ClassId)>>,
}

impl Waiting {
    pub(super) fn park(&mut self, ticket: Ticket, since: Timestamp) {
        self.since.insert((since, ticket));
    }

    pub(super) fn unpark(&mut self, ticket: Ticket, since: Timestamp) {
        self.since.remove(&(since, ticket));
    }

    /// Files a pod that `rejectors` refused under what it waits for.
    pub(super) fn index(
        &mut self,
        ticket: Ticket,
        pod: &Arc<PodInfo>,
        rejectors: &[&'static str],
        wakes: WakeupSet,
        profiles: &Profiles,
    ) {
        let fingerprint = Class::fingerprint(pod, rejectors);
        let alike = self.alike.entry(fingerprint).or_default();
        let known =
            alike.iter().find(|id| self.classes.get(id).is_some_and(|class| class.takes(pod, rejectors)));
        let id = match known {
            Some(id) => *id,
            None => {
                let id = ClassId(self.next);
                self.next += 1;
                alike.push(id);
                let postings = postings(pod, rejectors, wakes, profiles);
                for (kind, posting) in &postings {
                    self.interest.entry(*kind).or_default().add(posting, id);
                }
                self.classes.insert(id, Class::new(fingerprint, pod.clone(), rejectors.to_vec(), postings));
                id
            }
        };
        if let Some(class) = self.classes.get_mut(&id) {
            class.members.insert(ticket);
        }
        self.class_of.insert(ticket, id);
    }

    pub(super) fn unindex(&mut self, ticket: Ticket) {
        let Some(id) = self.class_of.remove(&ticket) else { return };
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.members.remove(&ticket);
        if !class.members.is_empty() {
            return;
        }
        let Some(class) = self.classes.remove(&id) else { return };
        for (kind, posting) in &class.postings {
            if let Some(interest) = self.interest.get_mut(kind) {
                interest.remove(posting, id);
            }
        }
        if let Some(alike) = self.alike.get_mut(&class.fingerprint) {
            alike.retain(|other| *other != id);
            if alike.is_empty() {
                self.alike.remove(&class.fingerprint);
            }
        }
    }

    /// The classes that a change of this kind may concern, in the order in which they arose.
    pub(super) fn concerned(&self, kind: Wakeup, offer: &Offer<'_>) -> Vec<ClassId> {
        self.interest.get(&kind).map_or_else(Vec::new, |interest| interest.met_by(offer))
    }

    pub(super) fn class(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(&id)
    }

    /// The pod that has been parked the longest.
    pub(super) fn longest(&self) -> Option<(Timestamp, Ticket)> {
        self.since.first().copied()
    }

    pub(super) fn parked(&self) -> usize {
        self.since.len()
    }
}

fn postings(
    pod: &PodInfo,
    rejectors: &[&'static str],
    wakes: WakeupSet,
    profiles: &Profiles,
) -> Vec<(Wakeup, Posting)> {
    let mut all = Vec::new();
    for kind in wakes.iter() {
        let lacks = profiles.lacks(pod, rejectors, kind);
        if lacks.contains(&Lack::Anything) {
            all.push((kind, Posting::Always));
            continue;
        }
        for lack in lacks {
            match lack {
                Lack::Anything => {}
                Lack::OneOf(atoms) => all.extend(atoms.into_iter().map(|atom| (kind, Posting::Atom(atom)))),
                Lack::Space(room) => all.push((kind, Posting::Space(room))),
            }
        }
    }
    all
}

impl Interest {
    fn add(&mut self, posting: &Posting, id: ClassId) {
        match posting {
            Posting::Always => self.always.insert(id),
            Posting::Atom(atom) => self.by_atom.entry(*atom).or_default().insert(id),
            Posting::Space(room) => {
                self.by_room.entry(room.priority).or_default().insert((room.milli_cpu, id))
            }
        };
    }

    fn remove(&mut self, posting: &Posting, id: ClassId) {
        match posting {
            Posting::Always => {
                self.always.remove(&id);
            }
            Posting::Atom(atom) => {
                if let Some(ids) = self.by_atom.get_mut(atom) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_atom.remove(atom);
                    }
                }
            }
            Posting::Space(room) => {
                if let Some(ids) = self.by_room.get_mut(&room.priority) {
                    ids.remove(&(room.milli_cpu, id));
                    if ids.is_empty() {
                        self.by_room.remove(&room.priority);
                    }
                }
            }
        }
    }

    fn met_by(&self, offer: &Offer<'_>) -> Vec<ClassId> {
        let mut met = self.always.clone();
        match &offer.atoms {
            None => met.extend(self.by_atom.values().flatten()),
            Some(atoms) => {
                met.extend(atoms.iter().filter_map(|atom| self.by_atom.get(atom)).flatten());
            }
        }
        for (priority, ids) in &self.by_room {
            let room = offer.node.map_or(i64::MAX, |node| Space::on(node, *priority));
            met.extend(ids.range(..=(room, ClassId::LAST)).map(|(_, id)| id));
        }
        met.into_iter().collect()
    }
}
