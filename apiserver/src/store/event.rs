//! One write as watchers see it.
//!
//! Promise: the watch frame of an event is encoded once, when the write is prepared, and shared by all watchers; so is
//! the frame for watchers whose selector the object has left.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::header::Header;
use super::record::{Draft, Key, Record, Revision, around_revision, digits, push_revision};

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was not there before.
    Added,
    /// It was there and is different now.
    Modified,
    /// It is gone; the record is its final state with the revision of the delete.
    Deleted,
}

impl EventKind {
    /// The `type` of a watch frame.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    fn opening(self) -> &'static [u8] {
        match self {
            Self::Added => br#"{"type":"ADDED","object":"#,
            Self::Modified => br#"{"type":"MODIFIED","object":"#,
            Self::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }
}

/// One write.
#[derive(Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: Revision,
    /// What happened.
    pub kind: EventKind,
    /// The object after the write (its final state for a delete).
    pub record: Arc<Record>,
    /// The object before the write.
    pub previous: Option<Arc<Record>>,
    frame: Bytes,
    exit: OnceLock<Option<Bytes>>,
}

impl Event {
    /// `{"type":"...","object":{...}}` and a newline, shared by all watchers and with the record's own bytes.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// The ADDED frame for a watcher whose selector the object has just entered.
    pub fn enter_frame(&self) -> Bytes {
        match self.kind {
            EventKind::Added => self.frame(),
            _ => frame_of(EventKind::Added, &self.record.bytes),
        }
    }

    /// The DELETED frame for a watcher whose selector the object has just left: the last state that matched, with the
    /// revision of this write, as upstream sends it. `None` if there was no state before.
    pub fn exit_frame(&self) -> Option<Bytes> {
        let make =
            || Some(frame_of(EventKind::Deleted, &self.previous.as_ref()?.with_revision(self.revision)));
        self.exit.get_or_init(make).clone()
    }

    /// Makes the event of a write.
    pub(super) fn new(what: Parts, draft: &Draft) -> Arc<Self> {
        Self::build(what, &draft.head, &draft.tail)
    }

    /// Makes the event again from what was kept: the object with its revision, whose digits begin at `cut`.
    pub(super) fn restore(what: Parts, object: &[u8], cut: usize) -> Arc<Self> {
        let (head, tail) = around_revision(object, cut);
        Self::build(what, head, tail)
    }

    /// One allocation holds both the frame and the object.
    fn build(what: Parts, head: &[u8], tail: &[u8]) -> Arc<Self> {
        let Parts { key, revision, created, kind, header, previous } = what;
        let opening = kind.opening();
        let size = opening.len() + head.len() + digits(revision) + tail.len() + CLOSING.len();
        let mut frame = Vec::with_capacity(size);
        frame.extend_from_slice(opening);
        frame.extend_from_slice(head);
        push_revision(&mut frame, revision);
        frame.extend_from_slice(tail);
        frame.extend_from_slice(CLOSING);
        let frame = Bytes::from(frame);
        let bytes = frame.slice(opening.len()..frame.len() - CLOSING.len());
        let cut = u32::try_from(head.len()).expect("bodies are limited to a few MiB");
        let record = Arc::new(Record { key, revision, created, bytes, header, cut });
        Arc::new(Self { revision, kind, record, previous, frame, exit: OnceLock::new() })
    }

    /// Bytes of memory this event holds, roughly; counted against the limit of the history.
    pub(super) fn weight(&self) -> usize {
        self.frame.len() + EVENT_OVERHEAD
    }
}

/// Everything of an event but the bytes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) key: Key,
    pub(super) revision: Revision,
    pub(super) created: Revision,
    pub(super) kind: EventKind,
    pub(super) header: Header,
    pub(super) previous: Option<Arc<Record>>,
}

/// Wraps an encoded object as a watch frame of any type. Copies the object; for frames that are not shared.
pub fn frame_of(kind: EventKind, object: &[u8]) -> Bytes {
    let opening = kind.opening();
    let mut out = Vec::with_capacity(opening.len() + object.len() + CLOSING.len());
    out.extend_from_slice(opening);
    out.extend_from_slice(object);
    out.extend_from_slice(CLOSING);
    out.into()
}

/// What ends a watch frame.
const CLOSING: &[u8] = b"}\n";
/// Bytes of an event, its record and header beside the encoded object, measured roughly.
const EVENT_OVERHEAD: usize = 400;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: EventKind, revision: u64, previous: Option<Arc<Record>>) -> Arc<Event> {
        let draft = Draft::encode(&json!({"metadata": {"name": "a"}, "spec": revision}));
        let revision = Revision(revision);
        let parts = Parts {
            key: "/a".into(),
            revision,
            created: Revision(1),
            kind,
            header: Header::default(),
            previous,
        };
        Event::new(parts, &draft)
    }

    fn parse(frame: &Bytes) -> Value {
        assert!(frame.ends_with(b"}\n"));
        serde_json::from_slice(frame).unwrap()
    }

    #[test]
    fn frames_carry_type_and_object() {
        let first = event(EventKind::Added, 9, None);
        assert_eq!(
            parse(&first.frame()),
            json!({"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "9"}, "spec": 9}})
        );
        assert!(first.exit_frame().is_none());
        let second = event(EventKind::Modified, 10, Some(first.record.clone()));
        assert_eq!(parse(&second.frame())["type"], "MODIFIED");
        assert_eq!(parse(&second.enter_frame())["type"], "ADDED");
        assert_eq!(
            parse(&second.exit_frame().unwrap()),
            json!({"type": "DELETED", "object": {"metadata": {"name": "a", "resourceVersion": "10"}, "spec": 9}})
        );
    }

    #[test]
    fn the_frame_and_the_object_share_memory() {
        let event = event(EventKind::Added, 1, None);
        let frame = event.frame().as_ptr_range();
        assert!(frame.contains(&event.record.bytes.as_ptr()));
    }
}
