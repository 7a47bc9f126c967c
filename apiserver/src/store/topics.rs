//! Who waits for what: wake-ups by prefix.
//!
//! Promise: a write wakes exactly the cursors whose prefix covers its key, each at most once a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::event::Event;
use super::record::Revision;

/// All prefixes somebody waits on.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_prefix: RwLock<FxHashMap<Box<str>, Arc<Topic>>>,
}

/// One prefix somebody waits on.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) changed: Notify,
    /// The last batch that woke this topic.
    woken_for: AtomicU64,
}

impl Topics {
    /// The topic of a prefix, made if nobody waited on it yet.
    pub(super) fn join(&self, prefix: &str) -> Arc<Topic> {
        self.by_prefix.write().entry(prefix.into()).or_default().clone()
    }

    /// Gives a topic back; the last one to leave removes it.
    pub(super) fn leave(&self, prefix: &str, topic: Arc<Topic>) {
        let mut topics = self.by_prefix.write();
        drop(topic);
        if topics.get(prefix).is_some_and(|topic| Arc::strong_count(topic) == 1) {
            topics.remove(prefix);
        }
    }

    /// Wakes everybody whose prefix covers one of these events. `last` is the revision of the last of them.
    pub(super) fn wake(&self, events: &[Arc<Event>], last: Revision) {
        let topics = self.by_prefix.read();
        if topics.is_empty() {
            return;
        }
        for event in events {
            for prefix in prefixes(event.record.key.as_str()) {
                if let Some(topic) = topics.get(prefix)
                    && topic.woken_for.swap(last.0, Ordering::Relaxed) != last.0
                {
                    topic.changed.notify_waiters();
                }
            }
        }
    }
}

/// Whether a prefix covers a key: one that ends with a slash covers all below it, any other only itself.
pub(super) fn covers(prefix: &str, key: &str) -> bool {
    if prefix.ends_with('/') { key.starts_with(prefix) } else { key == prefix }
}

/// Everything that covers a key: the key, and what stands before each of its parts.
fn prefixes(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..=at]).chain([key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_prefix_for_each_part() {
        let all: Vec<_> = prefixes("/registry/core/pods/a/x").collect();
        assert_eq!(
            all,
            [
                "/",
                "/registry/",
                "/registry/core/",
                "/registry/core/pods/",
                "/registry/core/pods/a/",
                "/registry/core/pods/a/x"
            ]
        );
        assert!(all.iter().all(|prefix| covers(prefix, "/registry/core/pods/a/x")));
        assert!(!covers("/registry/core/pods/a/x", "/registry/core/pods/a/xy"));
    }

    #[test]
    fn the_last_to_leave_removes_the_topic() {
        let topics = Topics::default();
        let (one, two) = (topics.join("/a/"), topics.join("/a/"));
        topics.leave("/a/", one);
        assert_eq!(topics.by_prefix.read().len(), 1);
        topics.leave("/a/", two);
        assert_eq!(topics.by_prefix.read().len(), 0);
    }
}
