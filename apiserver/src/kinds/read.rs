//! Short reads of fields on the way through a decoded object.
//!
//! Promise: never fails and never panics; what is absent, null or of another type reads as empty.

use serde_json::{Map, Value};

/// Reads of one field of an object. Indexing (`object["spec"]`) goes deeper: absent is null.
pub(crate) trait Read {
    /// The string, or empty.
    fn text(&self, key: &str) -> &str;
    fn int(&self, key: &str) -> Option<i64>;
    /// The boolean, or false.
    fn flag(&self, key: &str) -> bool;
    /// The list, or empty.
    fn list(&self, key: &str) -> &[Value];
    /// The entries of a map, or none.
    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)>;
    /// Whether the field is there and not null.
    fn has(&self, key: &str) -> bool;
}

impl Read for Value {
    fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_null())
    }
}

/// Writes `value` where the field is absent or null.
pub(crate) fn default(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        let field = map.entry(key).or_insert(Value::Null);
        if field.is_null() {
            *field = value.into();
        }
    }
}

/// The object under a key for writing; made where there is none.
pub(crate) fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut object[key];
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    child
}

/// Writes `value` where the field is absent, null or the empty string.
pub(crate) fn default_text(object: &mut Value, key: &str, value: &str) {
    if object.is_object() && object.text(key).is_empty() {
        object[key] = value.into();
    }
}

/// The items of a list for writing, or none.
pub(crate) fn items_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}
