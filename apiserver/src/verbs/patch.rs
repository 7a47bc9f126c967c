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
use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::negotiate::media_type;
use crate::http::query::{FieldValidation, WriteOptions};
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const ACCEPTED: [&str; 3] = [JSON_PATCH, MERGE, STRATEGIC];

pub(crate) async fn patch(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    patch_part(server, call, kind, Part::Main).await
}

/// Patches an object, or its status.
pub(crate) async fn patch_part(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    part: Part,
) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let patch = Patch::read(call)?;
    let transaction = Transaction { server, call, kind, name: call.name(), part, dry_run: options.dry_run };
    let bytes = transaction
        .run(|old| {
            let mut new = patch.apply(kind, old)?;
            let problems = decode::patched(kind, &mut new)?;
            patch.report(call, &new, &problems, options.field_validation)?;
            decode::check_name(call, &new)?;
            if object::resource_version(&new) != object::resource_version(old) {
                return Err(ApiError::modified(&kind.group, &kind.plural, call.name()));
            }
            Ok(new)
        })
        .await?;
    answer::object(server, call, kind, StatusCode::OK, &bytes)
}

/// A patch as it was sent.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the patch of a request.
    pub(crate) fn read(call: &Call) -> ApiResult<Self> {
        let sent = call.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let unreadable =
            |error: serde_json::Error| ApiError::bad_request(format!("error decoding patch: {error}"));
        match media_type(sent) {
            JSON_PATCH => serde_json::from_slice(&call.body).map(Self::Json).map_err(unreadable),
            MERGE => serde_json::from_slice(&call.body).map(Self::Merge).map_err(unreadable),
            STRATEGIC => serde_json::from_slice(&call.body).map(Self::Strategic).map_err(unreadable),
            _ => Err(ApiError::unsupported_media_type(&ACCEPTED)),
        }
    }

    /// What a strict reader holds against the patched object.
    fn report(&self, call: &Call, new: &Value, problems: &[String], validation: FieldValidation) -> ApiResult<()> {
        if problems.is_empty() || validation == FieldValidation::Ignore {
            return Ok(());
        }
        if validation == FieldValidation::Warn {
            problems.iter().for_each(|problem| call.warn(problem));
            return Ok(());
        }
        let error = FieldError::invalid(Path::root("patch"), new.to_string(), decode::strict_error(problems));
        Err(ApiError::invalid("", "", "", [error]))
    }

    /// The object after the patch.
    pub(crate) fn apply(&self, kind: &Kind, old: &Value) -> ApiResult<Value> {
        self.apply_as(&kind.definition, old)
    }

    /// The same for an object of a schema by name.
    pub(crate) fn apply_as(&self, _definition: &str, old: &Value) -> ApiResult<Value> {
        let mut new = old.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut new, patch).map_err(|_| ApiError::unprocessable())?,
            Self::Merge(patch) | Self::Strategic(patch) => json_patch::merge(&mut new, patch),
        }
        Ok(new)
    }
}
