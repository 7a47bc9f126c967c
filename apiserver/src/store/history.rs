//! The recent part of the log, kept in memory in revision order, as a whole and by kind.
//!
//! Promise: within its floor nothing is missing, and it never holds more than its limits. A cursor on one kind reads
//! only that kind's events, so a thousand pod watchers do not step over lease renewals.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::event::Event;
use super::record::Revision;

/// Events kept in memory at most.
pub const HISTORY_EVENTS: usize = 50_000;
/// Bytes of events kept in memory at most. One larger event is still kept until the next arrives.
pub const HISTORY_BYTES: usize = 8 * 1024 * 1024;

/// How much history to keep.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Events at most.
    pub events: usize,
    /// Bytes at most.
    pub bytes: usize,
}

/// The ring of recent events.
#[derive(Debug)]
pub(super) struct History {
    all: VecDeque<Arc<Event>>,
    stems: FxHashMap<Box<str>, Stem>,
    bytes: usize,
    /// Every event after this revision is in the ring.
    floor: Revision,
    /// What a stem's floor is when nothing of it ever was in the ring.
    first_floor: Revision,
    limits: HistoryLimits,
}

/// One kind's events, and the last of them that was dropped.
#[derive(Debug, Default)]
struct Stem {
    events: VecDeque<Arc<Event>>,
    floor: Revision,
}

impl History {
    /// A ring that begins after `floor`.
    pub(super) fn new(floor: Revision, limits: HistoryLimits) -> Self {
        Self {
            all: VecDeque::new(),
            stems: FxHashMap::default(),
            bytes: 0,
            floor,
            first_floor: floor,
            limits,
        }
    }

    /// Adds the next event, and answers with the oldest beyond the limits, which are no longer here.
    pub(super) fn push(&mut self, event: Arc<Event>) -> Vec<Arc<Event>> {
        self.bytes += event.weight();
        let stem = stem_of(event.record.key.as_str());
        match self.stems.get_mut(stem) {
            Some(stem) => stem.events.push_back(event.clone()),
            None => {
                let events = VecDeque::from([event.clone()]);
                self.stems.insert(stem.into(), Stem { events, floor: self.first_floor });
            }
        }
        self.all.push_back(event);
        let mut dropped = Vec::new();
        while self.all.len() > self.limits.events || (self.bytes > self.limits.bytes && self.all.len() > 1) {
            dropped.extend(self.drop_oldest());
        }
        dropped
    }

    /// Whether all events under `prefix` after `from` are still here.
    pub(super) fn covers(&self, prefix: &str, from: Revision) -> bool {
        from >= self.floor_of(prefix)
    }

    /// Every event after this revision is here, whatever its kind.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// Events under `prefix` after `from`, oldest first. Ask [`Self::covers`] first.
    pub(super) fn after(&self, prefix: &str, from: Revision) -> impl Iterator<Item = &Arc<Event>> {
        let events = match stem_of_prefix(prefix) {
            Some(stem) => self.stems.get(stem).map(|stem| &stem.events),
            None => Some(&self.all),
        };
        let start = events.map_or(0, |events| events.partition_point(|event| event.revision <= from));
        events.into_iter().flat_map(move |events| events.range(start..))
    }

    /// All events, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.all.iter().rev()
    }

    fn floor_of(&self, prefix: &str) -> Revision {
        match stem_of_prefix(prefix) {
            Some(stem) => self.stems.get(stem).map_or(self.first_floor, |stem| stem.floor),
            None => self.floor,
        }
    }

    fn drop_oldest(&mut self) -> Option<Arc<Event>> {
        let oldest = self.all.pop_front()?;
        self.bytes -= oldest.weight();
        self.floor = oldest.revision;
        if let Some(stem) = self.stems.get_mut(stem_of(oldest.record.key.as_str())) {
            // Both rings are in revision order, so the oldest of all is the oldest of its kind.
            let front = stem.events.pop_front();
            debug_assert!(front.is_some_and(|front| front.revision == oldest.revision));
            stem.floor = oldest.revision;
        }
        Some(oldest)
    }
}

/// Slashes in `/registry/{group}/{plural}/`, the part of a key that names its kind.
const STEM_SLASHES: usize = 4;

/// The part of a key that names its kind; the whole key if it is shorter.
fn stem_of(key: &str) -> &str {
    stem_of_prefix(key).unwrap_or(key)
}

/// The kind a prefix is within, if it is within one.
fn stem_of_prefix(prefix: &str) -> Option<&str> {
    let (at, _) = prefix.match_indices('/').nth(STEM_SLASHES - 1)?;
    Some(&prefix[..=at])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::event::{EventKind, Parts};
    use super::super::header::Header;
    use super::super::record::Draft;
    use super::*;

    fn event(key: &str, revision: u64) -> Arc<Event> {
        let revision = Revision(revision);
        let parts = Parts {
            key: key.into(),
            revision,
            created: revision,
            kind: EventKind::Added,
            header: Header::default(),
            previous: None,
        };
        Event::new(parts, &Draft::encode(&json!({})))
    }

    fn revisions(history: &History, prefix: &str, from: u64) -> Vec<u64> {
        history.after(prefix, Revision(from)).map(|e| e.revision.0).collect()
    }

    #[test]
    fn a_kind_sees_only_its_own_events() {
        let mut history =
            History::new(Revision::ZERO, HistoryLimits { events: HISTORY_EVENTS, bytes: HISTORY_BYTES });
        for (revision, key) in
            ["/registry/core/pods/a/x", "/registry/apps/deployments/a/x", "/registry/core/pods/b/y"]
                .iter()
                .enumerate()
        {
            history.push(event(key, revision as u64 + 1));
        }
        assert_eq!(revisions(&history, "/registry/core/pods/", 0), [1, 3]);
        assert_eq!(revisions(&history, "/registry/core/pods/", 1), [3]);
        assert_eq!(revisions(&history, "/registry/", 1), [2, 3]);
        assert_eq!(revisions(&history, "/registry/core/nodes/", 0), [0u64; 0]);
    }

    #[test]
    fn the_oldest_go_first_and_quiet_kinds_keep_their_floor() {
        let mut history = History::new(Revision::ZERO, HistoryLimits { events: 2, bytes: usize::MAX });
        history.push(event("/registry/core/nodes/n", 1));
        for revision in 2..=5 {
            history.push(event("/registry/core/pods/a/x", revision));
        }
        assert_eq!(history.floor(), Revision(3));
        assert!(!history.covers("/registry/core/nodes/", Revision(0)));
        assert!(
            history.covers("/registry/core/nodes/", Revision(1)),
            "nothing of that kind was dropped after 1"
        );
        assert!(!history.covers("/registry/core/pods/", Revision(2)));
        assert!(history.covers("/registry/core/pods/", Revision(3)));
        assert!(history.covers("/registry/core/secrets/", Revision(0)));
        assert!(!history.covers("/registry/", Revision(2)));
    }

    #[test]
    fn bytes_are_limited_too() {
        let one = event("/registry/core/pods/a/x", 1).weight();
        let mut history = History::new(Revision::ZERO, HistoryLimits { events: 100, bytes: 3 * one });
        for revision in 1..=9 {
            history.push(event("/registry/core/pods/a/x", revision));
        }
        assert_eq!(revisions(&history, "/registry/core/pods/", 6), [7, 8, 9]);
        assert_eq!(history.floor(), Revision(6));
    }
}
