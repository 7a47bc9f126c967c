//! One object as an answer, in the shape that was asked for.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::negotiate::Shape;
use crate::http::respond::{self, Answer};
use crate::http::shape::{IncludeObject, TableWriter, metadata_only};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

/// Answers with an encoded object.
pub(crate) fn object(
    server: &Server,
    call: &Call,
    kind: &Kind,
    code: StatusCode,
    bytes: &Bytes,
) -> ApiResult<Answer> {
    let converted = call.conversion().map(|shape| shape.served(bytes)).transpose()?;
    let (kind, bytes) = (call.served_kind(kind), converted.as_ref().unwrap_or(bytes));
    match call.output.shape {
        Shape::Whole => respond::document(code, bytes.clone(), call.output),
        Shape::Metadata => respond::document(code, metadata_only(bytes)?.into(), call.output),
        Shape::Table => {
            let include = IncludeObject::parse(call.query.text("includeObject"))?;
            let writer = TableWriter { kind, include, now: server.clock.now() };
            let decoded: Value = serde_json::from_slice(bytes).map_err(ApiError::internal)?;
            let metadata = json!({ "resourceVersion": object::resource_version(&decoded) });
            respond::value_as(code, &writer.table([bytes], metadata, true)?, call.output)
        }
    }
}
