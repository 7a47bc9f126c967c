//! The three ways to change an object by a patch: JSON patch, merge patch, strategic merge patch.
//!
//! Pure: a patch and an object in, an object out. What the result must look like is checked by
//! `schema::check`. Source: apiserver `pkg/endpoints/handlers/patch.go`, apimachinery `pkg/util/strategicpatch`.

mod json;
mod shown;
mod strategic;

use serde_json::{Map, Value};

use crate::schema::{self, Definition, decode};
use crate::status::{ApiError, ApiResult, Cause};

pub use strategic::{StrategicError, strategic};

pub const JSON_PATCH: &str = "application/json-patch+json";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";

/// A patch as it was sent.
#[derive(Clone, Debug)]
pub struct Patch {
    change: Change,
    /// Strict problems of the patch itself: duplicate fields, unknown fields of operations.
    problems: Vec<String>,
}

#[derive(Clone, Debug)]
enum Change {
    Json(Vec<json::Operation>),
    Merge(Value),
    Strategic(Map<String, Value>),
}

/// A patched object, and what a strict reader holds against the patch.
#[derive(Clone, Debug)]
pub struct Patched {
    pub object: Value,
    /// As in [`schema::Decoded`].
    pub problems: Vec<String>,
}

impl Patch {
    /// Reads a patch of that media type; `None` if the type is none of the three.
    pub fn read(media_type: &str, body: &[u8]) -> Option<ApiResult<Self>> {
        Some(match media_type {
            JSON_PATCH => json::read(body).map(|(operations, problems)| (Change::Json(operations), problems)),
            MERGE_PATCH => {
                read_object(body).map(|(patch, problems)| (Change::Merge(Value::Object(patch)), problems))
            }
            STRATEGIC_MERGE_PATCH => {
                read_object(body).map(|(patch, problems)| (Change::Strategic(patch), problems))
            }
            _ => return None,
        })
        .map(|read| read.map(|(change, problems)| Self { change, problems }))
    }

    /// The object after the patch, in the form of its kind. With `strict`, problems are an error.
    pub fn apply(&self, definition: &Definition, old: &Value, strict: bool) -> ApiResult<Patched> {
        let mut object = self.change(Some(definition), old)?;
        let found = match schema::check(definition, &mut object) {
            Ok(found) => found,
            Err(error) => return Err(invalid(&self.shown(definition, old)?, &error.to_string())),
        };
        let problems: Vec<String> = self.problems.iter().cloned().chain(found).collect();
        if strict && !problems.is_empty() {
            let why = format!("strict decoding error: {}", problems.join(", "));
            return Err(invalid(&self.shown(definition, old)?, &why));
        }
        Ok(Patched { object, problems })
    }

    /// What upstream shows of a patch it could not use: the patch, or the object as it would have been.
    fn shown(&self, definition: &Definition, old: &Value) -> ApiResult<String> {
        let as_changed = |patch| {
            let object = self.change(Some(definition), old)?;
            Ok(shown::patched(Some(definition), &object, patch))
        };
        match &self.change {
            Change::Strategic(patch) => Ok(shown::go_text(&Value::Object(patch.clone()))),
            Change::Merge(patch) => as_changed(Some(patch)),
            Change::Json(_) => as_changed(Some(&Value::Object(Map::new()))),
        }
    }

    /// The changed object as it is, for kinds without a definition. They have no strategic merge patch.
    pub fn apply_untyped(&self, old: &Value) -> ApiResult<Patched> {
        Ok(Patched { object: self.change(None, old)?, problems: self.problems.clone() })
    }

    fn change(&self, definition: Option<&Definition>, old: &Value) -> ApiResult<Value> {
        match (&self.change, definition) {
            (Change::Json(operations), _) => json::apply(operations, old),
            (Change::Strategic(patch), Some(definition)) => {
                strategic(definition, old, patch).map_err(|error| ApiError::bad_request(error.to_string()))
            }
            (Change::Merge(patch), _) => Ok(merge(old, patch)),
            (Change::Strategic(_), None) => Err(ApiError::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH])),
        }
    }
}

/// RFC 7386: objects merge, null deletes, everything else replaces.
pub fn merge(old: &Value, patch: &Value) -> Value {
    let mut new = old.clone();
    json_patch::merge(&mut new, patch);
    new
}

fn read_object(body: &[u8]) -> ApiResult<(Map<String, Value>, Vec<String>)> {
    let unreadable =
        |why: &dyn std::fmt::Display| ApiError::bad_request(format!("error decoding patch: {why}"));
    let decoded = decode::json(body, None).map_err(|error| unreadable(&error))?;
    match decoded.value {
        Value::Object(patch) => Ok((patch, decoded.problems)),
        other => {
            let found = json::kind_of(&other);
            Err(unreadable(&format!(
                "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )))
        }
    }
}

/// Upstream's answer to a patch whose result does not fit the kind. It names neither kind nor object.
fn invalid(shown: &str, why: &str) -> ApiError {
    let message = format!("Invalid value: {shown:?}: {why}");
    ApiError::invalid(
        "",
        "",
        "",
        [Cause { reason: "FieldValueInvalid".into(), message, field: "patch".into() }],
    )
}

#[cfg(test)]
mod tests;
