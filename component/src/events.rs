//! Events: what happened to an object, for people.
//!
//! Promise: recording never waits and never fails the caller; what does not fit the queue or the rate is counted and
//! dropped. A repeated event becomes a higher count of the first, as client-go's correlator does.
//! Writes Events only.

mod correlate;
mod send;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::args::host_name;
use crate::clock::Clock;
use crate::tasks::Tasks;
use correlate::Correlator;
use send::{Outbox, Sender};

/// Events that may wait to be sent. More than upstream's 1000: a rollout of 3,000 pods gives as many `Scheduled` in
/// a few seconds, and a missing one is missed in `kubectl describe`.
const QUEUE: usize = 8192;

/// Longest message; longer ones are cut (upstream's limit of `note`).
const MAX_MESSAGE: usize = 1024;

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records the events of a component. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Record>,
    dropped: Arc<AtomicU64>,
    clock: Clock,
}

/// One thing that happened.
#[derive(Clone, Debug)]
struct Record {
    regarding: ObjectReference,
    related: Option<ObjectReference>,
    kind: Type,
    reason: String,
    message: String,
    action: Option<&'static str>,
    at: jiff::Timestamp,
}

/// A reference to an object, to record events about it.
#[must_use]
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

impl Recorder {
    /// A recorder that sends under the name of a component, e.g. `deployment-controller`.
    #[must_use]
    pub fn new(client: Client, component: impl Into<String>, clock: Clock, tasks: &Tasks) -> Self {
        Self::on_host(client, component, None, clock, tasks)
    }

    /// A recorder that also names the host, as a node's agent does.
    #[must_use]
    pub fn on_host(
        client: Client,
        component: impl Into<String>,
        host: Option<String>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Self {
        let (queue, records) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let component: String = component.into();
        let instance = format!("{component}-{}", host.clone().unwrap_or_else(host_name));
        let sender = Sender {
            outbox: Arc::new(Outbox { client, component, host, instance }),
            correlator: Correlator::new(),
            dropped: Arc::clone(&dropped),
        };
        tasks.spawn("events", sender.run(records, tasks.stopping()));
        Self { queue, dropped, clock }
    }

    /// Records an event about an object, as `kubectl describe` shows it. Does not wait.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        kind: Type,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.record(regarding, None, kind, reason.into(), message.into(), None);
    }

    /// Records an event in the manner of events.k8s.io/v1, which names the action that was tried, e.g. `Binding`.
    pub fn action(
        &self,
        regarding: &ObjectReference,
        kind: Type,
        reason: impl Into<String>,
        action: &'static str,
        message: impl Into<String>,
    ) {
        self.record(regarding, None, kind, reason.into(), message.into(), Some(action));
    }

    /// The same, naming another object that it has to do with.
    pub fn action_for(
        &self,
        (regarding, related): (&ObjectReference, ObjectReference),
        kind: Type,
        reason: impl Into<String>,
        action: &'static str,
        message: impl Into<String>,
    ) {
        self.record(regarding, Some(related), kind, reason.into(), message.into(), Some(action));
    }

    /// How many events did not fit the queue or the rate.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn record(
        &self,
        regarding: &ObjectReference,
        related: Option<ObjectReference>,
        kind: Type,
        reason: String,
        message: String,
        action: Option<&'static str>,
    ) {
        let at = self.clock.now();
        let message = shortened(message);
        let record = Record { regarding: regarding.clone(), related, kind, reason, message, action, at };
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

fn shortened(mut message: String) -> String {
    const CUT: &str = " ...";
    if message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE - CUT.len();
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(CUT);
    }
    message
}

#[cfg(test)]
mod tests;
