//! What a reader of an informer's changes still has to hear.
//!
//! Promise: changes of one object are merged while the reader is slow, so that there is at most one waiting change
//! an object; the merged change leads from what the reader knew to what is true. The end of an object is never
//! merged away, not even if its beginning was not read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Key, Object};

/// A change of one object.
#[derive(Debug)]
pub enum Change<K> {
    /// It is there now.
    Added(Arc<K>),

    /// It was there and differs.
    Updated {
        /// What the reader last heard of.
        old: Arc<K>,
        /// What is true now.
        new: Arc<K>,
    },

    /// It is gone; this is its last known state.
    Deleted(Arc<K>),
}

impl<K: Object> Change<K> {
    /// The object: its new state, or its last one if it is gone.
    #[must_use]
    pub const fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => object,
        }
    }

    /// The state before, if the object was there.
    #[must_use]
    pub const fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(_) => None,
            Self::Updated { old, .. } | Self::Deleted(old) => Some(old),
        }
    }

    /// The state after, if the object is there.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "it is the counterpart of old")]
    pub const fn new(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(new) | Self::Updated { new, .. } => Some(new),
            Self::Deleted(_) => None,
        }
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(&**self.object())
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(Arc::clone(object)),
            Self::Updated { old, new } => Self::Updated { old: Arc::clone(old), new: Arc::clone(new) },
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
        }
    }
}

/// The changes of an informer, for one reader, in the order in which their objects first changed.
pub struct Changes<K> {
    feed: Arc<Feed<K>>,
}

impl<K: Object> Changes<K> {
    pub(super) const fn new(feed: Arc<Feed<K>>) -> Self {
        Self { feed }
    }

    /// Waits for the next change. Does not end by itself; wait for the end of the process beside it.
    pub async fn next(&mut self) -> Change<K> {
        loop {
            if let Some(change) = self.try_next() {
                return change;
            }
            self.feed.wake.notified().await;
        }
    }

    /// The next change, if one waits.
    pub fn try_next(&mut self) -> Option<Change<K>> {
        let mut waiting = self.feed.waiting.lock();
        let id = waiting.order.pop_front()?;
        waiting.changes.remove(&id)
    }
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &self.feed.waiting.lock().order.len()).finish()
    }
}

/// The mailbox of one reader.
pub(super) struct Feed<K> {
    waiting: Mutex<Waiting<K>>,
    wake: Notify,
}

/// Objects of the same name and another UID are other objects.
type Id = (Arc<Key>, Option<String>);

struct Waiting<K> {
    order: VecDeque<Id>,
    changes: BTreeMap<Id, Change<K>>,
}

impl<K: Object> Feed<K> {
    pub(super) fn new() -> Self {
        let waiting = Waiting { order: VecDeque::new(), changes: BTreeMap::new() };
        Self { waiting: Mutex::new(waiting), wake: Notify::new() }
    }

    pub(super) fn push(&self, key: &Arc<Key>, change: Change<K>) {
        let id = (Arc::clone(key), change.object().meta().uid.clone());
        let mut waiting = self.waiting.lock();
        let Waiting { order, changes } = &mut *waiting;
        match changes.entry(id) {
            Entry::Vacant(entry) => {
                order.push_back(entry.key().clone());
                entry.insert(change);
            }
            Entry::Occupied(mut entry) => {
                let merged = merge(entry.get(), change);
                entry.insert(merged);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }
}

/// One change that does what two do, in sequence.
fn merge<K>(first: &Change<K>, second: Change<K>) -> Change<K> {
    match (first, second) {
        (Change::Added(_), Change::Updated { new, .. }) => Change::Added(new),
        (Change::Updated { old, .. }, Change::Updated { new, .. })
        // It left a selection and came back.
        | (Change::Deleted(old), Change::Added(new)) => Change::Updated { old: Arc::clone(old), new },
        (_, second) => second,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn map(uid: &str, version: &str) -> Arc<ConfigMap> {
        let mut map = ConfigMap::default();
        map.metadata.uid = Some(uid.to_owned());
        map.metadata.resource_version = Some(version.to_owned());
        Arc::new(map)
    }

    fn texts(changes: Vec<Change<ConfigMap>>) -> Vec<String> {
        let version = |map: &Arc<ConfigMap>| map.metadata.resource_version.clone().unwrap();
        let feed = Arc::new(Feed::new());
        let key = Arc::new(Key::new("a", "b"));
        changes.into_iter().for_each(|change| feed.push(&key, change));
        let mut reader = Changes::new(feed);
        std::iter::from_fn(|| reader.try_next())
            .map(|change| match change {
                Change::Added(new) => format!("+{}", version(&new)),
                Change::Updated { old, new } => format!("{}>{}", version(&old), version(&new)),
                Change::Deleted(old) => format!("-{}", version(&old)),
            })
            .collect()
    }

    #[test]
    fn a_slow_reader_gets_one_change_an_object() {
        let updated = |old: &str, new: &str| Change::Updated { old: map("u", old), new: map("u", new) };
        let added = |version: &str| Change::Added(map("u", version));
        let deleted = |version: &str| Change::Deleted(map("u", version));
        assert_eq!(texts(vec![added("1"), updated("1", "2")]), ["+2"]);
        assert_eq!(texts(vec![updated("1", "2"), updated("2", "3")]), ["1>3"]);
        assert_eq!(texts(vec![updated("1", "2"), deleted("3")]), ["-3"]);
        assert_eq!(texts(vec![added("1"), deleted("2")]), ["-2"]);
        assert_eq!(texts(vec![deleted("2"), added("3")]), ["2>3"]);
    }

    #[test]
    fn a_new_object_of_the_same_name_hides_no_delete() {
        let changes = vec![Change::Deleted(map("u", "2")), Change::Added(map("v", "3"))];
        assert_eq!(texts(changes), ["-2", "+3"]);
    }
}
