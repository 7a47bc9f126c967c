//! What a process still waits for before it calls itself ready.
//!
//! Promise: ready means that every guard handed out was dropped. Names say what is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// The set of unfinished preparations of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    unfinished: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

/// One unfinished preparation; dropping it finishes it.
#[derive(Debug)]
#[must_use = "dropping the guard says that the preparation is finished"]
pub struct Guard {
    name: &'static str,
    unfinished: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Readiness {
    /// A process that waits for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { unfinished: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }

    /// Registers a preparation. The name must be free: one guard a name at a time.
    pub fn wait_for(&self, name: &'static str) -> Guard {
        let fresh = self.unfinished.send_if_modified(|names| names.insert(name));
        debug_assert!(fresh, "{name} is already waited for");
        Guard { name, unfinished: Arc::clone(&self.unfinished) }
    }

    /// Names of what is unfinished, sorted.
    #[must_use]
    pub fn unfinished(&self) -> Vec<&'static str> {
        self.unfinished.borrow().iter().copied().collect()
    }

    /// Whether nothing is unfinished.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unfinished.borrow().is_empty()
    }

    /// Waits until nothing is unfinished.
    pub async fn ready(&self) {
        let mut names = self.unfinished.subscribe();
        // The sender lives as long as self, so this cannot fail.
        let _ = names.wait_for(BTreeSet::is_empty).await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.unfinished.send_if_modified(|names| names.remove(self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_when_every_guard_is_gone() {
        let readiness = Readiness::new();
        let (store, informers) = (readiness.wait_for("store"), readiness.wait_for("informers"));
        assert_eq!(readiness.unfinished(), ["informers", "store"]);
        drop(store);
        assert!(!readiness.is_ready());
        drop(informers);
        readiness.ready().await;
        assert!(readiness.is_ready());
    }
}
