//! The fields that field selectors may name.
//!
//! Promise: a field reads as upstream's `ToSelectableFields` prints it: booleans as `true` and `false`,
//! absent text as empty.

use std::borrow::Cow;

use serde_json::Value;

use super::Kind;

/// A field of a kind that a field selector may name.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// The name in selectors, such as `spec.nodeName`.
    pub name: Cow<'static, str>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Path,
    Read(fn(&Value) -> String),
}

impl SelectableField {
    /// A field whose name is its path.
    pub const fn at(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), source: Source::Path }
    }

    /// A field that is computed.
    pub const fn computed(name: &'static str, read: fn(&Value) -> String) -> Self {
        Self { name: Cow::Borrowed(name), source: Source::Read(read) }
    }

    /// The field's value in an object.
    pub fn read(&self, object: &Value) -> String {
        match self.source {
            Source::Read(read) => read(object),
            Source::Path => {
                let value = self.name.split('.').try_fold(object, |value, key| value.get(key));
                value.map(text).unwrap_or_default()
            }
        }
    }
}

/// A scalar as selectors compare it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        _ => String::new(),
    }
}

/// Upstream's text for a field that a kind does not offer. Kinds with fields of their own say it in
/// their own conversion, all others in the one for metadata.
pub(super) fn unsupported(kind: &Kind, label: &str) -> String {
    let own = kind.selectable_fields.iter().any(|field| !field.name.starts_with("metadata."));
    if own {
        format!("field label not supported: {label}")
    } else {
        format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    }
}
