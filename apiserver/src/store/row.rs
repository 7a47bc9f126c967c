//! How one write looks on disk.
//!
//! Promise: a row that decodes is the row that was written: a checksum covers its revision and all its bytes.
//!
//! Layout, integers little-endian: checksum u32 | kind u8 | created u64 | previous u64 | cut u32 | key length u16 | key |
//! object. `previous` is the revision of the state this write replaced, 0 for none.

use super::event::{Event, EventKind};
use super::record::Revision;

/// A row as it lies in the log.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) kind: EventKind,
    pub(super) created: Revision,
    pub(super) previous: Revision,
    pub(super) cut: u32,
    pub(super) key: &'a str,
    pub(super) object: &'a [u8],
}

/// A row that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {0} of the log is damaged")]
pub(super) struct Damaged(pub(super) Revision);

const CHECKSUM: usize = 4;
const FIXED: usize = CHECKSUM + 1 + 8 + 8 + 4 + 2;

/// Encodes an event into `out`, which is cleared first.
pub(super) fn encode(event: &Event, out: &mut Vec<u8>) {
    let record = &event.record;
    let key = record.key.as_str().as_bytes();
    let previous = event.previous.as_ref().map_or(Revision::ZERO, |previous| previous.revision);
    out.clear();
    out.reserve(FIXED + key.len() + record.bytes.len());
    out.extend_from_slice(&[0; CHECKSUM]);
    out.push(code(event.kind));
    out.extend_from_slice(&record.created.get().to_le_bytes());
    out.extend_from_slice(&previous.get().to_le_bytes());
    out.extend_from_slice(&record.cut.to_le_bytes());
    let key_length = u16::try_from(key.len()).expect("names and namespaces are limited to 253 bytes");
    out.extend_from_slice(&key_length.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&record.bytes);
    let sum = checksum(event.revision, &out[CHECKSUM..]);
    out[..CHECKSUM].copy_from_slice(&sum.to_le_bytes());
}

/// Decodes a row, with its checksum.
pub(super) fn decode(revision: Revision, bytes: &[u8]) -> Result<Row<'_>, Damaged> {
    parse(revision, bytes).ok_or(Damaged(revision))
}

/// The kind and the previous revision of a row, without the checksum: what compaction needs.
pub(super) fn peek(revision: Revision, bytes: &[u8]) -> Result<(EventKind, Revision), Damaged> {
    let parts = || Some((kind(*bytes.get(CHECKSUM)?)?, Revision(u64_at(bytes, CHECKSUM + 9)?)));
    parts().ok_or(Damaged(revision))
}

fn parse(revision: Revision, bytes: &[u8]) -> Option<Row<'_>> {
    let sum = u32::from_le_bytes(bytes.get(..CHECKSUM)?.try_into().ok()?);
    if sum != checksum(revision, &bytes[CHECKSUM..]) {
        return None;
    }
    let kind = kind(*bytes.get(CHECKSUM)?)?;
    let created = Revision(u64_at(bytes, CHECKSUM + 1)?);
    let previous = Revision(u64_at(bytes, CHECKSUM + 9)?);
    let cut = u32::from_le_bytes(bytes.get(CHECKSUM + 17..CHECKSUM + 21)?.try_into().ok()?);
    let key_length = u16::from_le_bytes(bytes.get(CHECKSUM + 21..FIXED)?.try_into().ok()?) as usize;
    let key = std::str::from_utf8(bytes.get(FIXED..FIXED + key_length)?).ok()?;
    let object = &bytes[FIXED + key_length..];
    (cut as usize <= object.len()).then_some(Row { kind, created, previous, cut, key, object })
}

fn checksum(revision: Revision, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.get().to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn code(kind: EventKind) -> u8 {
    match kind {
        EventKind::Added => 1,
        EventKind::Modified => 2,
        EventKind::Deleted => 3,
    }
}

fn kind(code: u8) -> Option<EventKind> {
    match code {
        1 => Some(EventKind::Added),
        2 => Some(EventKind::Modified),
        3 => Some(EventKind::Deleted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::event::Parts;
    use super::super::header::Header;
    use super::super::record::Draft;
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let parts = Parts {
            key: "/registry/core/pods/a/x".into(),
            revision: Revision(300),
            created: Revision(7),
            kind: EventKind::Modified,
            header: Header::default(),
            previous: None,
        };
        let event = Event::new(parts, &Draft::encode(&json!({"spec": {"a": 1}})));
        let mut bytes = Vec::new();
        encode(&event, &mut bytes);
        let row = decode(Revision(300), &bytes).unwrap();
        assert_eq!((row.kind, row.created, row.previous), (EventKind::Modified, Revision(7), Revision::ZERO));
        assert_eq!(
            (row.key, row.object, row.cut),
            (event.record.key.as_str(), &event.record.bytes[..], event.record.cut)
        );
        assert_eq!(peek(Revision(300), &bytes).unwrap(), (EventKind::Modified, Revision::ZERO));
        assert_eq!(decode(Revision(301), &bytes).unwrap_err(), Damaged(Revision(301)));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Revision(300), &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert!(decode(Revision(300), &bytes[..length]).is_err(), "length {length}");
        }
    }
}
