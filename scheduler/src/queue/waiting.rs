//! Who waits for what: an index from each kind of change to the pods that wait for it, and from the time of the
//! refusal to the pod, so that a change looks only at pods it concerns.

use super::Ticket;
use crate::framework::{Wakeup, WakeupSet};
use jiff::Timestamp;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Waiting {
    since: BTreeSet<(Timestamp, Ticket)>,
    by_kind: [BTreeSet<Ticket>; Wakeup::ALL.len()],
}

impl Default for Waiting {
    fn default() -> Self {
        Self { since: BTreeSet::new(), by_kind: std::array::from_fn(|_| BTreeSet::new()) }
    }
}

impl Waiting {
    pub(super) fn park(&mut self, ticket: Ticket, since: Timestamp, wakes: WakeupSet) {
        self.since.insert((since, ticket));
        self.index(ticket, wakes);
    }

    pub(super) fn unpark(&mut self, ticket: Ticket, since: Timestamp, wakes: WakeupSet) {
        self.since.remove(&(since, ticket));
        self.unindex(ticket, wakes);
    }

    pub(super) fn index(&mut self, ticket: Ticket, wakes: WakeupSet) {
        for kind in wakes.iter() {
            self.by_kind[kind as usize].insert(ticket);
        }
    }

    pub(super) fn unindex(&mut self, ticket: Ticket, wakes: WakeupSet) {
        for kind in wakes.iter() {
            self.by_kind[kind as usize].remove(&ticket);
        }
    }

    /// Those who wait for this kind, in order of arrival.
    pub(super) fn for_kind(&self, kind: Wakeup) -> Vec<Ticket> {
        self.by_kind[kind as usize].iter().copied().collect()
    }

    /// The pod that has been parked the longest.
    pub(super) fn longest(&self) -> Option<(Timestamp, Ticket)> {
        self.since.first().copied()
    }

    pub(super) fn parked(&self) -> usize {
        self.since.len()
    }
}
