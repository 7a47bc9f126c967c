//! The set of tasks a process (or a part of it) runs, and how it ends.
//!
//! Promise: every task has a name, is told to stop, is waited for, and cannot panic unseen. Tasks form a tree:
//! stopping a parent stops its children, a failure in a child is seen by its parents.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long `stop` waits for tasks to end by themselves before it drops them.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A set of named tasks with one shutdown signal. Clones are the same set.
#[derive(Clone)]
pub struct Tasks {
    stopping: CancellationToken,
    dropped: CancellationToken,
    tracker: TaskTracker,
    shared: Arc<Shared>,
}

struct Shared {
    /// Names of tasks that run now; the root's list covers all children.
    running: Mutex<Vec<&'static str>>,
    failed: watch::Sender<Option<&'static str>>,
    parent: Option<Arc<Shared>>,
}

impl Tasks {
    /// An empty root set.
    #[must_use]
    pub fn new() -> Self {
        Self::with(CancellationToken::new(), CancellationToken::new(), None)
    }

    /// A set that stops with its parent and can be stopped alone. The parent waits for its tasks too, and sees
    /// its failures.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::with(self.stopping.child_token(), self.dropped.child_token(), Some(Arc::clone(&self.shared)))
            .tracked_by(self)
    }

    fn with(stopping: CancellationToken, dropped: CancellationToken, parent: Option<Arc<Shared>>) -> Self {
        let (failed, _) = watch::channel(None);
        let shared = Arc::new(Shared { running: Mutex::default(), failed, parent });
        Self { stopping, dropped, tracker: TaskTracker::new(), shared }
    }

    /// Makes the parent wait for the child: a task of the parent that ends when the child has been stopped and
    /// is empty.
    fn tracked_by(self, parent: &Self) -> Self {
        let child = self.clone();
        let wait = async move {
            child.stopping.cancelled().await;
            child.tracker.close();
            child.tracker.wait().await;
        };
        parent.tracker.spawn(wait);
        self
    }

    /// Starts a task. It should end soon after [`stopping`](Self::stopping) resolves; a panic in it is logged and
    /// reported by [`failed`](Self::failed).
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let running = Running::enter(name, Arc::clone(&self.shared));
        let dropped = self.dropped.clone();
        let task = async move {
            let outcome = tokio::select! {
                biased;
                outcome = AssertUnwindSafe(future).catch_unwind() => outcome,
                () = dropped.cancelled() => Ok(()),
            };
            if let Err(panic) = outcome {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
                running.shared.fail(name);
            }
        };
        self.tracker.spawn(task.in_current_span());
    }

    /// Starts a task that is dropped, wherever it waits, when the set stops. For loops that keep nothing.
    pub fn spawn_until_stopped(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.spawn(name, async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Resolves when the set is told to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stopping.clone().cancelled_owned()
    }

    /// Whether the set was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Tells the set to stop without waiting.
    pub fn tell_to_stop(&self) {
        self.stopping.cancel();
    }

    /// Tells all tasks to stop and waits for them, at most [`STOP_LIMIT`]. What still runs then is dropped and
    /// its names are returned.
    pub async fn stop(self) -> Vec<&'static str> {
        self.stop_within(STOP_LIMIT).await
    }

    /// [`stop`](Self::stop) with another limit.
    pub async fn stop_within(self, limit: Duration) -> Vec<&'static str> {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let late = self.running();
        tracing::warn!(tasks = ?late, "tasks did not stop in time");
        self.dropped.cancel();
        self.tracker.wait().await;
        late
    }

    /// Names of the tasks that run now in this set and its children, sorted.
    #[must_use]
    pub fn running(&self) -> Vec<&'static str> {
        let mut names = self.shared.running.lock().clone();
        names.sort_unstable();
        names
    }

    /// Waits until a task of this set or of a child has panicked, and gives its name. A process should end then.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|name| *name) {
            Ok(Some(name)) => name,
            _ => std::future::pending().await,
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &self.running())
            .field("stopping", &self.is_stopping())
            .finish()
    }
}

impl Shared {
    fn fail(&self, name: &'static str) {
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(name).is_none());
        if let Some(parent) = &self.parent {
            parent.fail(name);
        }
    }

    fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |shared| shared.parent.as_deref())
    }
}

/// Keeps a task's name on the lists of its set and the parents' while it runs.
struct Running {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Running {
    fn enter(name: &'static str, shared: Arc<Shared>) -> Self {
        shared.lineage().for_each(|shared| shared.running.lock().push(name));
        Self { name, shared }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for shared in self.shared.lineage() {
            let mut running = shared.running.lock();
            if let Some(at) = running.iter().position(|name| *name == self.name) {
                running.swap_remove(at);
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "not a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_parents_and_children() {
        let tasks = Tasks::new();
        let child = tasks.child();
        let done = Arc::new(Mutex::new(Vec::new()));
        for (set, name, seconds) in [(&tasks, "slow", 5), (&child, "slower", 9)] {
            let (stopping, done) = (set.stopping(), Arc::clone(&done));
            set.spawn(name, async move {
                stopping.await;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                done.lock().push(name);
            });
        }
        assert_eq!(tasks.running(), ["slow", "slower"]);
        assert_eq!(child.running(), ["slower"]);
        assert!(tasks.stop().await.is_empty());
        assert_eq!(*done.lock(), ["slow", "slower"]);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_drops_what_does_not_end() {
        let tasks = Tasks::new();
        tasks.child().spawn("stubborn", std::future::pending());
        assert_eq!(tasks.clone().stop().await, ["stubborn"]);
        assert!(tasks.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_alone() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn_until_stopped("loop", std::future::pending());
        assert!(child.stop().await.is_empty());
        assert!(!tasks.is_stopping());
        assert!(tasks.stop().await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_seen_by_the_root() {
        let tasks = Tasks::new();
        tasks.child().spawn("broken", async { panic!("on purpose") });
        assert_eq!(tasks.failed().await, "broken");
        assert!(tasks.stop().await.is_empty());
    }
}
