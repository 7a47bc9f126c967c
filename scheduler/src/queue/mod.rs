//! The queue: every pod that waits for a node, in exactly one place, and why it waits there.
//!
//! Active (ready, by rank), back-off (ready at a time), parked (refused; waits for a change that may help, at most
//! [`Backoff::parked`]), gated (not to be tried at all), in flight (taken by a cycle or being bound). Owned by the
//! scheduler's one task; the time is passed in. Writes nothing. Upstream: `backend/queue`.

mod backoff;
mod blame;
mod class;
mod standing;
mod waiting;

pub use backoff::Backoff;
pub use blame::Blamed;
pub use standing::Standing;

use crate::decisions::{Moved, Trail};
use crate::framework::{Change, Offer, Profiles, Rank, Subject, Wakeup, WakeupSet};
use crate::metrics::{PluginMetrics, Watch};
use crate::pod::{PodInfo, Uid};
use blame::Blame;
use jiff::{SignedDuration, Timestamp};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use waiting::Waiting;

/// How long a pod is parked when nothing else is configured (upstream: 5 min).
pub const PARKED_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// The event of a change of the pod itself that no plugin asks for.
const POD_UPDATED: &str = "UnschedulablePodUpdate";

/// The queue. See the file header.
#[derive(Debug)]
pub struct Queue {
    profiles: Arc<Profiles>,
    backoff: Backoff,
    tickets: FxHashMap<Uid, Ticket>,
    entries: FxHashMap<Ticket, Entry>,
    next_ticket: u64,
    active: BTreeSet<(Rank, Ticket)>,
    /// Waiting for a time after a refusal: may be taken early when nothing is active.
    backing_off: BTreeSet<(Timestamp, Rank, Ticket)>,
    /// Waiting for a time after an error (say a failed bind): never early.
    erring: BTreeSet<(Timestamp, Rank, Ticket)>,
    waiting: Waiting,
    gated: usize,
    /// Changes so far, and how many there were at the last one of each kind.
    changes: u64,
    last_change: [u64; Wakeup::ALL.len()],
    /// How often a plugin was asked whether a change helps.
    asked: u64,
    moves: BTreeMap<Move, u64>,
    blame: Blame,
    /// Where the time is noted that plugins take to answer.
    hints: Option<Arc<PluginMetrics>>,
    trail: Trail,
}

/// The order of arrival of pods: what breaks ties, and the short name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// (queue, event) labels of `scheduler_queue_incoming_pods_total`.
pub type Move = (&'static str, &'static str);

/// How many pods are in each part, as in `scheduler_pending_pods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be tried.
    pub active: usize,
    /// Waiting for a time.
    pub backoff: usize,
    /// Waiting for a change.
    pub unschedulable: usize,
    /// Not to be tried yet.
    pub gated: usize,
}

/// What the queue remembers of a pod that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Tries so far, the current one included.
    pub attempts: u32,
    /// When it could first be tried: it came, or its gates were gone.
    pub ready_since: Option<Timestamp>,
    /// When it was last taken to be tried.
    pub last_attempt: Timestamp,
    /// It was tried without a change that helps: it had waited long enough.
    pub flushed: bool,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    /// When it came or last failed: its rank and back-off count from here.
    queued: Timestamp,
    history: History,
    /// Refusals so far.
    refused: u32,
    /// Errors in a row.
    errors: u32,
    rejectors: Vec<&'static str>,
    /// Those of them for which it is counted.
    blamed: Vec<&'static str>,
    /// What had changed when it was taken.
    taken: u64,
    /// What changed of the pod itself since.
    changed: WakeupSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Taken by a cycle; also a new entry before it is put anywhere.
    InFlight,
    Active(Rank),
    Backoff {
        until: Timestamp,
        rank: Rank,
        error: bool,
    },
    Parked {
        since: Timestamp,
        wakes: WakeupSet,
    },
    Gated {
        wakes: WakeupSet,
    },
}

impl Queue {
    /// An empty queue.
    pub fn new(profiles: Arc<Profiles>, backoff: Backoff) -> Self {
        Self {
            profiles,
            backoff,
            tickets: FxHashMap::default(),
            entries: FxHashMap::default(),
            next_ticket: 0,
            active: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            erring: BTreeSet::new(),
            waiting: Waiting::default(),
            gated: 0,
            changes: 0,
            last_change: [0; Wakeup::ALL.len()],
            asked: 0,
            moves: BTreeMap::new(),
            blame: Blame::default(),
            hints: None,
            trail: Trail::default(),
        }
    }

    /// The same, noting how long plugins take to say whether a change helps.
    #[must_use]
    pub fn measured(self, hints: PluginMetrics) -> Self {
        Self { hints: Some(Arc::new(hints)), ..self }
    }

    /// A pod without a node was seen, for the first time or changed.
    pub fn upsert(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        match self.tickets.get(&pod.uid) {
            None => self.add(pod, now),
            Some(&ticket) => self.update(ticket, pod, now),
        }
    }

    /// The pod is gone, or has a node.
    pub fn remove(&mut self, uid: &Uid) -> Option<History> {
        let ticket = self.tickets.remove(uid)?;
        self.unindex(ticket);
        let entry = self.entries.remove(&ticket)?;
        self.blame.count(entry.pod.scheduler_name(), &entry.blamed, -1);
        Some(entry.history)
    }

    /// Takes the next pod to try. It stays known, in flight, until [`Self::remove`], [`Self::refused`] or
    /// [`Self::failed`] says how it ended.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Arc<PodInfo>, History)> {
        self.flush(now);
        let ticket = match self.active.first() {
            Some((_, ticket)) => *ticket,
            // Nothing else to do: no need to let it wait.
            None => {
                let (.., ticket) = *self.backing_off.first()?;
                *self.moves.entry(("active", "PopFromBackoffQ")).or_default() += 1;
                ticket
            }
        };
        self.put(ticket, Place::InFlight, "Pop", now);
        let entry = self.entries.get_mut(&ticket)?;
        entry.history.attempts += 1;
        entry.history.last_attempt = now;
        (entry.taken, entry.changed) = (self.changes, WakeupSet::default());
        Some((entry.pod.clone(), entry.history))
    }

    /// No node fitted: the pod waits for a change that its `rejectors` asked for. Answers its history.
    pub fn refused(&mut self, uid: &Uid, rejectors: Vec<&'static str>, now: Timestamp) -> Option<History> {
        let &ticket = self.tickets.get(uid)?;
        let entry = self.entries.get_mut(&ticket)?;
        let history = entry.history;
        (entry.queued, entry.errors) = (now, 0);
        entry.refused += 1;
        entry.history.flushed = false;
        entry.rejectors = rejectors;
        let wakes = self.profiles.wakeups(&entry.pod, &entry.rejectors);
        let missed = |kind: Wakeup| self.last_change[kind as usize] > entry.taken;
        if entry.changed.meets(wakes) || wakes.iter().any(missed) {
            // What it waits for came while it was being tried (upstream's in-flight events).
            self.enqueue(ticket, "ScheduleAttemptFailure", now);
        } else {
            self.put(ticket, Place::Parked { since: now, wakes }, "ScheduleAttemptFailure", now);
        }
        Some(history)
    }

    /// The pod that was taken is not to be tried yet: a gate holds it back until a change that the gate wants to know
    /// about. That was no attempt.
    pub fn set_aside(&mut self, uid: &Uid, gate: &'static str, now: Timestamp) {
        let Some(&ticket) = self.tickets.get(uid) else { return };
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        entry.history.attempts -= 1;
        entry.rejectors = vec![gate];
        let wakes = self.profiles.wakeups(&entry.pod, &entry.rejectors);
        self.put(ticket, Place::Gated { wakes }, "Gated", now);
    }

    /// Something broke on the way: the pod is tried again after a back-off, whatever changes meanwhile. Answers its
    /// history; `None` when it waits no more.
    pub fn failed(&mut self, uid: &Uid, now: Timestamp) -> Option<History> {
        let &ticket = self.tickets.get(uid)?;
        let entry = self.entries.get_mut(&ticket)?;
        entry.queued = now;
        entry.errors += 1;
        entry.rejectors.clear();
        let history = entry.history;
        self.enqueue(ticket, "ScheduleAttemptFailure", now);
        Some(history)
    }

    /// Something changed: moves on all pods that it may help. Asks once for each class of pods that it may concern.
    pub fn wake(&mut self, change: &Change<'_>, now: Timestamp) {
        match (self.hints.clone(), change.kinds.iter().next()) {
            (Some(hints), Some(kind)) => hints.event(kind.label(), || self.move_on(change, now)),
            _ => self.move_on(change, now),
        }
    }

    fn move_on(&mut self, change: &Change<'_>, now: Timestamp) {
        let offer = Offer::of(change);
        for kind in change.kinds.iter() {
            self.changes += 1;
            self.last_change[kind as usize] = self.changes;
            for id in self.waiting.concerned(kind, &offer) {
                let Some(class) = self.waiting.class(id) else { continue };
                self.asked += 1;
                if !self.profiles.helps(&class.pod, &class.rejectors, change, self.hints.as_deref()) {
                    continue;
                }
                if !self.trail.has_cause() {
                    self.trail.begin_cause(&change.subject);
                }
                for ticket in class.members.clone() {
                    self.enqueue(ticket, kind.label(), now);
                }
            }
        }
        self.trail.end_cause();
    }

    /// Moves on what has waited long enough.
    pub fn flush(&mut self, now: Timestamp) {
        while let Some(ticket) = due(&self.erring, now).or_else(|| due(&self.backing_off, now)) {
            self.activate(ticket, "BackoffComplete", now);
        }
        while let Some((since, ticket)) = self.waiting.longest() {
            if now.duration_since(since) < self.backoff.parked {
                break;
            }
            if let Some(entry) = self.entries.get_mut(&ticket) {
                entry.history.flushed = true;
            }
            self.enqueue(ticket, "UnschedulableTimeout", now);
        }
    }

    /// When [`Self::pop`] may have something although nothing changes; `None`: only a change can help.
    pub fn next_due(&self) -> Option<Timestamp> {
        let backoff = self.erring.first().map(|(until, ..)| *until);
        let parked = self.waiting.longest().map(|(since, _)| since + self.backoff.parked);
        backoff.into_iter().chain(parked).min()
    }

    /// True when [`Self::pop`] has something right now.
    pub fn is_ready(&self) -> bool {
        !self.active.is_empty() || !self.backing_off.is_empty()
    }

    /// The pod with this uid, if it waits here or is in flight.
    pub fn get(&self, uid: &Uid) -> Option<&Arc<PodInfo>> {
        self.entries.get(self.tickets.get(uid)?).map(|entry| &entry.pod)
    }

    /// The pod with this uid, if it is in flight.
    pub fn in_flight(&self, uid: &Uid) -> Option<&Arc<PodInfo>> {
        let entry = self.entries.get(self.tickets.get(uid)?)?;
        (entry.place == Place::InFlight).then_some(&entry.pod)
    }

    /// The pod of that name, if it waits here or is in flight. Walks all of them.
    pub fn find(&self, namespace: &str, name: &str) -> Option<&Arc<PodInfo>> {
        let mut pods = self.entries.values().map(|entry| &entry.pod);
        pods.find(|pod| pod.name() == name && pod.namespace() == namespace)
    }

    /// The pods that wait for a change.
    #[cfg(test)]
    pub(crate) fn parked(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        let parked = self.entries.values().filter(|entry| matches!(entry.place, Place::Parked { .. }));
        parked.map(|entry| &entry.pod)
    }

    /// How often a plugin was asked whether a change helps.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// Where a pod is and how it got there.
    pub fn standing(&self, uid: &Uid) -> Option<Standing> {
        self.entries.get(self.tickets.get(uid)?).map(Standing::of)
    }

    /// The last moves of a pod, the oldest first.
    pub fn moves_of(&self, uid: &Uid) -> Vec<Moved> {
        self.trail.of(uid)
    }

    /// How many pods wait where.
    pub fn counts(&self) -> Counts {
        Counts {
            active: self.active.len(),
            backoff: self.backing_off.len() + self.erring.len(),
            unschedulable: self.waiting.parked(),
            gated: self.gated,
        }
    }

    /// How often pods moved where and why since this was last asked.
    pub fn take_moves(&mut self) -> BTreeMap<Move, u64> {
        std::mem::take(&mut self.moves)
    }

    /// How many pods wait because of which plugin, if that has changed since this was last asked.
    pub fn take_blame(&mut self) -> Vec<Blamed> {
        self.blame.take()
    }

    fn add(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        if self.profiles.of(&pod).is_none() {
            return; // Another scheduler's.
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(pod.uid.clone(), ticket);
        let history = History { attempts: 0, ready_since: None, last_attempt: now, flushed: false };
        let (place, rejectors) = (Place::InFlight, Vec::new());
        self.entries.insert(
            ticket,
            Entry {
                pod,
                place,
                queued: now,
                history,
                refused: 0,
                errors: 0,
                rejectors,
                blamed: Vec::new(),
                taken: 0,
                changed: WakeupSet::default(),
            },
        );
        self.enqueue(ticket, Wakeup::PodAdded.label(), now);
    }

    fn update(&mut self, ticket: Ticket, pod: Arc<PodInfo>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let before = std::mem::replace(&mut entry.pod, pod);
        let change = Change::several(entry.pod.changes_since(&before), Subject::Own(&before));
        let event = change.kinds.iter().next().map_or(POD_UPDATED, Wakeup::label);
        match entry.place {
            Place::Parked { .. }
                if self.profiles.helps(&entry.pod, &entry.rejectors, &change, self.hints.as_deref()) =>
            {
                self.enqueue(ticket, event, now);
            }
            Place::Gated { .. } => self.enqueue(ticket, event, now),
            Place::Active(_) => self.activate(ticket, event, now),
            // Filed anew: it may lack something else now.
            place @ Place::Parked { .. } => self.put(ticket, place, event, now),
            Place::InFlight => entry.changed = entry.changed.union(change.kinds),
            Place::Backoff { .. } => {}
        }
    }

    /// Gate, back-off or active, whichever it has to be now.
    fn enqueue(&mut self, ticket: Ticket, event: &'static str, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let Some(profile) = self.profiles.of(&entry.pod) else { return };
        let watch = self.hints.as_deref().map_or(Watch::OFF, |hints| hints.cycle(&profile.scheduler_name));
        if let Some((gate, _)) = profile.gate(&entry.pod, watch) {
            entry.rejectors = vec![gate];
            let wakes = self.profiles.wakeups(&entry.pod, &entry.rejectors);
            return self.put(ticket, Place::Gated { wakes }, event, now);
        }
        entry.history.ready_since.get_or_insert(now);
        let error = entry.errors > 0;
        let until = self.backoff.until(entry.queued, if error { entry.errors } else { entry.refused });
        let rank = profile.rank(&entry.pod, entry.queued);
        let place = if until > now { Place::Backoff { until, rank, error } } else { Place::Active(rank) };
        self.put(ticket, place, event, now);
    }

    fn activate(&mut self, ticket: Ticket, event: &'static str, now: Timestamp) {
        let Some(entry) = self.entries.get(&ticket) else { return };
        let Some(profile) = self.profiles.of(&entry.pod) else { return };
        let rank = profile.rank(&entry.pod, entry.queued);
        self.put(ticket, Place::Active(rank), event, now);
    }

    /// The only function that changes a place: takes the entry out of one index and puts it into the other.
    fn put(&mut self, ticket: Ticket, place: Place, event: &'static str, now: Timestamp) {
        let before = self.unindex(ticket);
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        entry.place = place;
        let blamed = if place == Place::InFlight { &[][..] } else { &entry.rejectors };
        if entry.blamed != blamed {
            self.blame.count(entry.pod.scheduler_name(), &entry.blamed, -1);
            self.blame.count(entry.pod.scheduler_name(), blamed, 1);
            entry.blamed = blamed.to_vec();
        }
        let queue = match place {
            Place::InFlight => return,
            Place::Active(rank) => {
                self.active.insert((rank, ticket));
                "active"
            }
            Place::Backoff { until, rank, error } => {
                let set = if error { &mut self.erring } else { &mut self.backing_off };
                set.insert((until, rank, ticket));
                "backoff"
            }
            Place::Parked { since, wakes } => {
                self.waiting.park(ticket, since);
                self.waiting.index(ticket, &entry.pod, &entry.rejectors, wakes, &self.profiles);
                "unschedulable"
            }
            Place::Gated { wakes } => {
                self.gated += 1;
                self.waiting.index(ticket, &entry.pod, &entry.rejectors, wakes, &self.profiles);
                "gated"
            }
        };
        if before.is_none_or(|before| std::mem::discriminant(&before) != std::mem::discriminant(&place)) {
            // Upstream keeps gated pods with the unschedulable ones, and counts them so.
            let counted = if queue == "gated" { "unschedulable" } else { queue };
            *self.moves.entry((counted, event)).or_default() += 1;
            let until = if let Place::Backoff { until, .. } = place { Some(until) } else { None };
            self.trail.moved(&entry.pod.uid, now, (queue, event), until);
        }
    }

    fn unindex(&mut self, ticket: Ticket) -> Option<Place> {
        let place = self.entries.get(&ticket)?.place;
        match place {
            Place::InFlight => {}
            Place::Active(rank) => {
                self.active.remove(&(rank, ticket));
            }
            Place::Backoff { until, rank, error } => {
                let set = if error { &mut self.erring } else { &mut self.backing_off };
                set.remove(&(until, rank, ticket));
            }
            Place::Parked { since, .. } => {
                self.waiting.unpark(ticket, since);
                self.waiting.unindex(ticket);
            }
            Place::Gated { .. } => {
                self.gated -= 1;
                self.waiting.unindex(ticket);
            }
        }
        Some(place)
    }
}

fn due(set: &BTreeSet<(Timestamp, Rank, Ticket)>, now: Timestamp) -> Option<Ticket> {
    set.first().filter(|(until, ..)| *until <= now).map(|(_, _, ticket)| *ticket)
}

#[cfg(test)]
mod tests;
