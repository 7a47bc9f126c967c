//! The way of a write: checked against the newest state, given a revision, made durable with its neighbours, shown.
//!
//! Promise: a write is checked against everything queued before it, durable or not, so two writes of one key in one
//! batch see each other; nothing is answered or shown before it is durable; after a failed write to the device the
//! store takes no more writes, because what the device holds is then unknown.
//!
//! Flow: callers check their write, encode the event and extend the newest state, all under one short lock, while the
//! committer's thread waits for the device. Each time the device is done, everything that queued meanwhile goes out as
//! the next batch. An engine that does not wait (memory) commits in the caller, without a thread or a clock.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::engine::{Engine, EngineError};
use super::event::{Event, EventKind, Parts};
use super::header::Header;
use super::published::{Published, Superseded};
use super::record::{Draft, Key, Record, Revision};
use super::snapshot::Snapshot;
use super::topics::Topics;

/// Writes that may wait for the device at once; more wait before they are checked.
pub const QUEUED_WRITES: usize = 4096;

/// What must hold for a write to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key is not there (create).
    Absent,
    /// The key was last written at this revision (update, delete with a precondition).
    Revision(Revision),
    /// Whatever is there.
    Any,
}

/// What a write does.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces the object.
    Put(Draft, Header),
    /// Removes it; the draft is its final state, which watchers see with the revision of the delete.
    Delete(Draft, Header),
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key to write.
    pub key: Key,
    /// What must hold.
    pub expect: Expect,
    /// What to do.
    pub change: Change,
}

/// Why a write did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Expected absent, but it is there.
    #[error("the object exists at revision {}", .0.revision)]
    Exists(Arc<Record>),
    /// Expected another revision, or there is nothing to delete. Holds what is there.
    #[error("the object is not at the expected revision")]
    Conflict(Option<Arc<Record>>),
    /// The log could not be written. The store takes no more writes until it is opened again.
    #[error("the write could not be made durable")]
    Io(#[source] EngineError),
}

/// The thread that makes writes durable. Dropping it waits until what is queued is written.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let run = {
            let shared = shared.clone();
            move || shared.run()
        };
        let thread = std::thread::Builder::new().name("store-log".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(?panic, "the store's thread panicked");
        }
    }
}

/// Everything the handles, the cursors and the committer's thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Box<dyn Engine>,
    pub(super) published: RwLock<Published>,
    pub(super) topics: Topics,
    /// Told after each batch that was shown.
    pub(super) advanced: Notify,
    pending: Mutex<Pending>,
    /// Told when something was queued, or no more will be.
    queued: Condvar,
    room: Semaphore,
}

/// Tells a caller how its batch went.
type Outcome = oneshot::Receiver<Result<(), EngineError>>;

/// What was checked but is not yet durable.
#[derive(Debug)]
struct Pending {
    newest: Snapshot,
    events: Vec<Arc<Event>>,
    waiters: Vec<oneshot::Sender<Result<(), EngineError>>>,
    queued_at: Instant,
    failed: Option<EngineError>,
    closed: bool,
}

impl Shared {
    pub(super) fn new(engine: Box<dyn Engine>, published: Published) -> Self {
        let pending = Pending {
            newest: published.current.clone(),
            events: Vec::new(),
            waiters: Vec::new(),
            queued_at: Instant::now(),
            failed: None,
            closed: false,
        };
        Self {
            engine,
            published: RwLock::new(published),
            topics: Topics::default(),
            advanced: Notify::new(),
            pending: Mutex::new(pending),
            queued: Condvar::new(),
            room: Semaphore::new(QUEUED_WRITES),
        }
    }

    /// Carries out a write; resolves when it is durable and visible.
    pub(super) async fn commit(&self, write: Write) -> Result<Arc<Record>, CommitError> {
        if !self.engine.waits() {
            return self.commit_here(write);
        }
        let _room = self.room.acquire().await.expect("the semaphore is never closed");
        let (record, done) = self.enqueue(write)?;
        match done.await {
            Ok(Ok(())) => Ok(record),
            Ok(Err(error)) => Err(CommitError::Io(error)),
            Err(gone) => Err(CommitError::Io(EngineError::new("write", gone))),
        }
    }

    /// One batch after the other until [`Self::close`].
    fn run(&self) {
        while let Some(batch) = self.next_batch() {
            let append = || self.engine.append(&batch.events);
            let outcome =
                catch_unwind(AssertUnwindSafe(append)).unwrap_or_else(|_| Err(EngineError::panicked()));
            match &outcome {
                Ok(()) => {
                    let last = batch.after.revision();
                    drop(self.publish(&batch.events, batch.after, batch.queued_at));
                    self.wake(&batch.events, last);
                }
                Err(error) => {
                    tracing::error!(error = %error, source = %error.source, "store takes no more writes");
                    self.pending.lock().failed = Some(error.clone());
                }
            }
            for waiter in batch.waiters {
                // A caller that went away does not wait for the answer.
                let _ = waiter.send(outcome.clone());
            }
        }
    }

    /// Ends the thread after what is queued now.
    fn close(&self) {
        self.pending.lock().closed = true;
        self.queued.notify_one();
    }

    fn commit_here(&self, write: Write) -> Result<Arc<Record>, CommitError> {
        let mut pending = self.pending.lock();
        let event = pending.check(write)?;
        self.engine.append(std::slice::from_ref(&event)).map_err(CommitError::Io)?;
        let after = pending.newest.clone();
        // Shown under the lock, so that events are shown in their order.
        let superseded = self.publish(std::slice::from_ref(&event), after, Instant::now());
        // The next write need not wait while others are woken and memory is given back.
        drop(pending);
        self.wake(std::slice::from_ref(&event), event.revision);
        drop(superseded);
        Ok(event.record.clone())
    }

    fn enqueue(&self, write: Write) -> Result<(Arc<Record>, Outcome), CommitError> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        let event = pending.check(write)?;
        let record = event.record.clone();
        let first = pending.events.is_empty();
        pending.events.push(event);
        pending.waiters.push(sender);
        pending.queued_at = Instant::now();
        drop(pending);
        if first {
            self.queued.notify_one();
        }
        Ok((record, receiver))
    }

    fn next_batch(&self) -> Option<Batch> {
        let mut pending = self.pending.lock();
        loop {
            if let Some(error) = pending.failed.clone() {
                // What queued behind a failed write was checked against a state that never came to be.
                pending.events.clear();
                for waiter in pending.waiters.drain(..) {
                    let _ = waiter.send(Err(error.clone()));
                }
            }
            if !pending.events.is_empty() {
                return Some(Batch {
                    events: std::mem::take(&mut pending.events),
                    waiters: std::mem::take(&mut pending.waiters),
                    after: pending.newest.clone(),
                    queued_at: pending.queued_at,
                });
            }
            if pending.closed {
                return None;
            }
            self.queued.wait(&mut pending);
        }
    }

    fn publish(&self, events: &[Arc<Event>], after: Snapshot, now: Instant) -> Superseded {
        self.published.write().publish(events, after, now)
    }

    fn wake(&self, events: &[Arc<Event>], last: Revision) {
        self.topics.wake(events, last);
        self.advanced.notify_waiters();
    }
}

/// Writes that become durable together.
struct Batch {
    events: Vec<Arc<Event>>,
    waiters: Vec<oneshot::Sender<Result<(), EngineError>>>,
    after: Snapshot,
    queued_at: Instant,
}

impl Pending {
    /// Decides on a write against the newest state, and makes it part of that state.
    fn check(&mut self, write: Write) -> Result<Arc<Event>, CommitError> {
        if let Some(error) = &self.failed {
            return Err(CommitError::Io(error.clone()));
        }
        let Write { key, expect, change } = write;
        let previous = self.newest.get(key.as_str()).cloned();
        match (expect, &previous) {
            (Expect::Absent, Some(there)) => return Err(CommitError::Exists(there.clone())),
            (Expect::Revision(wanted), there) if there.as_ref().map(|r| r.revision) != Some(wanted) => {
                return Err(CommitError::Conflict(previous));
            }
            (_, None) if matches!(change, Change::Delete(..)) => return Err(CommitError::Conflict(None)),
            _ => {}
        }
        let revision = self.newest.revision().next();
        let (kind, draft, header) = match change {
            Change::Delete(draft, header) => (EventKind::Deleted, draft, header),
            Change::Put(draft, header) if previous.is_some() => (EventKind::Modified, draft, header),
            Change::Put(draft, header) => (EventKind::Added, draft, header),
        };
        // One allocation for the key of all states of an object.
        let key = previous.as_ref().map_or(key, |previous| previous.key.clone());
        let created = previous.as_ref().map_or(revision, |previous| previous.created);
        let event = Event::new(Parts { key, revision, created, kind, header, previous }, &draft);
        self.newest.apply(&event);
        Ok(event)
    }
}
