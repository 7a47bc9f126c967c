//! What passes wrote and the informers have not seen yet.
//!
//! Promise: a key is held until every informer named has passed the revision written, or [`HOLD_LIMIT`] is over.
//! That stands in the place of client-go's expectations (KEP-5647).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::queue::Item;
use crate::informers::{Informer, Key, Object, revision};

/// How long a key is held at most. A server whose revisions cannot be compared costs this much a pass, not more.
pub const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// The record of a queue's writes. Clones share it.
pub struct Writes<T = Key> {
    holds: Arc<Mutex<BTreeMap<T, Vec<Hold>>>>,
}

struct Hold {
    watermark: watch::Receiver<u64>,
    seen: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

impl<T: Item> Writes<T> {
    pub(super) fn new() -> Self {
        Self { holds: Arc::default() }
    }

    /// Records that the pass of `key` created or changed an object of the informer's kind; `written` is what the
    /// server answered.
    pub fn wrote<K: Object>(&self, key: &T, informer: &Informer<K>, written: &impl Resource) {
        let revision = revision(written.meta().resource_version.as_deref());
        self.hold(key, informer, move |watermark| watermark >= revision);
    }

    /// Records that the pass of `key` deleted an object: it holds until the object is gone or is seen being deleted.
    pub fn deleted<K: Object>(&self, key: &T, informer: &Informer<K>, deleted: &impl Resource) {
        let (store, uid, at) = (informer.clone(), deleted.meta().uid.clone(), Key::of(deleted));
        self.hold(key, informer, move |_| {
            store.get(&at).is_none_or(|object| {
                let meta = object.meta();
                meta.uid != uid || meta.deletion_timestamp.is_some()
            })
        });
    }

    fn hold<K: Object>(
        &self,
        key: &T,
        informer: &Informer<K>,
        seen: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) {
        let hold = Hold { watermark: informer.watch_watermark(), seen: Box::new(seen) };
        self.holds.lock().entry(key.clone()).or_default().push(hold);
    }

    /// Whether the informers have seen everything the passes of `key` wrote.
    #[must_use]
    pub fn seen(&self, key: &T) -> bool {
        let mut holds = self.holds.lock();
        let Some(of_key) = holds.get_mut(key) else { return true };
        of_key.retain(|hold| !(hold.seen)(*hold.watermark.borrow()));
        let seen = of_key.is_empty();
        if seen {
            holds.remove(key);
        }
        seen
    }

    /// Waits until [`seen`](Self::seen) is true, at most [`HOLD_LIMIT`]; then forgets what was not seen. Answers
    /// whether everything was.
    pub async fn settle(&self, key: &T) -> bool {
        let Some(holds) = self.holds.lock().remove(key) else { return true };
        let all_seen = async {
            for Hold { mut watermark, seen } in holds {
                // An error means that the informer is gone, and then nothing will be seen any more.
                let _ = watermark.wait_for(|watermark| seen(*watermark)).await;
            }
        };
        timeout(HOLD_LIMIT, all_seen).await.is_ok()
    }
}

impl<T> Clone for Writes<T> {
    fn clone(&self) -> Self {
        Self { holds: Arc::clone(&self.holds) }
    }
}

impl<T: Item> fmt::Debug for Writes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.holds.lock().keys()).finish()
    }
}
