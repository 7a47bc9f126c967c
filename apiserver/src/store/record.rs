//! What the store keeps: an object as its encoded bytes, once, with a small extracted header.
//!
//! Promise: the bytes of a [`Record`] are the complete JSON of the object with its own `resourceVersion` inside, they
//! are never changed, and they share one allocation with the watch frame of the event that made them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::header::Header;

/// The number a write gets: 1 for the first, always growing, over all kinds (KEP-5504: comparable as an integer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first write.
    pub const ZERO: Self = Self(0);

    /// The bare number.
    pub fn get(self) -> u64 {
        self.0
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an object lives: `/registry/{group or core}/{plural}/{namespace}/{name}`, without the namespace for
/// cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An encoded object, cut where the decimal `resourceVersion` goes; the store puts in the revision it assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Everything up to and including the opening quote of the resourceVersion.
    pub head: Vec<u8>,
    /// Everything from the closing quote on.
    pub tail: Vec<u8>,
}

impl Draft {
    /// Encodes an object. A `metadata.resourceVersion` it carries is left out; an object without metadata gets one.
    pub fn encode(object: &Value) -> Self {
        let mut out = Vec::with_capacity(ENCODE_HINT);
        out.push(b'{');
        let fields = object.as_object();
        let field = |name: &str| fields.and_then(|fields| fields.get(name));
        // These come first, so that a list can cut them off its items.
        for name in TYPE_FIELDS {
            if let Some(value) = field(name) {
                encode_field(&mut out, name, value);
            }
        }
        let cut = encode_metadata(&mut out, field("metadata"));
        for (name, value) in fields.into_iter().flatten() {
            if name != "metadata" && !TYPE_FIELDS.contains(&name.as_str()) {
                encode_field(&mut out, name, value);
            }
        }
        out.push(b'}');
        let tail = out.split_off(cut);
        Self { head: out, tail }
    }
}

/// An object as it was after one write.
#[derive(Debug)]
pub struct Record {
    /// Where it lives.
    pub key: Key,
    /// The write that made this state; `metadata.resourceVersion` inside the bytes.
    pub revision: Revision,
    /// The write that created the object; the same for all its later states.
    pub created: Revision,
    /// The whole object as JSON.
    pub bytes: Bytes,
    /// What lists, watches and indexes need without decoding the bytes.
    pub header: Header,
    /// Where in the bytes the digits of the revision begin.
    pub(super) cut: u32,
}

impl Record {
    /// What stands before and after the digits of the revision inside the bytes.
    pub fn around_revision(&self) -> (&[u8], &[u8]) {
        around_revision(&self.bytes, self.cut as usize)
    }

    /// The same object as a draft, to be written again with a new revision (a delete that keeps the last state).
    pub fn draft(&self) -> Draft {
        let (head, tail) = self.around_revision();
        Draft { head: head.to_vec(), tail: tail.to_vec() }
    }

    /// The same object with another `resourceVersion`: what a watch shows when the object leaves its selector.
    pub fn with_revision(&self, revision: Revision) -> Bytes {
        let (head, tail) = self.around_revision();
        let mut out = Vec::with_capacity(head.len() + tail.len() + digits(revision));
        out.extend_from_slice(head);
        push_revision(&mut out, revision);
        out.extend_from_slice(tail);
        out.into()
    }
}

/// What every encoded object begins with.
const TYPE_FIELDS: [&str; 2] = ["apiVersion", "kind"];
/// Bytes reserved when an object is encoded: most objects fit without growing.
const ENCODE_HINT: usize = 2048;

/// What stands before and after the digits of the revision, which begin at `cut`.
pub(super) fn around_revision(object: &[u8], cut: usize) -> (&[u8], &[u8]) {
    let digits = object[cut..].iter().take_while(|b| b.is_ascii_digit()).count();
    (&object[..cut], &object[cut + digits..])
}

pub(super) fn digits(revision: Revision) -> usize {
    revision.0.checked_ilog10().map_or(1, |log| log as usize + 1)
}

pub(super) fn push_revision(out: &mut Vec<u8>, revision: Revision) {
    use std::io::Write;
    write!(out, "{revision}").expect("writing to a vector cannot fail");
}

/// Writes the metadata with the resourceVersion first, and answers where its digits go.
fn encode_metadata(out: &mut Vec<u8>, metadata: Option<&Value>) -> usize {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(br#""metadata":{"resourceVersion":""#);
    let cut = out.len();
    out.push(b'"');
    let fields = metadata.and_then(Value::as_object);
    for (name, value) in fields.into_iter().flatten().filter(|(name, _)| *name != "resourceVersion") {
        encode_field(out, name, value);
    }
    out.push(b'}');
    cut
}

fn encode_field(out: &mut Vec<u8>, name: &str, value: &Value) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, name).expect("a string always encodes");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("a JSON value always encodes");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole(draft: &Draft, revision: &str) -> Value {
        serde_json::from_slice(&[&draft.head, revision.as_bytes(), &draft.tail].concat()).unwrap()
    }

    #[test]
    fn a_draft_takes_the_revision_it_is_given() {
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7"},
            "spec": {"x": [1, "\"quoted\""]}, "status": {}});
        let draft = Draft::encode(&object);
        object["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(whole(&draft, "42"), object);
    }

    #[test]
    fn odd_objects_still_encode() {
        for object in
            [json!({}), json!({"a": 1}), json!({"z": 1}), json!({"metadata": {}}), json!({"metadata": null})]
        {
            let draft = Draft::encode(&object);
            assert_eq!(whole(&draft, "1")["metadata"]["resourceVersion"], "1", "{object}");
        }
    }
}
