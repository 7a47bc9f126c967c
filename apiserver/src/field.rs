//! Errors about one field of an object, and the path that names the field.
//!
//! Promise: `FieldError` prints what upstream's `field.Error` prints, byte for byte, because users and
//! tools match on those texts. Source: apimachinery `pkg/util/validation/field`.
//! A `Path` borrows its parent, so validating a good object allocates nothing for paths.

use std::fmt;

use serde_json::Value;

use crate::status::Cause;

/// What is wrong with a field. The name sent to clients is `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Forbidden,
    Duplicate,
    TooLong,
    TooMany,
    TypeInvalid,
    NotFound,
    Internal,
}

/// One field that may not be as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: FieldErrorKind,
    /// The field, such as `spec.containers[0].name`.
    pub field: String,
    /// The value complained about as the text shows it, where it does.
    pub value: Option<String>,
    /// What to do about it; may be empty.
    pub detail: String,
}

/// All that is wrong with an object, in the order in which upstream reports it.
pub type FieldErrors = Vec<FieldError>;

impl FieldErrorKind {
    /// The machine-readable reason of a `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

impl FieldError {
    pub fn required(at: Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, at, None, detail)
    }

    pub fn invalid(at: Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, at, Some(value.into()), detail)
    }

    pub fn type_invalid(at: Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, at, Some(value.into()), detail)
    }

    pub fn forbidden(at: Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, at, None, detail)
    }

    pub fn duplicate(at: Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, at, Some(value.into()), "")
    }

    /// A duplicate that upstream shows in another form than the API's.
    pub fn duplicate_as(at: Path<'_>, shown: impl Into<String>) -> Self {
        Self { value: Some(shown.into()), ..Self::new(FieldErrorKind::Duplicate, at, None, "") }
    }

    pub fn not_found(at: Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, at, Some(value.into()), "")
    }

    /// For values that upstream shows in another form than the API's: its internal structs as JSON.
    pub fn invalid_as(at: Path<'_>, shown: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { value: Some(shown.into()), ..Self::new(FieldErrorKind::Invalid, at, None, detail) }
    }

    /// For objects that are too long to repeat.
    pub fn invalid_unshown(at: Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, at, None, detail)
    }

    /// The same error with more to say.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The value is none of `supported`, which the text lists in the order given.
    pub fn not_supported(at: Path<'_>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|one| quote(one)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, at, Some(value.into()), detail)
    }

    /// A string longer than `limit` bytes.
    pub fn too_long(at: Path<'_>, limit: usize) -> Self {
        Self::new(FieldErrorKind::TooLong, at, None, format!("may not be more than {limit} bytes"))
    }

    /// A list of `actual` items where `limit` are allowed.
    pub fn too_many(at: Path<'_>, actual: usize, limit: usize) -> Self {
        let items = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {items}");
        Self::new(FieldErrorKind::TooMany, at, Some(actual.into()), detail)
    }

    /// The text after the field's name: `Invalid value: "x": why`.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    fn new(kind: FieldErrorKind, at: Path<'_>, value: Option<Value>, detail: impl Into<String>) -> Self {
        let value = value.map(|value| match value {
            Value::String(text) => quote(&text),
            other => other.to_string(),
        });
        Self { kind, field: at.to_string(), value, detail: detail.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Self { reason: error.kind.reason().into(), message: error.body(), field: error.field }
    }
}

/// The way to a field from the object's root. Copies are free; the text is made by `Display`.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path of one field of the object itself. The empty name is the object.
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// A field of what this path names. Dots may join several: `child("a.b")`.
    pub const fn child(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of the list that this path names.
    pub const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of the map that this path names.
    pub const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let parent_is_named =
            self.parent.is_some_and(|p| !matches!(p, Path { parent: None, step: Step::Field("") }));
        match self.step {
            Step::Field(name) if parent_is_named => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// A string as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_print_like_upstream() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        assert_eq!(first.child("name").to_string(), "spec.containers[0].name");
        assert_eq!(Path::root("data").key("a/b").to_string(), "data[a/b]");
        let whole = Path::root("");
        assert_eq!(whole.child("kind").to_string(), "kind");
    }

    #[test]
    fn bodies_print_like_upstream() {
        let at = Path::root("spec");
        let table = [
            (FieldError::required(at, ""), "spec: Required value"),
            (FieldError::invalid(at, "a\"b", "is odd"), "spec: Invalid value: \"a\\\"b\": is odd"),
            (FieldError::invalid(at, -1, "must be positive"), "spec: Invalid value: -1: must be positive"),
            (FieldError::invalid(at, json!({"a": "b"}), "x"), "spec: Invalid value: {\"a\":\"b\"}: x"),
            (FieldError::duplicate(at, "c"), "spec: Duplicate value: \"c\""),
            (
                FieldError::not_supported(at, "x", &["A", "B"]),
                "spec: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ),
            (FieldError::forbidden(at, "no"), "spec: Forbidden: no"),
            (FieldError::too_long(at, 63), "spec: Too long: may not be more than 63 bytes"),
            (FieldError::too_many(at, 4, 3), "spec: Too many: 4: must have at most 3 items"),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }
}
