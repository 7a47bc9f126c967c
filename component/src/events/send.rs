//! The task behind the recorders.
//!
//! Promise: several events are under way at a time, but never two that could be the same event repeated; those wait for
//! each other, so that the second becomes a count of the first. Nothing is read of an answer but whether it refuses.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Record;
use super::correlate::{Correlator, Group, Step};
use crate::client::lean;

/// Events under way at a time.
const CONCURRENCY: usize = 32;

/// How long the server may take for one event.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// How many names are tried for an event whose name is taken.
const NAME_ATTEMPTS: i128 = 16;

/// How long events that wait may still be sent at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Takes records and sends them.
pub(super) struct Sender {
    pub(super) outbox: Arc<Outbox>,
    pub(super) correlator: Correlator,
    pub(super) dropped: Arc<AtomicU64>,
}

/// Where events go, and in whose name.
pub(super) struct Outbox {
    pub(super) client: Client,
    pub(super) component: String,
    pub(super) host: Option<String>,
    /// `reportingInstance` of events that name an action: the component on its host.
    pub(super) instance: String,
}

/// An event that was sent, under which name or why not.
type Sent = (Record, Result<String, kube::Error>);

/// What is under way.
#[derive(Default)]
struct UnderWay {
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    groups: BTreeSet<Group>,
    /// Waits for one like it; no other is begun meanwhile.
    held: Option<Record>,
}

impl UnderWay {
    fn takes_more(&self) -> bool {
        self.held.is_none() && self.sending.len() < CONCURRENCY
    }
}

impl Sender {
    /// Sends until told to stop or nobody can record any more, and then what waits, for a while.
    pub(super) async fn run(
        mut self,
        mut records: mpsc::Receiver<Record>,
        stopping: impl Future<Output = ()> + Send,
    ) {
        let mut stopping = pin!(stopping);
        let mut under_way = UnderWay::default();
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => break,
                Some(sent) = under_way.sending.next(), if !under_way.sending.is_empty() => {
                    self.settle(sent, &mut under_way);
                }
                record = records.recv(), if under_way.takes_more() => match record {
                    Some(record) => self.begin(record, &mut under_way),
                    None => break,
                }
            }
        }
        let drain = async {
            loop {
                while under_way.takes_more() {
                    let Ok(record) = records.try_recv() else { break };
                    self.begin(record, &mut under_way);
                }
                let Some(sent) = under_way.sending.next().await else { break };
                self.settle(sent, &mut under_way);
            }
        };
        if timeout(DRAIN_LIMIT, drain).await.is_err() {
            tracing::debug!("events were left unsent");
        }
    }

    fn begin(&mut self, record: Record, under_way: &mut UnderWay) {
        let group = Group::of(&record);
        if under_way.groups.contains(&group) {
            under_way.held = Some(record);
            return;
        }
        match self.correlator.next(&record) {
            Step::Drop => self.count_dropped(),
            step => {
                under_way.groups.insert(group);
                under_way.sending.push(Box::pin(self.outbox.clone().send(record, step)));
            }
        }
    }

    fn settle(&mut self, (record, sent): Sent, under_way: &mut UnderWay) {
        under_way.groups.remove(&Group::of(&record));
        match sent {
            Ok(name) => self.correlator.sent(&record, name),
            Err(error) => {
                tracing::debug!(reason = record.reason, %error, "event was refused");
                self.count_dropped();
            }
        }
        if let Some(record) = under_way.held.take() {
            self.begin(record, under_way);
        }
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Outbox {
    async fn send(self: Arc<Self>, record: Record, step: Step) -> Sent {
        let sent = match step {
            Step::Drop => Ok(String::new()),
            Step::Create { message } => self.create(&record, message, 1).await,
            Step::Repeat { name, count, message } => match self.repeat(&record, &name, count, &message).await
            {
                // It ran out or was deleted: the count goes on in a new one.
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.create(&record, message, count).await
                }
                sent => sent.map(|()| name),
            },
        };
        (record, sent)
    }

    async fn create(&self, record: &Record, message: String, count: i32) -> Result<String, kube::Error> {
        let mut event = self.event(record, message, count);
        let mut attempt = 0;
        loop {
            let name = event_name(record, attempt);
            event.metadata.name = Some(name.clone());
            let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
            match limited(lean::write(&self.client, path(record).create(&PostParams::default(), body))).await
            {
                // Another event about the object in the same nanosecond, which paused time makes likely.
                Err(kube::Error::Api(status)) if status.is_already_exists() && attempt < NAME_ATTEMPTS => {
                    attempt += 1;
                }
                created => return created.map(|()| name),
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
        let request = path(record).patch(name, &PatchParams::default(), &Patch::Merge(patch));
        limited(lean::write(&self.client, request)).await
    }

    fn event(&self, record: &Record, message: String, count: i32) -> Event {
        let regarding = &record.regarding;
        let metadata = ObjectMeta { namespace: Some(namespace(record).to_owned()), ..ObjectMeta::default() };
        let modern = record.action.is_some();
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
            reporting_instance: match modern {
                true => Some(self.instance.clone()),
                false => self.host.clone(),
            },
            related: record.related.clone(),
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

fn path(record: &Record) -> Request {
    Request::new(Event::url_path(&(), Some(namespace(record))))
}

async fn limited(writing: impl Future<Output = Result<(), kube::Error>>) -> Result<(), kube::Error> {
    timeout(SEND_LIMIT, writing).await.unwrap_or_else(|late| Err(kube::Error::Service(late.into())))
}
