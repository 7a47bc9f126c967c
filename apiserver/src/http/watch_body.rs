//! The body of a WATCH: events as they happen, one frame each.
//!
//! Promise: a plain watch sends the frames that the store shares among all watchers; selectors turn events
//! into ADDED and DELETED as objects enter and leave. Bookmarks say how far the watch is. Ends at its
//! deadline, when the server stops, or with one ERROR frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::negotiate::{Format, Output, Shape};
use super::shape::{IncludeObject, TableWriter, metadata_only};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::store::{Cursor, Event, EventKind, Record, Revision, WatchError, frame_of};
use crate::verbs::convert;
use crate::verbs::select::Selection;

/// Time between bookmarks (apiserver `defaultBookmarkFrequency`).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What a watch sends.
pub(crate) struct Plan {
    pub kind: Arc<Kind>,
    pub selection: Selection,
    /// How the client's shape differs from the stored one.
    pub conversion: Option<convert::Shape>,
    pub output: Output,
    pub include: IncludeObject,
    pub bookmarks: bool,
    /// Objects to show as ADDED before anything else.
    pub initial: Vec<Arc<Record>>,
    /// Whether a bookmark says where the initial objects end.
    pub mark_end: bool,
    pub deadline: Instant,
}

/// Sends what the plan says, from the cursor on.
pub(crate) fn frames(
    server: Arc<Server>,
    cursor: Cursor,
    mut plan: Plan,
) -> impl Stream<Item = Bytes> + Send {
    let initial = std::mem::take(&mut plan.initial).into();
    let next_bookmark = Instant::now() + BOOKMARK_EVERY;
    let at_end = plan.mark_end;
    let watcher =
        Watcher { server, cursor, plan, initial, at_end, next_bookmark, columns: true, done: false };
    stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((frame, watcher))
    })
}

/// A watch that ends with this error at once, inside the stream as upstream does.
pub(crate) fn error_frame(error: &ApiError) -> Bytes {
    let object = serde_json::to_vec(error.status()).unwrap_or_default();
    frame("ERROR", &object)
}

struct Watcher {
    server: Arc<Server>,
    cursor: Cursor,
    plan: Plan,
    initial: VecDeque<Arc<Record>>,
    /// The end of the initial objects is still to be marked.
    at_end: bool,
    next_bookmark: Instant,
    /// The next Table names its columns.
    columns: bool,
    done: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(frame) = self.initial() {
            return Some(frame);
        }
        loop {
            let deadline = self.plan.deadline;
            // As long as there is something to send, nothing is waited for and no timer is set.
            while !self.server.tasks.is_stopping()
                && Instant::now() < deadline
                && let Some(event) = self.cursor.recent()
            {
                match self.event(&event) {
                    Ok(Some(frame)) => return Some(frame),
                    Ok(None) => {}
                    Err(error) => return self.fail(&error),
                }
            }
            let wake = if self.plan.bookmarks { self.next_bookmark.min(deadline) } else { deadline };
            tokio::select! {
                biased;
                event = self.cursor.next() => match event {
                    Ok(event) => match self.event(&event) {
                        Ok(Some(frame)) => return Some(frame),
                        Ok(None) => {}
                        Err(error) => return self.fail(&error),
                    },
                    Err(error) => return self.fail(&watch_error(&error)),
                },
                () = self.server.tasks.stopping() => return None,
                () = sleep_until(wake) => {
                    self.done = wake == deadline;
                    if !self.plan.bookmarks {
                        return None;
                    }
                    self.next_bookmark = wake + BOOKMARK_EVERY;
                    let revision = self.cursor.progress();
                    return Some(self.bookmark(revision, false));
                }
            }
        }
    }

    fn initial(&mut self) -> Option<Bytes> {
        if let Some(record) = self.initial.pop_front() {
            return match self.shaped(EventKind::Added, &record.bytes) {
                Ok(frame) => Some(frame),
                Err(error) => self.fail(&error),
            };
        }
        if self.at_end {
            self.at_end = false;
            let revision = self.cursor.progress();
            return Some(self.bookmark(revision, true));
        }
        None
    }

    fn fail(&mut self, error: &ApiError) -> Option<Bytes> {
        self.done = true;
        Some(error_frame(error))
    }

    /// What an event looks like to this watcher, if anything.
    fn event(&mut self, event: &Event) -> ApiResult<Option<Bytes>> {
        let plain = self.plan.output.is_plain() && self.plan.conversion.is_none();
        let selection = &self.plan.selection;
        let was = event.previous.as_ref().is_some_and(|previous| selection.matches(previous));
        if event.kind == EventKind::Deleted {
            return match (was, plain) {
                (false, _) => Ok(None),
                (true, true) => Ok(Some(event.frame())),
                (true, false) => self.shaped(EventKind::Deleted, &event.record.bytes).map(Some),
            };
        }
        let is = selection.matches(&event.record);
        let kind = match (was, is) {
            (false, false) => return Ok(None),
            (true, true) => EventKind::Modified,
            (false, true) => EventKind::Added,
            (true, false) => EventKind::Deleted,
        };
        if plain {
            return Ok(match kind {
                EventKind::Added => Some(event.enter_frame()),
                EventKind::Modified => Some(event.frame()),
                EventKind::Deleted => event.exit_frame(),
            });
        }
        let bytes = match (kind, &event.previous) {
            (EventKind::Deleted, Some(previous)) => previous.with_revision(event.revision),
            _ => event.record.bytes.clone(),
        };
        self.shaped(kind, &bytes).map(Some)
    }

    /// A frame in the shape the client asked for.
    fn shaped(&mut self, kind: EventKind, bytes: &Bytes) -> ApiResult<Bytes> {
        let output = self.plan.output;
        let converted = self.plan.conversion.map(|shape| shape.served(bytes)).transpose()?;
        let bytes = converted.as_ref().unwrap_or(bytes);
        let object = match output.shape {
            Shape::Whole => bytes.clone(),
            Shape::Metadata => metadata_only(bytes)?.into(),
            Shape::Table => {
                let metadata = json!({ "resourceVersion": revision_of(bytes) });
                self.table(std::slice::from_ref(bytes), metadata)?
            }
        };
        if output.format == Format::Yaml {
            return yaml_frame(kind.as_str(), &object);
        }
        Ok(frame_of(kind, &object))
    }

    fn table(&mut self, objects: &[Bytes], metadata: Value) -> ApiResult<Bytes> {
        let columns = std::mem::replace(&mut self.columns, false);
        let now = self.server.clock.now();
        let writer = TableWriter { kind: &self.plan.kind, include: self.plan.include, now };
        let table = writer.table(objects, metadata, columns)?;
        serde_json::to_vec(&table).map(Bytes::from).map_err(ApiError::internal)
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let kind = &self.plan.kind;
        let object = match self.plan.output.shape {
            Shape::Whole => {
                json!({ "kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata })
            }
            Shape::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
            Shape::Table => {
                json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": null, "rows": [] })
            }
        };
        let object = object.to_string();
        match self.plan.output.format {
            Format::Yaml => yaml_frame("BOOKMARK", object.as_bytes()).unwrap_or_default(),
            _ => frame("BOOKMARK", object.as_bytes()),
        }
    }
}

/// The failure of a cursor as the client sees it.
pub(crate) fn watch_error(error: &WatchError) -> ApiError {
    match error {
        WatchError::Expired { from, oldest } => {
            ApiError::expired(format!("too old resource version: {from} ({oldest})"))
        }
        WatchError::Io(_) => ApiError::internal(error),
    }
}

fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

fn yaml_frame(kind: &str, object: &[u8]) -> ApiResult<Bytes> {
    let object: Value = serde_json::from_slice(object).map_err(ApiError::internal)?;
    let text = serde_yaml_ng::to_string(&json!({ "type": kind, "object": object }));
    let text = text.map_err(ApiError::internal)?;
    Ok(format!("{text}---\n").into_bytes().into())
}

fn revision_of(bytes: &[u8]) -> String {
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    crate::object::resource_version(&object).to_owned()
}
