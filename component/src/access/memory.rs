//! Answers that hold for a while. Promise: never more than a bounded number; when it is full it forgets all.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Answers that are kept.
const ANSWERS_LIMIT: usize = 1000;

pub(super) struct Memory<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let answers = self.0.lock();
        let (answer, until) = answers.get(key)?;
        (*until > Instant::now()).then(|| answer.clone())
    }

    pub(super) fn keep(&self, key: K, answer: V, holds: Duration) {
        let mut answers = self.0.lock();
        if answers.len() >= ANSWERS_LIMIT {
            answers.clear();
        }
        answers.insert(key, (answer, Instant::now() + holds));
    }
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
