//! Where one pod is in the queue, told for people.

use super::{Entry, PARKED_LIMIT, Place};
use crate::framework::{Wakeup, WakeupSet};
use jiff::Timestamp;

/// The place of a pod in the queue, and its history there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `active`, `backoff`, `unschedulable`, `gated` as in `scheduler_pending_pods`, or `in flight`.
    pub queue: &'static str,
    /// When it is tried again although nothing changes.
    pub next_try: Option<Timestamp>,
    /// The changes it waits for, as in `scheduler_queue_incoming_pods_total`.
    pub waits_for: Vec<&'static str>,
    /// The plugins that refused it last.
    pub rejectors: Vec<&'static str>,
    /// Tries so far.
    pub attempts: u32,
    /// Refusals so far.
    pub refused: u32,
    /// When it could first be tried.
    pub ready_since: Option<Timestamp>,
    /// When it was last tried, if it was.
    pub last_attempt: Option<Timestamp>,
}

impl Standing {
    pub(super) fn of(entry: &Entry) -> Self {
        let labels = |wakes: WakeupSet| wakes.iter().map(Wakeup::label).collect();
        let (queue, next_try, waits_for) = match entry.place {
            Place::InFlight => ("in flight", None, Vec::new()),
            Place::Active(_) => ("active", None, Vec::new()),
            Place::Backoff { until, .. } => ("backoff", Some(until), Vec::new()),
            Place::Parked { since, wakes } => ("unschedulable", Some(since + PARKED_LIMIT), labels(wakes)),
            Place::Gated { wakes } => ("gated", None, labels(wakes)),
        };
        Self {
            queue,
            next_try,
            waits_for,
            rejectors: entry.rejectors.clone(),
            attempts: entry.history.attempts,
            refused: entry.refused,
            ready_since: entry.history.ready_since,
            last_attempt: (entry.history.attempts > 0).then_some(entry.history.last_attempt),
        }
    }
}
