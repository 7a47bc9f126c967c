//! UPDATE: the object as the client wants it, on the state the client has seen.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::transaction::{Part, Transaction};
use super::{answer, create_object, decode};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

pub(crate) async fn update(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let object = decode::object(call, kind, options.field_validation)?;
    replace(server, call, kind, object, Part::Main, options).await
}

/// Replaces an object, or its status.
pub(crate) async fn replace(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    mut object: Value,
    part: Part,
    options: WriteOptions,
) -> ApiResult<Answer> {
    decode::place(call, kind, &mut object)?;
    decode::check_name(call, &object)?;
    let missing = super::record(server, kind, call.namespace(), call.name()).is_err();
    if missing && part == Part::Main && kind.strategy.allow_create_on_update() {
        let bytes = create_object(server, call, kind, object, options).await?;
        return answer::object(server, call, kind, StatusCode::CREATED, &bytes);
    }
    let transaction = Transaction { server, call, kind, name: call.name(), part, dry_run: options.dry_run };
    let bytes = transaction
        .run(|old| {
            check_version(kind, &object, old)?;
            check_uid(kind, &object, old)?;
            Ok(object.clone())
        })
        .await?;
    answer::object(server, call, kind, StatusCode::OK, &bytes)
}

/// The client's `resourceVersion` must be the newest, where it gives one.
pub(crate) fn check_version(kind: &Kind, new: &Value, old: &Value) -> ApiResult<()> {
    let seen = object::resource_version(new);
    if seen.is_empty() || seen == "0" {
        if kind.strategy.allow_unconditional_update() {
            return Ok(());
        }
        let at = crate::field::Path::root("metadata");
        let why = "must be specified for an update";
        let error = crate::field::FieldError::invalid(at.child("resourceVersion"), "0x0", why);
        return Err(ApiError::invalid(&kind.group, &kind.kind, object::name(new), [error]));
    }
    if seen == object::resource_version(old) {
        return Ok(());
    }
    Err(ApiError::modified(&kind.group, &kind.plural, object::name(old)))
}

fn check_uid(kind: &Kind, new: &Value, old: &Value) -> ApiResult<()> {
    let (wanted, is) = (object::uid(new), object::uid(old));
    if wanted.is_empty() || wanted == is {
        return Ok(());
    }
    let name = object::name(old);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}",
        kind.storage_key(object::namespace(old), name)
    );
    Err(ApiError::conflict(&kind.group, &kind.plural, name, &why))
}
