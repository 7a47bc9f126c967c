//! CREATE: a new object, under its own or a generated name.
//!
//! Promise: upstream's order: defaults, admission, system fields, the kind's first shape, name, validation,
//! then the store decides. Source: apiserver `pkg/registry/rest/create.go`.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{answer, decode, encode};
use crate::admission::{self, Attributes};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::Answer;
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::object;
use crate::schema;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::store::{CommitError, Expect, Write};

/// Tries for a `generateName` (KEP-4420).
const NAME_TRIES: usize = 8;
/// Letters of a generated name, and how many of its base are kept.
const SUFFIX: usize = 5;
const BASE: usize = 63 - SUFFIX;

pub(crate) async fn create(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let object = decode::object(call, kind, options.field_validation)?;
    let bytes = create_object(server, call, kind, object, options).await?;
    answer::object(server, call, kind, StatusCode::CREATED, &bytes)
}

/// Creates a decoded and defaulted object; answers with it as it is stored (or would be, in a dry run).
pub(crate) async fn create_object(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    mut object: Value,
    options: WriteOptions,
) -> ApiResult<Bytes> {
    decode::place(call, kind, &mut object)?;
    if !matches!(object::resource_version(&object), "" | "0") {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let attributes = Attributes { server, call, kind, verb: Verb::Create, old: None };
    admission::mutate(&attributes, &mut object)?;
    system_fields(server, &mut object);
    kind.strategy.prepare_create(&mut object);
    if kind.strategy.has_generation() {
        object::set_at(&mut object, &["metadata", "generation"], 1);
    }
    schema::settle(decode::definition(&kind.definition)?, &mut object);
    let generated = object::name(&object).is_empty() && !object::meta_str(&object, "generateName").is_empty();
    for attempt in 1.. {
        if generated {
            let name = generated_name(server, object::meta_str(&object, "generateName"));
            object::set_at(&mut object, &["metadata", "name"], name);
        }
        if attempt == 1 {
            check(call, kind, &object)?;
            admission::validate(&attributes, &object)?;
        }
        let claim = server.allocations.claim_new(kind, &mut object, options.dry_run)?;
        if options.dry_run {
            object::remove_at(&mut object, &["metadata", "resourceVersion"]);
            return serde_json::to_vec(&object).map(Bytes::from).map_err(ApiError::internal);
        }
        let name = object::name(&object);
        let key = kind.storage_key(object::namespace(&object), name);
        let write = Write { key: key.into(), expect: Expect::Absent, change: encode::put(kind, &object) };
        match server.store.commit(write).await {
            Ok(record) => {
                claim.keep();
                return Ok(record.bytes.clone());
            }
            Err(CommitError::Exists(_)) if generated && attempt < NAME_TRIES => {}
            Err(CommitError::Exists(_)) if generated => {
                return Err(ApiError::no_name_generated(&kind.group, &kind.plural, name));
            }
            Err(CommitError::Exists(there)) => return Err(exists(kind, name, there.header.deleting())),
            Err(error) => return Err(ApiError::internal(error)),
        }
    }
    unreachable!("the last attempt returns")
}

fn check(call: &Call, kind: &Kind, object: &Value) -> ApiResult<()> {
    let errors = kind.validate(object);
    if !errors.is_empty() {
        return Err(ApiError::invalid(&kind.group, &kind.kind, object::name(object), errors));
    }
    for text in kind.strategy.warnings(object, None) {
        call.warn(text);
    }
    Ok(())
}

/// What only the server may set on a new object.
fn system_fields(server: &Server, object: &mut Value) {
    let uid = server.random.uuid();
    let now = server.clock.now_seconds().to_string();
    let meta = object::meta_mut(object);
    for foreign in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink", "resourceVersion"]
    {
        meta.remove(foreign);
    }
    meta.insert("uid".to_owned(), uid.into());
    meta.insert("creationTimestamp".to_owned(), now.into());
}

fn generated_name(server: &Server, base: &str) -> String {
    let end = base.char_indices().map(|(at, _)| at).take_while(|at| *at <= BASE).last().unwrap_or(0);
    let base = if base.len() > BASE { &base[..end] } else { base };
    format!("{base}{}", server.random.suffix(SUFFIX))
}

fn exists(kind: &Kind, name: &str, deleting: bool) -> ApiError {
    let error = ApiError::already_exists(&kind.group, &kind.plural, name);
    if deleting { error.with_message_prefix("object is being deleted: ") } else { error }
}
