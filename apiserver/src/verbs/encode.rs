//! From an object to what the store keeps: its bytes and its header.

use serde_json::Value;

use super::select::extracted;
use crate::kinds::{Kind, builtin};
use crate::object;
use crate::status::{ApiError, ApiResult};
use crate::store::{Change, Draft, Header, Identity};

/// A write of this object.
pub(crate) fn put(kind: &Kind, object: &Value) -> Change {
    Change::Put(Draft::encode(object), header(kind, object))
}

/// A delete that leaves this final state for watchers.
pub(crate) fn removal(kind: &Kind, object: &Value) -> Change {
    Change::Delete(Draft::encode(object), header(kind, object))
}

/// An object that was stored.
pub(crate) fn decoded(bytes: &[u8]) -> ApiResult<Value> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::internal(format!("a stored object is damaged: {error}")))
}

/// The header of an object that the store loads.
pub(crate) fn extract(key: &str, bytes: &[u8]) -> Header {
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let kind = builtin().iter().find(|kind| kind.is_stored() && key.starts_with(&kind.storage_prefix()));
    kind.map(|kind| header(kind, &object)).unwrap_or_default()
}

fn header(kind: &Kind, object: &Value) -> Header {
    let identity = Identity {
        name: object::name(object),
        namespace: object::namespace(object),
        uid: object::uid(object),
    };
    let fields = extracted(kind).map(|field| field.read(object));
    let labels = object::labels(object).into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    Header::new(identity, fields, labels, object::is_deleting(object))
}
