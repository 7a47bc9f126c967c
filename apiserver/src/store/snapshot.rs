//! The whole state as it was at one revision.
//!
//! Promise: taking a snapshot costs nothing that grows with the state, and it never changes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use super::event::{Event, EventKind};
use super::record::{Record, Revision};

/// A record, ordered and found by its key. The map then holds one pointer an object.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub(super) Arc<Record>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        self.0.key.as_str()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// All objects at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) objects: OrdSet<ByKey>,
    pub(super) revision: Revision,
}

impl Snapshot {
    /// The last write it contains.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.objects.get(key).map(|found| &found.0)
    }

    /// The objects whose key begins with `prefix`, in key order, beginning after the key `start_after`.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + 'a {
        let start = match start_after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects.range::<_, str>((start, Bound::Unbounded));
        objects.map(|found| &found.0).take_while(move |record| record.key.as_str().starts_with(prefix))
    }

    /// Carries out one event.
    pub(super) fn apply(&mut self, event: &Event) {
        match event.kind {
            EventKind::Deleted => self.objects.remove(event.record.key.as_str()),
            _ => self.objects.insert(ByKey(event.record.clone())),
        };
        self.revision = event.revision;
    }

    /// Takes back the last event.
    pub(super) fn revert(&mut self, event: &Event) {
        match &event.previous {
            Some(previous) => self.objects.insert(ByKey(previous.clone())),
            None => self.objects.remove(event.record.key.as_str()),
        };
        self.revision = Revision(event.revision.0 - 1);
    }
}
