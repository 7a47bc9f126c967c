//! The queue of keys that want a pass.
//!
//! Promise: a key waits at most once; while it is worked on it is not handed out again; first in, first out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::metrics::Measured;
use super::{Metrics, Writes};
use crate::informers::{Change, Informer, Key, Object};

/// Pauses before a failed key is tried again double from the first to the last (client-go's item limiter).
const MIN_RETRY: Duration = Duration::from_millis(5);
const MAX_RETRY: Duration = Duration::from_secs(1000);

/// What a queue holds: the keys of objects, or anything else that is ordered.
pub trait Item: Ord + Clone + Debug + Send + Sync + 'static {}

impl<T: Ord + Clone + Debug + Send + Sync + 'static> Item for T {}

/// A queue of things to do. Clones are the same queue.
pub struct Queue<T = Key> {
    shared: Arc<Shared<T>>,
    writes: Writes<T>,
}

struct Shared<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    /// What may be taken, in order.
    ready: VecDeque<T>,
    /// What wants a pass: everything in `ready`, and what was added while it was worked on.
    wanted: BTreeSet<T>,
    /// What is worked on.
    taken: BTreeSet<T>,
    /// What is added later, by time; the number keeps those of one moment in order.
    later: BTreeMap<(Instant, u64), T>,
    due: BTreeMap<T, (Instant, u64)>,
    sequence: u64,
    failures: BTreeMap<T, u32>,
    measured: Option<Measured<T>>,
}

impl<T: Item> Queue<T> {
    /// An empty queue; the name is for metrics and task lists.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: BTreeSet::new(),
            taken: BTreeSet::new(),
            later: BTreeMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            failures: BTreeMap::new(),
            measured: None,
        };
        let shared = Shared { name, state: Mutex::new(state), wake: Notify::new() };
        Self { shared: Arc::new(shared), writes: Writes::new() }
    }

    /// Counts in these metrics from here on. A queue that watches an informer of a measured set is measured by
    /// itself.
    pub fn measure(&self, metrics: &Metrics) {
        let mut state = self.shared.state.lock();
        if state.measured.is_none() {
            state.measured = Some(Measured::new(self.shared.name, metrics));
        }
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// Asks for a pass. Nothing happens if the key waits already.
    pub fn add(&self, key: T) {
        if self.shared.state.lock().add(key) {
            self.shared.wake.notify_one();
        }
    }

    /// Asks for a pass after a while. A key waits for its earliest time only.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        if self.shared.state.lock().add_later(key, Instant::now() + delay) {
            self.shared.wake.notify_one();
        }
    }

    /// Asks for another pass of a key that failed, after a pause that doubles with every failure since the last
    /// [`forget`](Self::forget). Answers the pause.
    pub fn retry(&self, key: T) -> Duration {
        let mut state = self.shared.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let delay = MIN_RETRY.saturating_mul(2_u32.saturating_pow(*failures)).min(MAX_RETRY);
        *failures = failures.saturating_add(1);
        if let Some(measured) = &state.measured {
            measured.retried();
        }
        drop(state);
        self.add_after(key, delay);
        delay
    }

    /// Ends the count of failures of a key.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often the key failed since it was last forgotten.
    #[must_use]
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// Waits for a key and takes it. It is handed out again only after [`done`](Self::done).
    pub async fn take(&self) -> T {
        loop {
            let next = {
                let mut state = self.shared.state.lock();
                state.add_due(Instant::now());
                match state.take() {
                    Ok(key) => {
                        if !state.ready.is_empty() {
                            self.shared.wake.notify_one();
                        }
                        return key;
                    }
                    Err(next) => next,
                }
            };
            let woken = self.shared.wake.notified();
            match next {
                None => woken.await,
                Some(at) => {
                    // Either way the loop looks again.
                    let _ = tokio::time::timeout_at(at, woken).await;
                }
            }
        }
    }

    /// Says that the pass of a taken key has ended.
    pub fn done(&self, key: &T) {
        if self.shared.state.lock().done(key) {
            self.shared.wake.notify_one();
        }
    }

    /// How many keys could be taken now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether no key could be taken now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing waits, nothing is worked on, and nothing is to be added later: nothing happens until
    /// something is added. For tests that wait for a controller to settle.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state.lock();
        state.ready.is_empty() && state.taken.is_empty() && state.later.is_empty()
    }

    /// The record of what the passes of this queue wrote; the runner holds keys by it.
    #[must_use]
    pub fn writes(&self) -> Writes<T> {
        self.writes.clone()
    }

    /// Adds the keys that `keys` gives for every change of an informer, beginning with all that is there.
    pub fn watch<K, I>(&self, informer: &Informer<K>, keys: impl Fn(&Change<K>) -> I + Send + 'static)
    where
        K: Object,
        I: IntoIterator<Item = T>,
    {
        if let Some(metrics) = informer.metrics() {
            self.measure(metrics);
        }
        let (queue, mut changes) = (self.clone(), informer.changes());
        informer.tasks().spawn_until_stopped(self.shared.name, async move {
            loop {
                let change = changes.next().await;
                keys(&change).into_iter().for_each(|key| queue.add(key));
            }
        });
    }
}

impl Queue<Key> {
    /// Adds every object of an informer that appears, changes or goes, under its own key.
    pub fn follow<K: Object>(&self, informer: &Informer<K>) {
        self.watch(informer, |change| Some(change.key()));
    }

    /// Adds the controller of every object of an informer that appears, changes or goes, if it is of the given kind;
    /// both, if the controller changed.
    pub fn follow_owners<K: Object>(&self, informer: &Informer<K>, kind: &'static str) {
        self.watch(informer, move |change| {
            let owner = |object: &std::sync::Arc<K>| {
                let meta = object.meta();
                let mut owners = meta.owner_references.iter().flatten();
                let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == kind)?;
                Some(Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
            };
            let mut keys = vec![change.old().and_then(owner), change.new().and_then(owner)];
            keys.dedup();
            keys.into_iter().flatten()
        });
    }
}

impl<T: Item> State<T> {
    /// Whether somebody must be woken.
    fn add(&mut self, key: T) -> bool {
        if let Some(at) = self.due.remove(&key) {
            self.later.remove(&at);
        }
        if !self.wanted.insert(key.clone()) || self.taken.contains(&key) {
            return false;
        }
        self.push(key);
        true
    }

    fn push(&mut self, key: T) {
        if let Some(measured) = &mut self.measured {
            measured.added(&key, self.ready.len() + 1);
        }
        self.ready.push_back(key);
    }

    /// Whether somebody must be woken, as there is a new first time.
    fn add_later(&mut self, key: T, at: Instant) -> bool {
        if self.wanted.contains(&key) && !self.taken.contains(&key) {
            return false;
        }
        match self.due.get(&key) {
            Some(known) if known.0 <= at => return false,
            Some(known) => self.later.remove(known),
            None => None,
        };
        self.sequence += 1;
        let at = (at, self.sequence);
        self.later.insert(at, key.clone());
        self.due.insert(key, at);
        self.later.first_key_value().is_some_and(|(first, _)| *first == at)
    }

    fn add_due(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let key = first.get().clone();
            self.add(key);
        }
    }

    /// The next key, or when to look again.
    fn take(&mut self) -> Result<T, Option<Instant>> {
        let next = || self.later.first_key_value().map(|((at, _), _)| *at);
        let Some(key) = self.ready.pop_front() else { return Err(next()) };
        self.wanted.remove(&key);
        self.taken.insert(key.clone());
        if let Some(measured) = &mut self.measured {
            measured.taken(&key, self.ready.len());
        }
        Ok(key)
    }

    fn done(&mut self, key: &T) -> bool {
        let again = self.taken.remove(key) && self.wanted.contains(key);
        if let Some(measured) = &mut self.measured {
            measured.done(key);
        }
        if again {
            self.push(key.clone());
        }
        again
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), writes: self.writes.clone() }
    }
}

impl<T: Item> Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Queue")
            .field("name", &self.shared.name)
            .field("ready", &state.ready.len())
            .field("taken", &state.taken.len())
            .field("later", &state.later.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn taken(queue: &Queue<u32>) -> Option<u32> {
        queue.take().now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_serial() {
        let queue = Queue::new("test");
        [2, 1, 2].into_iter().for_each(|key| queue.add(key));
        assert_eq!((taken(&queue), taken(&queue), taken(&queue)), (Some(2), Some(1), None));
        queue.add(2);
        assert_eq!(taken(&queue), None);
        queue.done(&2);
        assert_eq!(taken(&queue), Some(2));
        queue.done(&2);
        queue.done(&1);
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_counts() {
        let queue = Queue::new("test");
        let start = Instant::now();
        queue.add_after(1, Duration::from_secs(60));
        queue.add_after(1, Duration::from_secs(10));
        queue.add_after(1, Duration::from_secs(30));
        assert_eq!(queue.take().await, 1);
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(&1);
        assert!(queue.is_idle());

        queue.add_after(1, Duration::from_secs(10));
        queue.add(1);
        assert_eq!(taken(&queue), Some(1));
        queue.done(&1);
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_pause_until_forgotten() {
        let queue = Queue::new("test");
        let pauses: Vec<u128> = (0..4).map(|_| queue.retry(7).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40]);
        (0..40).for_each(|_| _ = queue.retry(7));
        assert_eq!(queue.retry(7), MAX_RETRY);
        queue.forget(&7);
        assert_eq!(queue.failures(&7), 0);
        assert_eq!(queue.take().await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_time_asked_for_during_a_pass_is_kept() {
        let queue = Queue::new("test");
        queue.add(1);
        assert_eq!(queue.take().await, 1);
        queue.add_after(1, Duration::from_secs(5));
        queue.done(&1);
        assert_eq!(taken(&queue), None);
        assert_eq!(queue.take().await, 1);
    }
}
