//! `exec`, `attach`, `portforward`: a connection of the client becomes one to the pod's node.
//!
//! Promise: after the node has agreed to the upgrade (WebSocket or SPDY) bytes pass both ways as they are; when
//! one side ends, the other does. Source: kubernetes `pkg/registry/core/pod/rest/subresources.go`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tracing::debug;

use super::{container, log, node};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::respond::Answer;
use crate::kinds::{Kind, Subresource};
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{encode, record};

pub(super) async fn serve(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    sub: &Subresource,
) -> ApiResult<Answer> {
    let pod = encode::decoded(&record(server, kind, call.namespace(), call.name())?.bytes)?;
    let path = target(call, &pod, sub)?;
    let node = object::str_at(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", call.name())));
    }
    let ours = call.extensions.lock().remove::<OnUpgrade>();
    let Some(ours) = ours.filter(|_| call.headers.contains_key(UPGRADE)) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let mut request = Request::builder().method(call.method.clone()).uri(path).version(Version::HTTP_11);
    if let Some(headers) = request.headers_mut() {
        *headers = passed_on(&call.headers);
        headers.insert(HOST, node.try_into().map_err(ApiError::internal)?);
    }
    let request = request.body(Full::<Bytes>::default()).map_err(ApiError::internal)?;
    let mut answer = node::send(server, node, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(log::failed(answer.status(), answer.into_body(), call).await);
    }
    Ok(join(server, ours, &mut answer))
}

/// Tells the client that the other side agreed, and passes bytes from then on.
pub(super) fn join(server: &Server, ours: OnUpgrade, answer: &mut Response<Incoming>) -> Answer {
    let theirs = hyper::upgrade::on(&mut *answer);
    server.tasks.spawn("joined-connection", splice(ours, theirs));
    let mut agreed = Response::new(Body::empty());
    *agreed.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *agreed.headers_mut() = answer.headers().clone();
    agreed
}

/// Passes bytes both ways until a side ends.
async fn splice(ours: OnUpgrade, theirs: OnUpgrade) {
    let (ours, theirs) = match tokio::try_join!(ours, theirs) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "no upgrade"),
    };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    if let Err(error) = copy_bidirectional(&mut ours, &mut theirs).await {
        debug!(%error, "pod connection broke");
    }
}

/// The node's path for the request, in the names that node agents use.
fn target(call: &Call, pod: &Value, sub: &Subresource) -> ApiResult<String> {
    let (namespace, name) = (call.namespace(), call.name());
    if *sub == Subresource::PortForward {
        let mut path = format!("/portForward/{namespace}/{name}");
        for (index, ports) in call.query.all("ports").enumerate() {
            path.push_str(&format!("{}port={}", if index == 0 { '?' } else { '&' }, encoded(ports)));
        }
        return Ok(path);
    }
    let verb = if *sub == Subresource::Attach { "attach" } else { "exec" };
    let phase = object::str_at(pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        let what = if verb == "exec" { "exec into" } else { "attach to" };
        return Err(ApiError::bad_request(format!(
            "cannot {what} a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = container::choose(pod, call.query.text("container"))?;
    let mut query = Vec::new();
    let mut streams = 0;
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if call.query.flag(ours).unwrap_or(false) {
            query.push(format!("{theirs}=1"));
            streams += usize::from(ours != "tty");
        }
    }
    if streams == 0 {
        return Err(ApiError::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    query.extend(call.query.all("command").map(|word| format!("command={}", encoded(word))));
    Ok(format!("/{verb}/{namespace}/{name}/{container}?{}", query.join("&")))
}

fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// The client's headers without those that say who the client is.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    kept.remove(AUTHORIZATION);
    let names: Vec<_> =
        kept.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    names.iter().for_each(|name| {
        kept.remove(name);
    });
    debug_assert!(kept.contains_key(CONNECTION) || !kept.contains_key(UPGRADE));
    kept
}
