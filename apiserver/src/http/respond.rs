//! Answers: an object or a list in the shape and format the client asked for, or a Status.
//!
//! Promise: a plain JSON answer is the stored bytes themselves; every other form is made from them here.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::body::Body;
use super::negotiate::{Format, JSON, Output, YAML};
use crate::status::{ApiError, ApiResult, Status};

/// An answer.
pub type Answer = Response<Body>;

/// An answer with a JSON body that is complete already.
pub fn json(code: StatusCode, body: impl Into<Body>) -> Answer {
    with_type(code, JSON, body)
}

/// Plain text, as health checks and unknown paths answer.
pub fn text(code: StatusCode, body: impl Into<Body>) -> Answer {
    with_type(code, "text/plain; charset=utf-8", body)
}

/// What upstream answers to a path nobody serves.
pub fn page_not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A complete JSON document in the format asked for.
pub fn document(code: StatusCode, document: Bytes, output: Output) -> ApiResult<Answer> {
    if output.format == Format::Json && !output.pretty {
        return Ok(json(code, document));
    }
    let value: Value = serde_json::from_slice(&document).map_err(ApiError::internal)?;
    value_as(code, &value, output)
}

/// A value in the format asked for.
pub fn value_as(code: StatusCode, value: &impl Serialize, output: Output) -> ApiResult<Answer> {
    let answer = match output.format {
        Format::Yaml => {
            let body = serde_yaml_ng::to_string(value).map_err(ApiError::internal)?;
            with_type(code, YAML, body.into_bytes())
        }
        _ if output.pretty => {
            let mut body = serde_json::to_vec_pretty(value).map_err(ApiError::internal)?;
            body.push(b'\n');
            json(code, body)
        }
        _ => json(code, serde_json::to_vec(value).map_err(ApiError::internal)?),
    };
    Ok(answer)
}

/// A success without an object.
pub fn success(code: StatusCode, status: &Status, output: Output) -> ApiResult<Answer> {
    value_as(code, status, output)
}

/// A failure.
pub fn failure(error: &ApiError, output: Output) -> Answer {
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = value_as(code, error.status(), output)
        .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written\n"));
    if let Some(seconds) = error.retry_after_seconds() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn with_type(code: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}
