//! What readers and watchers see: the newest durable state, the recent log, and how far back one may look.
//!
//! Promise: state, history and revision change together, and only by events that are durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event::Event;
use super::history::{History, HistoryLimits};
use super::record::Revision;
use super::snapshot::Snapshot;

/// How long an old revision can be listed (`limit`/`continue`, `resourceVersionMatch=Exact`). Upstream compacts etcd
/// every five minutes, and its conformance test for continue tokens waits for that.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(5 * 60);
/// Snapshots kept for lists that are read page by page.
pub const KEPT_SNAPSHOTS: usize = 32;
/// How finely ages of revisions are known.
const MARK_EVERY: Duration = Duration::from_secs(15);

/// Everything readers share; behind one lock, which is never held while waiting.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) current: Snapshot,
    pub(super) history: History,
    /// When revisions were reached, oldest first; the first may be older than [`SNAPSHOT_AGE`], no other.
    marks: VecDeque<(Instant, Revision)>,
    kept: VecDeque<(Instant, Snapshot)>,
}

/// Why there is no snapshot of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSnapshot {
    /// It was compacted away; the answer to a client is 410 with a fresh continue token.
    #[error("the revision is too old, the oldest that can be listed is {oldest}")]
    Expired {
        /// The oldest revision that can be listed now.
        oldest: Revision,
    },
    /// It has not happened yet.
    #[error("the revision has not happened yet, the newest is {newest}")]
    Future {
        /// The newest revision.
        newest: Revision,
    },
}

/// What nobody reads here any more. Freeing it takes longer than replacing it: to be dropped without the lock.
#[derive(Debug)]
#[must_use]
pub(super) struct Superseded {
    _before: Snapshot,
    _forgotten: Vec<Arc<Event>>,
}

/// Either a snapshot, or one and what must be taken back from it.
pub(super) struct Rewind {
    pub(super) from: Snapshot,
    pub(super) events: Vec<Arc<Event>>,
}

impl Published {
    /// A state without history.
    pub(super) fn new(current: Snapshot, limits: HistoryLimits) -> Self {
        let history = History::new(current.revision, limits);
        Self { current, history, marks: VecDeque::new(), kept: VecDeque::new() }
    }

    /// Adds an event that was loaded.
    pub(super) fn restore(&mut self, event: Arc<Event>) {
        self.current.apply(&event);
        drop(self.history.push(event));
    }

    /// Shows durable events: `after` is the state that they lead to.
    pub(super) fn publish(&mut self, events: &[Arc<Event>], after: Snapshot, now: Instant) -> Superseded {
        let forgotten = events.iter().flat_map(|event| self.history.push(event.clone())).collect();
        let before = std::mem::replace(&mut self.current, after);
        self.mark(now);
        Superseded { _before: before, _forgotten: forgotten }
    }

    /// Keeps a snapshot for the later pages of a list.
    pub(super) fn keep(&mut self, snapshot: &Snapshot, now: Instant) {
        if self.kept.iter().any(|(_, kept)| kept.revision == snapshot.revision) {
            return;
        }
        self.kept.push_back((now, snapshot.clone()));
        if self.kept.len() > KEPT_SNAPSHOTS {
            self.kept.pop_front();
        }
    }

    /// How to get the state at a revision.
    pub(super) fn rewind(&self, revision: Revision, now: Instant) -> Result<Rewind, NoSnapshot> {
        let newest = self.current.revision;
        if revision > newest {
            return Err(NoSnapshot::Future { newest });
        }
        if revision == newest {
            return Ok(Rewind { from: self.current.clone(), events: Vec::new() });
        }
        let aged = self.aged(now);
        if revision < aged {
            return Err(NoSnapshot::Expired { oldest: aged });
        }
        if let Some((_, kept)) = self.kept.iter().find(|(_, kept)| kept.revision == revision) {
            return Ok(Rewind { from: kept.clone(), events: Vec::new() });
        }
        if revision < self.history.floor() {
            return Err(NoSnapshot::Expired { oldest: self.history.floor() });
        }
        let events =
            self.history.newest_first().take_while(|event| event.revision > revision).cloned().collect();
        Ok(Rewind { from: self.current.clone(), events })
    }

    /// What was superseded longer ago than [`SNAPSHOT_AGE`]: everything before this revision.
    fn aged(&self, now: Instant) -> Revision {
        let old = self.marks.iter().rev().find(|(at, _)| now.duration_since(*at) >= SNAPSHOT_AGE);
        old.map_or(Revision::ZERO, |(_, revision)| *revision)
    }

    /// Notes when this revision was reached, and lets go of what is too old.
    fn mark(&mut self, now: Instant) {
        if self.marks.back().is_some_and(|(at, _)| now.duration_since(*at) < MARK_EVERY) {
            return;
        }
        self.marks.push_back((now, self.current.revision));
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= SNAPSHOT_AGE) {
            self.marks.pop_front();
        }
        self.kept.retain(|(at, _)| now.duration_since(*at) < SNAPSHOT_AGE);
    }
}

impl Rewind {
    /// The state asked for. Takes time that grows with the number of writes since.
    pub(super) fn run(self) -> Snapshot {
        let mut snapshot = self.from;
        for event in &self.events {
            snapshot.revert(event);
        }
        snapshot
    }
}
