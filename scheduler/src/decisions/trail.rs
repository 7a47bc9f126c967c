//! The way of each pod through the queue: where it was put, when, and what woke it.
//!
//! Written by the queue alone, one short entry a move. The first move of a pod that may be tried at once is left out:
//! its decision says since when the pod was ready, and in a flood of new pods nothing else would fit.

use super::ring::{Ring, Weighs};
use crate::framework::{Subject, Wakeup};
use crate::pod::Uid;
use jiff::Timestamp;
use std::sync::Arc;

/// Moves remembered, of all pods together.
const MOVES_LIMIT: usize = 50_000;
/// Bytes they may take.
const MOVES_BYTES: usize = 6 << 20;

/// A pod was put somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The pod.
    pub uid: Uid,
    /// When.
    pub at: Timestamp,
    /// Where to, as in `scheduler_pending_pods`.
    pub queue: &'static str,
    /// Why, as in `scheduler_queue_incoming_pods_total`.
    pub event: &'static str,
    /// Until when it waits there, if a time is set.
    pub until: Option<Timestamp>,
    /// The object whose change did it: `node n1`.
    pub by: Option<Arc<str>>,
}

impl Weighs for Moved {
    fn bytes_outside(&self) -> usize {
        0 // The texts are shared with others that live as long.
    }
}

/// The last moves of all pods.
#[derive(Debug)]
pub struct Trail {
    moves: Ring<Moved>,
    cause: Option<Arc<str>>,
}

impl Default for Trail {
    fn default() -> Self {
        Self { moves: Ring::new(MOVES_LIMIT, MOVES_BYTES), cause: None }
    }
}

impl Trail {
    /// The moves until [`Self::end_cause`] are due to a change of this object.
    pub fn begin_cause(&mut self, subject: &Subject<'_>) {
        self.cause = match subject {
            Subject::Node { now, .. } => Some(format!("node {}", now.name).into()),
            Subject::Pod(pod) => Some(format!("pod {pod}").into()),
            Subject::Related(object) => Some(object.to_string().into()),
            Subject::Own(_) | Subject::Other => None,
        };
    }

    /// See [`Self::begin_cause`].
    pub fn end_cause(&mut self) {
        self.cause = None;
    }

    /// True between [`Self::begin_cause`] and [`Self::end_cause`], if there is an object to name.
    pub fn has_cause(&self) -> bool {
        self.cause.is_some()
    }

    /// Notes a move.
    pub fn moved(
        &mut self,
        uid: &Uid,
        at: Timestamp,
        (queue, event): (&'static str, &'static str),
        until: Option<Timestamp>,
    ) {
        if (queue, event) != ("active", Wakeup::PodAdded.label()) {
            self.moves.push(Moved { uid: uid.clone(), at, queue, event, until, by: self.cause.clone() });
        }
    }

    /// The moves of one pod, the oldest first.
    pub fn of(&self, uid: &Uid) -> Vec<Moved> {
        self.moves.iter().filter(|moved| moved.uid == *uid).cloned().collect()
    }
}
