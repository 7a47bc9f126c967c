//! From a request's body to an object of the kind that the path names.
//!
//! Promise: what comes out has the right kind and version, no unknown fields, and the defaults of its schema
//! and kind. What is wrong with the body is said in upstream's words.

use serde_json::Value;

use crate::http::call::Call;
use crate::http::negotiate::{Format, body_format};
use crate::http::query::FieldValidation;
use crate::kinds::Kind;
use crate::object;
use crate::status::{ApiError, ApiResult};

/// The body as an object of this kind, checked and defaulted.
pub(crate) fn object(call: &Call, kind: &Kind, validation: FieldValidation) -> ApiResult<Value> {
    let mut object = raw(call)?;
    finish(call, kind, &mut object, validation)?;
    Ok(object)
}

/// Checks and defaults a decoded object.
pub(crate) fn finish(
    _call: &Call,
    kind: &Kind,
    object: &mut Value,
    _validation: FieldValidation,
) -> ApiResult<()> {
    check_type(kind, object)?;
    object::meta_mut(object).remove("managedFields");
    kind.strategy.apply_defaults(object);
    Ok(())
}

/// The body as options (`DeleteOptions` ...), whose version may be that of any group.
pub(crate) fn options(call: &Call, _kind: &str) -> ApiResult<Value> {
    raw(call)
}

fn raw(call: &Call) -> ApiResult<Value> {
    match body_format(&call.headers)? {
        Format::Yaml => {
            serde_yaml_ng::from_slice(&call.body).map_err(|error| ApiError::bad_request(error.to_string()))
        }
        _ => serde_json::from_slice(&call.body).map_err(|error| {
            ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        }),
    }
}

fn check_type(kind: &Kind, object: &mut Value) -> ApiResult<()> {
    if !object.is_object() {
        return Err(ApiError::bad_request("couldn't get version/kind; json parse error: the body is no object"));
    }
    if object::str_at(object, &["kind"]).is_empty() {
        object::set_at(object, &["kind"], kind.kind.to_string());
    }
    if object::str_at(object, &["apiVersion"]).is_empty() {
        object::set_at(object, &["apiVersion"], kind.api_version());
    }
    let (version, name) = (object::str_at(object, &["apiVersion"]), object::str_at(object, &["kind"]));
    if version != kind.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if name != kind.kind {
        return Err(ApiError::bad_request(format!(
            "{name} in version {:?} cannot be handled as a {}: no kind {name:?} is registered for version {version:?} \
             in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            kind.version, kind.kind
        )));
    }
    Ok(())
}

/// Puts the object into the namespace of the path, or refuses another.
pub(crate) fn place(call: &Call, kind: &Kind, object: &mut Value) -> ApiResult<()> {
    if !kind.namespaced {
        return Ok(());
    }
    let namespace = object::namespace(object);
    if namespace.is_empty() {
        object::set_at(object, &["metadata", "namespace"], call.namespace());
    } else if namespace != call.namespace() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

/// The object's name must be that of the path.
pub(crate) fn check_name(call: &Call, object: &Value) -> ApiResult<()> {
    match object::name(object) {
        "" => Err(ApiError::bad_request("name must be provided")),
        name if name == call.name() => Ok(()),
        name => Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        ))),
    }
}

/// The body as an object of a kind that is not the path's own (`Binding`, `Scale`, `Eviction` ...).
pub(crate) fn foreign(
    call: &Call,
    group: &str,
    version: &str,
    kind: &str,
    _validation: FieldValidation,
) -> ApiResult<Value> {
    let object = raw(call)?;
    let wanted = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let (sent_version, sent) = (object::str_at(&object, &["apiVersion"]), object::str_at(&object, &["kind"]));
    if (!sent.is_empty() && sent != kind) || (!sent_version.is_empty() && sent_version != wanted) {
        return Err(ApiError::bad_request(format!(
            "{sent} in version {sent_version:?} cannot be handled as a {kind}"
        )));
    }
    Ok(object)
}
