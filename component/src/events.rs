//! Events: what happened to an object, for people.
//!
//! Promise: recording never waits and never fails the caller; what does not fit the queue or the rate is counted and
//! dropped. A repeated event becomes a higher count of the first, as client-go's correlator does.
//! Writes Events only.

mod correlate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::tasks::Tasks;
use correlate::{Correlator, Step};

/// Events that may wait to be sent. More than upstream's 1000: a rollout of 3,000 pods gives as many `Scheduled` in
/// a few seconds, and a missing one is missed in `kubectl describe`.
const QUEUE: usize = 8192;

/// How long the server may take for one event.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// How many names are tried for an event whose name is taken.
const NAME_ATTEMPTS: i128 = 16;

/// How long events that wait may still be sent at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

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
        let sender = Sender {
            client,
            component: component.into(),
            host,
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
        self.record(regarding, kind, reason.into(), message.into(), None);
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
        self.record(regarding, kind, reason.into(), message.into(), Some(action));
    }

    /// How many events did not fit the queue or the rate.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn record(
        &self,
        regarding: &ObjectReference,
        kind: Type,
        reason: String,
        message: String,
        action: Option<&'static str>,
    ) {
        let at = self.clock.now();
        let message = shortened(message);
        let record = Record { regarding: regarding.clone(), kind, reason, message, action, at };
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

/// The task behind the recorders.
struct Sender {
    client: Client,
    component: String,
    host: Option<String>,
    correlator: Correlator,
    dropped: Arc<AtomicU64>,
}

impl Sender {
    async fn run(mut self, mut records: mpsc::Receiver<Record>, stopping: impl Future<Output = ()> + Send) {
        let mut stopping = std::pin::pin!(stopping);
        loop {
            let record = tokio::select! {
                biased;
                () = &mut stopping => break,
                record = records.recv() => record,
            };
            let Some(record) = record else { return };
            self.send(record).await;
        }
        let drain = async {
            while let Ok(record) = records.try_recv() {
                self.send(record).await;
            }
        };
        if timeout(DRAIN_LIMIT, drain).await.is_err() {
            tracing::debug!("events were left unsent");
        }
    }

    async fn send(&mut self, record: Record) {
        let sent = match self.correlator.next(&record) {
            Step::Drop => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Step::Create { message } => self.create(&record, message).await,
            Step::Repeat { name, count, message } => match self.repeat(&record, &name, count, &message).await
            {
                // It ran out or was deleted: the count goes on in a new one.
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.create_counted(&record, message, count).await
                }
                sent => sent.map(|()| name),
            },
        };
        match sent {
            Ok(name) => self.correlator.sent(&record, name),
            Err(error) => {
                tracing::debug!(reason = record.reason, %error, "event was refused");
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn create(&self, record: &Record, message: String) -> Result<String, kube::Error> {
        self.create_counted(record, message, 1).await
    }

    async fn create_counted(
        &self,
        record: &Record,
        message: String,
        count: i32,
    ) -> Result<String, kube::Error> {
        let mut event = self.event(record, message, count);
        let mut attempt = 0;
        loop {
            let name = event_name(record, attempt);
            event.metadata.name = Some(name.clone());
            match limited(self.api(record).create(&PostParams::default(), &event)).await {
                // Another event about the object in the same nanosecond, which paused time makes likely.
                Err(kube::Error::Api(status)) if status.is_already_exists() && attempt < NAME_ATTEMPTS => {
                    attempt += 1;
                }
                created => return created.map(|_| name),
            }
        }
    }

    async fn repeat(
        &self,
        record: &Record,
        name: &str,
        count: i32,
        message: &str,
    ) -> Result<(), kube::Error> {
        let patch = match record.action {
            None => json!({ "count": count, "lastTimestamp": Time(record.at), "message": message }),
            Some(_) => json!({ "series": { "count": count, "lastObservedTime": MicroTime(record.at) } }),
        };
        let patch = Patch::Merge(patch);
        limited(self.api(record).patch(name, &PatchParams::default(), &patch)).await.map(drop)
    }

    fn api(&self, record: &Record) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace(record))
    }

    fn event(&self, record: &Record, message: String, count: i32) -> Event {
        let regarding = &record.regarding;
        let metadata = ObjectMeta { namespace: Some(namespace(record).to_owned()), ..ObjectMeta::default() };
        let modern = record.action.is_some();
        let instance = self.host.clone().unwrap_or_else(|| self.component.clone());
        Event {
            metadata,
            involved_object: regarding.clone(),
            reason: Some(record.reason.clone()),
            message: Some(message),
            type_: Some(record.kind.name().to_owned()),
            action: record.action.map(str::to_owned),
            event_time: modern.then_some(MicroTime(record.at)),
            count: (!modern).then_some(count),
            first_timestamp: (!modern).then_some(Time(record.at)),
            last_timestamp: (!modern).then_some(Time(record.at)),
            source: (!modern)
                .then(|| EventSource { component: Some(self.component.clone()), host: self.host.clone() }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: modern.then_some(instance).or_else(|| self.host.clone()),
            related: None,
            series: None,
        }
    }
}

/// Object and time, as upstream names events.
fn event_name(record: &Record, attempt: i128) -> String {
    let object = record.regarding.name.as_deref().unwrap_or_default();
    format!("{object}.{:x}", record.at.as_nanosecond() + attempt)
}

/// The namespace an event lives in: its object's, or `default` for cluster-wide objects.
fn namespace(record: &Record) -> &str {
    record.regarding.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

async fn limited<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(SEND_LIMIT, request).await.unwrap_or_else(|late| Err(kube::Error::Service(late.into())))
}

#[cfg(test)]
mod tests;
