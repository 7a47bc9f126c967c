//! `log`: what a container has written, as its node streams it.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{container, node};
use crate::field::{FieldError, Path};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::respond::{self, Answer};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult, Details};
use crate::verbs::{encode, record};

/// Options that a node understands as they are.
const PASSED_ON: [&str; 9] = [
    "follow",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "stream",
    "tailLines",
    "timestamps",
    "insecureSkipTLSVerifyBackend",
];
/// Bytes of a node's error text that are read.
const ERROR_LIMIT: usize = 64 * 1024;

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    check(call)?;
    let pod = encode::decoded(&record(server, kind, call.namespace(), call.name())?.bytes)?;
    let container = container::choose(&pod, call.query.text("container"))?;
    let node = object::str_at(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // Not bound yet: upstream answers with nothing.
        return Ok(respond::text(StatusCode::NO_CONTENT, Body::empty()));
    }
    let mut path = format!("/containerLogs/{}/{}/{container}", call.namespace(), call.name());
    let mut mark = '?';
    for name in PASSED_ON {
        if let Some(value) = call.query.get(name) {
            path.push_str(&format!("{mark}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            mark = '&';
        }
    }
    let request =
        Request::get(path).header("host", node).body(Full::default()).map_err(ApiError::internal)?;
    let answer = node::send(server, node, request).await?;
    if !answer.status().is_success() {
        return Err(failed(answer.status(), answer.into_body(), call).await);
    }
    Ok(respond::text(StatusCode::OK, Body::stream(chunks(answer.into_body()))))
}

/// A node's refusal, with the node's own text.
pub(super) async fn failed(status: StatusCode, body: Incoming, call: &Call) -> ApiError {
    let text = match Limited::new(body, ERROR_LIMIT).collect().await {
        Ok(whole) => String::from_utf8_lossy(&whole.to_bytes()).trim_end().to_owned(),
        Err(_) => "the node's answer could not be read".to_owned(),
    };
    match status {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => ApiError::new(404, "NotFound", text).with_details(Details {
            name: call.name().to_owned(),
            kind: format!("{}/{}", call.path.resource, call.path.subresource),
            ..Details::default()
        }),
        _ => ApiError::internal(text),
    }
}

/// The data of a body as it comes; a broken connection ends it.
pub(super) fn chunks(body: Incoming) -> impl futures::Stream<Item = Bytes> + Send {
    stream::unfold(body, |mut body| async move {
        loop {
            let frame = body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                return Some((data, body));
            }
        }
    })
}

/// The options' own rules (`ValidatePodLogOptions`).
fn check(call: &Call) -> ApiResult<()> {
    let mut errors = Vec::new();
    let mut at_least = |name: &'static str, least: i64| -> ApiResult<()> {
        if let Some(value) = call.query.int(name)?.filter(|value| *value < least) {
            let why = match least {
                0 => "must be greater than or equal to 0".to_owned(),
                _ => "must be greater than 0".to_owned(),
            };
            errors.push(FieldError::invalid(Path::root(name), value, why));
        }
        Ok(())
    };
    at_least("tailLines", 0)?;
    at_least("limitBytes", 1)?;
    at_least("sinceSeconds", 1)?;
    if call.query.get("sinceSeconds").is_some() && call.query.get("sinceTime").is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(Path::root(""), why));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("", "PodLogOptions", call.name(), errors)) }
}
