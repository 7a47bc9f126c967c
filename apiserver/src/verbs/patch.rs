//! PATCH: JSON patch, merge patch, strategic merge patch.
//!
//! Promise: a patch is applied to the newest state and again if somebody was faster; a patch that names a
//! `resourceVersion` is not. Source: apiserver `pkg/endpoints/handlers/patch.go`.

use std::sync::Arc;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::transaction::{Part, Transaction};
use super::{answer, decode};
use crate::http::call::Call;
use crate::http::negotiate::media_type;
use crate::http::query::{FieldValidation, WriteOptions};
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::object;
use crate::patch::{JSON_PATCH, MERGE_PATCH, Patch, STRATEGIC_MERGE_PATCH};
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

/// Apply patches come with the tracking of fields.
const ACCEPTED: [&str; 3] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH];

pub(crate) async fn patch(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    patch_part(server, call, kind, Part::Main, |new, _| Ok(new)).await
}

/// Patches an object or a part of it; `keep` sees the patched object and the old one, and makes the new.
pub(crate) async fn patch_part(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    part: Part,
    keep: impl Fn(Value, &Value) -> ApiResult<Value>,
) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let patch = read(call)?;
    let transaction = Transaction { server, call, kind, name: call.name(), part, dry_run: options.dry_run };
    let bytes = transaction
        .run(|old| {
            let mut new = patched(&patch, call, kind, old, options.field_validation)?;
            decode::finish(kind, &mut new)?;
            decode::check_name(call, &new)?;
            if object::resource_version(&new) != object::resource_version(old) {
                return Err(ApiError::modified(&kind.group, &kind.plural, call.name()));
            }
            keep(new, old)
        })
        .await?;
    answer::object(server, call, kind, StatusCode::OK, &bytes)
}

/// The patched object in the stored shape; the patch itself sees the shape the client knows.
fn patched(
    patch: &Patch,
    call: &Call,
    kind: &Kind,
    old: &Value,
    validation: FieldValidation,
) -> ApiResult<Value> {
    let Some(shape) = call.conversion() else {
        return apply(patch, call, &kind.definition, old, validation);
    };
    let mut served = old.clone();
    shape.to_served(&mut served);
    let mut new = apply(patch, call, &call.served_kind(kind).definition, &served, validation)?;
    shape.to_stored(&mut new);
    Ok(new)
}

/// The patch of a request.
pub(crate) fn read(call: &Call) -> ApiResult<Patch> {
    let sent = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Patch::read(media_type(sent), &call.body)
        .unwrap_or_else(|| Err(ApiError::unsupported_media_type(&ACCEPTED)))
}

/// The patched object, in the form of its schema.
pub(crate) fn apply(
    patch: &Patch,
    call: &Call,
    definition: &str,
    old: &Value,
    validation: FieldValidation,
) -> ApiResult<Value> {
    let strict = validation == FieldValidation::Strict;
    let patched = patch.apply(decode::definition(definition)?, old, strict)?;
    if validation == FieldValidation::Warn {
        patched.problems.iter().for_each(|problem| call.warn(problem));
    }
    Ok(patched.object)
}
