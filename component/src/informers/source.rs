//! Keeps one store in step with the server: list, watch, watch again from where it stopped, list again when the
//! server has forgotten that place.
//!
//! Promise: the store is only ever moved forward, by one task; every failure is followed by a growing pause.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, Status, WatchEvent};
use kube::{Client, Error};
use objects::views::nullable;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{Object, Selection, Shared, revision};
use crate::client::lean::{self, Lines};
use crate::clock::Clock;

/// Objects a list request asks for, as client-go's pager does.
const PAGE_SIZE: u32 = 500;

/// How long a page may take before the connection counts as dead.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// How long the server is to keep one watch open; kube allows less than 295.
const WATCH_SECONDS: u32 = 290;

/// Silence after which a watch counts as dead: the server should have closed it before.
const WATCH_SILENCE: Duration = Duration::from_secs(295);

/// Events that are taken in together, when they have come already.
const BATCH: usize = 64;

/// Pauses after failures double from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Pause before a kind that the server does not serve is asked for again.
const MISSING_PAUSE: Duration = Duration::from_secs(300);

/// A watch that lived this long was a success.
const HEALTHY: Duration = Duration::from_secs(10);

/// Where a store's objects come from.
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) selection: Selection,
    pub(super) metadata_only: bool,
    /// The server need not serve the kind; it then counts as empty.
    pub(super) optional: bool,
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
                Err(error) if self.optional && is_missing(&error) => {
                    tracing::debug!(path = self.path, %error, "kind not served");
                    shared.store.write().replace(Vec::new());
                    shared.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
                    tokio::time::sleep(MISSING_PAUSE).await;
                    continue;
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
        let mut lines = match timeout(LIST_LIMIT, lean::watch(&self.client, request)).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => return ended(error),
            Err(late) => return End::Failed(Error::Service(late.into())),
        };
        loop {
            let Ok(Some(first)) = timeout(WATCH_SILENCE, lines.next()).await else { return End::Closed };
            let (reached, end) = self.take_in(first, &mut lines, shared);
            if let Some(reached) = reached {
                shared.advance(revision(Some(&reached)));
                *resource_version = reached;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Takes in a line and those behind it that have come already: the revision they reach, and how the watch ended
    /// if it did.
    fn take_in<K: Object>(
        &self,
        first: Bytes,
        lines: &mut Lines,
        shared: &Shared<K>,
    ) -> (Option<String>, Option<End>) {
        let (mut reached, mut line) = (None, first);
        for taken in 1.. {
            match self.decoded::<K>(&line) {
                Ok(Some(event)) => match applied(event, shared) {
                    Ok(revision) => reached = revision.or(reached),
                    Err(end) => return (reached, Some(end)),
                },
                Ok(None) => {}
                Err(end) => return (reached, Some(end)),
            }
            if taken == BATCH {
                break;
            }
            match lines.ready() {
                Some(next) => line = next,
                None => break,
            }
        }
        (reached, None)
    }

    /// The event of a line. `None` for one that cannot be read, which is skipped: the others must not wait for it.
    fn decoded<K: Object>(&self, line: &[u8]) -> Result<Option<WatchEvent<K>>, End> {
        let error = match serde_json::from_slice(line) {
            Ok(event) => return Ok(Some(event)),
            Err(error) => error,
        };
        // A server in trouble may send a bare Status. Every field of one is optional, so that any object is one.
        match serde_json::from_slice::<Status>(line) {
            Ok(status) if status.code != 0 || status.status.is_some() => {
                Err(ended(Error::Api(status.boxed())))
            }
            _ => {
                tracing::warn!(path = self.path, %error, "object skipped, it does not decode");
                Ok(None)
            }
        }
    }
}

/// Takes an event in: the revision it reaches.
fn applied<K: Object>(event: WatchEvent<K>, shared: &Shared<K>) -> Result<Option<String>, End> {
    Ok(match event {
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
        WatchEvent::Error(status) => return Err(ended(Error::Api(status))),
    })
}

/// Whether the server has no such kind, or none for us.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Api(status) if matches!(status.code, 403 | 404))
}

fn ended(error: Error) -> End {
    match error {
        Error::Api(status) if status.code == 410 => End::Expired,
        error => End::Failed(error),
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
