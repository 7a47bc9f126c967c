//! Keeps one store in step with the server: list, watch, watch again from where it stopped, list again when the
//! server has forgotten that place.
//!
//! Promise: the store is only ever moved forward, by one task; every failure is followed by a growing pause.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use kube::{Client, Error};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{Object, Selection, Shared, revision};
use crate::clock::Clock;

/// Objects a list request asks for, as client-go's pager does.
const PAGE_SIZE: u32 = 500;

/// How long a page may take before the connection counts as dead.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// How long the server is to keep one watch open; kube allows less than 295.
const WATCH_SECONDS: u32 = 290;

/// Silence after which a watch counts as dead: the server should have closed it before.
const WATCH_SILENCE: Duration = Duration::from_secs(295);

/// Pauses after failures double from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A watch that lived this long was a success.
const HEALTHY: Duration = Duration::from_secs(10);

/// Where a store's objects come from.
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) selection: Selection,
    pub(super) metadata_only: bool,
    pub(super) clock: Clock,
}

/// How a watch ended.
enum End {
    /// In order, or by a broken connection; the next one starts where this one stopped.
    Closed,

    /// The server no longer knows what happened since.
    Expired,

    Failed(Error),
}

/// A list without the type fields, which kube's `ObjectList` would buffer the whole body for.
#[derive(Deserialize)]
#[serde(bound = "K: Object")]
struct Page<K> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new", deserialize_with = "nullable")]
    items: Vec<K>,
}

fn nullable<'de, D: serde::Deserializer<'de>, K: Object>(deserializer: D) -> Result<Vec<K>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Source {
    /// Runs until it is dropped.
    pub(super) async fn run<K: Object>(self, shared: Arc<Shared<K>>) {
        let mut pause = Pause::new(self.clock.clone());
        loop {
            match self.list::<K>().await {
                Ok((objects, resource_version)) => {
                    shared.store.write().replace(objects);
                    shared.advance(revision(Some(&resource_version)));
                    shared.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
                    self.watch_until_expired(resource_version, &shared, &mut pause).await;
                }
                Err(error) => tracing::warn!(path = self.path, %error, "list failed"),
            }
            pause.wait().await;
        }
    }

    /// Everything there is, at the revision returned.
    async fn list<K: Object>(&self) -> Result<(Vec<K>, String), Error> {
        let mut objects = Vec::new();
        let mut params = ListParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            limit: Some(PAGE_SIZE),
            ..ListParams::default()
        };
        loop {
            let request = Request::new(self.path.clone());
            let request =
                if self.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
            let page = self.client.request::<Page<K>>(request.map_err(Error::BuildRequest)?);
            let page = timeout(LIST_LIMIT, page).await.map_err(|late| Error::Service(late.into()))??;
            objects.extend(page.items.into_iter().map(slimmed));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((objects, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    /// Watches again and again, until only a list can help.
    async fn watch_until_expired<K: Object>(
        &self,
        mut resource_version: String,
        shared: &Shared<K>,
        pause: &mut Pause,
    ) {
        loop {
            let started = Instant::now();
            let end = self.watch(&mut resource_version, shared).await;
            let healthy = started.elapsed() >= HEALTHY;
            if healthy {
                pause.reset();
            }
            match end {
                End::Expired => {
                    tracing::debug!(path = self.path, resource_version, "watch expired, listing again");
                    return;
                }
                End::Closed if healthy => {}
                End::Closed => pause.wait().await,
                End::Failed(error) => {
                    tracing::warn!(path = self.path, %error, "watch failed");
                    pause.wait().await;
                }
            }
        }
    }

    async fn watch<K: Object>(&self, resource_version: &mut String, shared: &Shared<K>) -> End {
        let params = WatchParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(self.path.clone());
        let request = if self.metadata_only {
            request.watch_metadata(&params, resource_version)
        } else {
            request.watch(&params, resource_version)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return End::Failed(Error::BuildRequest(error)),
        };
        let events = match timeout(LIST_LIMIT, self.client.request_events::<K>(request)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return ended(error),
            Err(late) => return End::Failed(Error::Service(late.into())),
        };
        let mut events: BoxStream<'_, Result<WatchEvent<K>, Error>> = events.boxed();
        loop {
            let event = match timeout(WATCH_SILENCE, events.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) | Err(_) => return End::Closed,
                Ok(Err(error)) if is_undecodable(&error) => {
                    tracing::warn!(path = self.path, %error, "object skipped, it does not decode");
                    continue;
                }
                Ok(Err(error)) => return ended(error),
            };
            let reached = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let object = slimmed(object);
                    let reached = object.meta().resource_version.clone();
                    shared.store.write().apply(object);
                    reached
                }
                WatchEvent::Deleted(object) => {
                    let object = slimmed(object);
                    let reached = object.meta().resource_version.clone();
                    shared.store.write().delete(object);
                    reached
                }
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                WatchEvent::Error(status) => return ended(Error::Api(status)),
            };
            if let Some(reached) = reached {
                shared.advance(revision(Some(&reached)));
                *resource_version = reached;
            }
        }
    }
}

fn ended(error: Error) -> End {
    match error {
        Error::Api(status) if status.code == 410 => End::Expired,
        error => End::Failed(error),
    }
}

/// Whether one event could not be read. kube takes such a line for a `Status` if it can, and as every field of one is
/// optional, any JSON object is an empty one.
fn is_undecodable(error: &Error) -> bool {
    match error {
        Error::SerdeError(_) => true,
        Error::Api(status) => status.code == 0 && status.status.is_none(),
        _ => false,
    }
}

/// Without the record of who set which field, which nobody reads and which is a large part of an object.
fn slimmed<K: Object>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Growing pauses between attempts.
struct Pause {
    next: Duration,
    clock: Clock,
}

impl Pause {
    const fn new(clock: Clock) -> Self {
        Self { next: MIN_PAUSE, clock }
    }

    const fn reset(&mut self) {
        self.next = MIN_PAUSE;
    }

    /// Waits, up to half as long again so that processes that failed together do not come back together; the
    /// clock's nanoseconds are random enough for that.
    async fn wait(&mut self) {
        let share = f64::from(self.clock.now().subsec_nanosecond().unsigned_abs() % 1000) / 2000.0;
        tokio::time::sleep(self.next.mul_f64(1.0 + share)).await;
        self.next = (self.next * 2).min(MAX_PAUSE);
    }
}
