//! The body of a LIST: stored objects between a head and a foot.
//!
//! Promise: memory does not grow with the list. Small objects are gathered into chunks, large ones are sent
//! as the slices that the store holds; gzip, where asked for, works chunk by chunk.

use std::io::Write;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;

use super::body::Body;
use super::negotiate::Shape;
use super::shape::metadata_only;
use crate::kinds::Kind;
use crate::store::{Record, Snapshot};
use crate::verbs::convert;
use crate::verbs::select::Selection;

/// Bytes gathered before a chunk is sent.
const CHUNK: usize = 64 * 1024;
/// Objects from this size on are not copied into a chunk.
const SHARED_FROM: usize = 16 * 1024;
/// Records read from the snapshot at once.
const BATCH: usize = 256;
/// Lists below this size are not compressed (apiserver `defaultGzipThresholdBytes`).
pub(crate) const GZIP_FROM: usize = 128 * 1024;

/// A list about to be sent.
pub(crate) struct ListBody {
    pub snapshot: Snapshot,
    pub selection: Selection,
    /// The key before the first.
    pub after: Option<String>,
    /// The key of the last item; `None` for all.
    pub until: Option<String>,
    pub shape: ItemShape,
    /// From the opening brace to the bracket of the items.
    pub head: Vec<u8>,
}

/// How stored objects become items of a list.
pub(crate) enum ItemShape {
    /// Typed items do not repeat kind and version, which are the first fields of every stored object: all
    /// before this is cut off.
    Typed(Vec<u8>),
    /// Decoded and brought into another shape.
    Converted(convert::Shape),
    Metadata,
}

impl ItemShape {
    pub(crate) fn new(kind: &Kind, shape: Shape, conversion: Option<convert::Shape>) -> Self {
        match (shape, conversion) {
            (Shape::Metadata, _) => Self::Metadata,
            (_, Some(conversion)) => Self::Converted(conversion),
            _ => Self::Typed(type_prefix(kind)),
        }
    }

    /// What to write of an object; a typed one lacks its opening brace.
    fn cut(&self, bytes: &Bytes) -> (bool, Bytes) {
        match self {
            Self::Typed(opening) if bytes.starts_with(opening) => (true, bytes.slice(opening.len()..)),
            Self::Typed(_) => (false, bytes.clone()),
            // A stored object always decodes.
            Self::Converted(shape) => (false, shape.served(bytes).unwrap_or_default()),
            Self::Metadata => (false, metadata_only(bytes).unwrap_or_default().into()),
        }
    }
}

/// How every stored object of a kind begins.
fn type_prefix(kind: &Kind) -> Vec<u8> {
    format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind).into_bytes()
}

const FOOT: &[u8] = b"]}\n";

impl ListBody {
    /// The body, and whether it is compressed. A list of one chunk is sent whole, with its length.
    pub(crate) fn into_body(self, gzip: bool) -> (Body, bool) {
        let mut writer = Writer::new(self);
        let mut first = Vec::new();
        let mut size = 0;
        while let Some(chunk) = writer.next() {
            size += chunk.len();
            first.push(chunk);
            if size >= GZIP_FROM {
                break;
            }
        }
        if writer.finished {
            return (Body::pieces(first), false);
        }
        let rest = first.into_iter().chain(std::iter::from_fn(move || writer.next()));
        if gzip {
            return (Body::stream(stream::iter(Gzipped::new(rest))), true);
        }
        (Body::stream(stream::iter(rest)), false)
    }
}

struct Writer {
    list: ListBody,
    batch: std::vec::IntoIter<Arc<Record>>,
    buffer: BytesMut,
    /// A large object that waits behind what was gathered.
    large: Option<Bytes>,
    any: bool,
    drained: bool,
    finished: bool,
}

impl Writer {
    fn new(mut list: ListBody) -> Self {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        buffer.extend_from_slice(&std::mem::take(&mut list.head));
        let batch = Vec::new().into_iter();
        Self { list, batch, buffer, large: None, any: false, drained: false, finished: false }
    }

    fn next(&mut self) -> Option<Bytes> {
        if let Some(large) = self.large.take() {
            return Some(large);
        }
        if self.finished {
            return None;
        }
        while let Some(record) = self.record() {
            let (open, item) = self.list.shape.cut(&record.bytes);
            let between: &[u8] = match (self.any, open) {
                (true, true) => b",{",
                (true, false) => b",",
                (false, true) => b"{",
                (false, false) => b"",
            };
            self.buffer.extend_from_slice(between);
            self.any = true;
            if item.len() >= SHARED_FROM {
                self.large = Some(item);
                return Some(self.buffer.split().freeze());
            }
            self.buffer.extend_from_slice(&item);
            if self.buffer.len() >= CHUNK {
                return Some(self.buffer.split().freeze());
            }
        }
        self.finished = true;
        self.buffer.extend_from_slice(FOOT);
        Some(self.buffer.split().freeze())
    }

    fn record(&mut self) -> Option<Arc<Record>> {
        loop {
            if let Some(record) = self.batch.next() {
                if self.list.selection.matches(&record) {
                    return Some(record);
                }
                continue;
            }
            if self.drained {
                return None;
            }
            let list = &self.list;
            let until = list.until.as_deref();
            let range = list.snapshot.range(&list.selection.prefix, list.after.as_deref());
            let batch: Vec<_> = range
                .take_while(|r| until.is_none_or(|u| r.key.as_str() <= u))
                .take(BATCH)
                .cloned()
                .collect();
            self.drained = batch.len() < BATCH;
            let last = batch.last().map(|record| record.key.as_str().to_owned());
            if last.is_some() {
                self.list.after = last;
            }
            self.batch = batch.into_iter();
        }
    }
}

/// Compresses chunks on their way.
struct Gzipped<I> {
    chunks: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I: Iterator<Item = Bytes>> Gzipped<I> {
    fn new(chunks: I) -> Self {
        Self { chunks, encoder: Some(GzEncoder::new(Vec::with_capacity(CHUNK), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Gzipped<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let encoder = self.encoder.as_mut()?;
        for chunk in self.chunks.by_ref() {
            encoder.write_all(&chunk).expect("writing to a vector cannot fail");
            if encoder.get_ref().len() >= CHUNK {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
        let end = self.encoder.take()?.finish().expect("writing to a vector cannot fail");
        Some(end.into())
    }
}
