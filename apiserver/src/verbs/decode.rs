//! From a request's body to an object of the kind that the path names.
//!
//! Promise: what comes out has the right kind and version, no unknown fields, and the defaults of its schema
//! and kind. What is wrong with the body is said in upstream's words.

use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::negotiate::{ACCEPTED_BODIES, Format, body_format};
use crate::http::query::FieldValidation;
use crate::kinds::Kind;
use crate::object;
use crate::schema::{self, DecodeError, Decoded, Definition, Registry, decode};
use crate::status::{ApiError, ApiResult};

/// The body as an object of this kind, checked and defaulted.
pub(crate) fn object(call: &Call, kind: &Kind, validation: FieldValidation) -> ApiResult<Value> {
    let served = call.served_kind(kind);
    let expected = Expected::of(served);
    let Decoded { mut value, problems } = read(call, Some(definition(&served.definition)?), &expected)?;
    report(call, &expected, &problems, validation)?;
    if let Some(shape) = call.conversion() {
        shape.to_stored(&mut value);
    }
    defaults(kind, &mut value);
    Ok(value)
}

/// Brings an object of the right schema, such as a patched one, to where [`object`] leaves one.
pub(crate) fn finish(kind: &Kind, object: &mut Value) -> ApiResult<()> {
    Expected::of(kind).check(object)?;
    defaults(kind, object);
    Ok(())
}

/// The body as an object of a kind that is not the path's own (`Binding`, `Scale`, `Eviction` ...).
pub(crate) fn foreign(
    call: &Call,
    group: &str,
    version: &str,
    kind: &str,
    validation: FieldValidation,
) -> ApiResult<Value> {
    let definition = Registry::builtin()
        .for_kind(group, version, kind)
        .ok_or_else(|| ApiError::internal(format!("no schema of {kind}")))?;
    let expected = Expected { group, version, kind };
    let Decoded { value, problems } = read(call, Some(definition), &expected)?;
    report(call, &expected, &problems, validation)?;
    Ok(value)
}

/// The body as options (`DeleteOptions` ...), whose version may be that of any group.
pub(crate) fn options(call: &Call, kind: &str) -> ApiResult<Value> {
    let definition = Some(definition(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))?);
    let expected = Expected { group: "", version: "v1", kind };
    match body_format(&call.headers)? {
        Format::Protobuf => Ok(protobuf(call, definition, &expected)?.value),
        Format::Yaml => {
            decode::yaml(&call.body, definition).map_err(|error| expected.refuse(&error)).map(|d| d.value)
        }
        Format::Json => {
            decode::json(&call.body, definition).map_err(|error| expected.refuse(&error)).map(|d| d.value)
        }
    }
}

/// What a kind's schema is called, found.
pub(crate) fn definition(name: &str) -> ApiResult<&'static Definition> {
    Registry::builtin().definition(name).ok_or_else(|| ApiError::internal(format!("no schema {name}")))
}

fn read(call: &Call, definition: Option<&Definition>, expected: &Expected<'_>) -> ApiResult<Decoded> {
    let read = match body_format(&call.headers)? {
        Format::Json => decode::json(&call.body, definition),
        Format::Yaml => decode::yaml(&call.body, definition),
        Format::Protobuf => {
            let mut decoded = protobuf(call, definition, expected)?;
            expected.check(&mut decoded.value)?;
            return Ok(decoded);
        }
    };
    let mut decoded = read.map_err(|error| {
        // A body of another kind is told as such, not by the fields that do not fit.
        let other =
            decode::json(&call.body, None).ok().and_then(|mut any| expected.check(&mut any.value).err());
        other.unwrap_or_else(|| expected.refuse(&error))
    })?;
    expected.check(&mut decoded.value)?;
    Ok(decoded)
}

/// Protobuf names its kind in the envelope; unknown fields in it are no error, as upstream.
fn protobuf(call: &Call, definition: Option<&Definition>, expected: &Expected<'_>) -> ApiResult<Decoded> {
    let unfit = |error: schema::protobuf::ProtobufError| expected.unfit(&error.to_string());
    let envelope = schema::protobuf::open(&call.body).map_err(unfit)?;
    let mut named = json!({ "apiVersion": envelope.api_version, "kind": envelope.kind });
    if definition.is_some_and(|definition| definition.short_name() != envelope.kind) {
        expected.check(&mut named)?;
    }
    let definition = definition.ok_or_else(|| ApiError::unsupported_media_type(&ACCEPTED_BODIES))?;
    let mut value = schema::protobuf::decode_as(definition, envelope.raw).map_err(unfit)?;
    for key in ["apiVersion", "kind"] {
        object::set_at(&mut value, &[key], named[key].take());
    }
    Ok(Decoded { value, problems: Vec::new() })
}

fn defaults(kind: &Kind, object: &mut Value) {
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        // Who owns which field is not tracked yet.
        meta.remove("managedFields");
    }
    kind.strategy.apply_defaults(object);
}

fn report(
    call: &Call,
    expected: &Expected<'_>,
    problems: &[String],
    validation: FieldValidation,
) -> ApiResult<()> {
    if problems.is_empty() {
        return Ok(());
    }
    match validation {
        FieldValidation::Strict => {
            Err(expected.unfit(&format!("strict decoding error: {}", problems.join(", "))))
        }
        FieldValidation::Warn => {
            problems.iter().for_each(|problem| call.warn(problem));
            Ok(())
        }
        FieldValidation::Ignore => Ok(()),
    }
}

/// The kind that a body must be of.
struct Expected<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> Expected<'a> {
    fn of(kind: &'a Kind) -> Self {
        Self { group: &kind.group, version: &kind.version, kind: &kind.kind }
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Fills in what the body leaves out and refuses what it gets wrong.
    fn check(&self, object: &mut Value) -> ApiResult<()> {
        if !object.is_object() {
            let why = "couldn't get version/kind; json parse error: json: cannot unmarshal a value that is no object";
            return Err(ApiError::bad_request(why));
        }
        let wanted = self.api_version();
        if object::str_at(object, &["kind"]).is_empty() {
            object::set_at(object, &["kind"], self.kind);
        }
        if object::str_at(object, &["apiVersion"]).is_empty() {
            object::set_at(object, &["apiVersion"], wanted.as_str());
        }
        let (version, kind) = (object::str_at(object, &["apiVersion"]), object::str_at(object, &["kind"]));
        if kind != self.kind {
            let short = version.rsplit('/').next().unwrap_or_default();
            let known = Registry::builtin().for_kind(group_of(version), short, kind).is_some();
            let why = if known {
                format!("converting ({short}.{kind}) to ({short}.{}): unknown conversion", self.kind)
            } else {
                format!(
                    "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
                )
            };
            return Err(ApiError::bad_request(format!(
                "{kind} in version {short:?} cannot be handled as a {}: {why}",
                self.kind
            )));
        }
        if version != wanted {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({wanted})"
            )));
        }
        Ok(())
    }

    fn refuse(&self, error: &DecodeError) -> ApiError {
        match error {
            DecodeError::Syntax(why) => {
                ApiError::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
            }
            DecodeError::Mismatch(why) => self.unfit(why),
        }
    }

    fn unfit(&self, why: &str) -> ApiError {
        ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            self.kind, self.version, self.kind
        ))
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
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
