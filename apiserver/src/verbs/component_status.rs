//! ComponentStatus: GET and LIST ask the scheduler, the controllers and the store how they do.
//!
//! Promise: nothing is stored or remembered. A component of this process is well as long as it answers; others are
//! asked at their usual port on this machine. Source: kubernetes `pkg/registry/core/componentstatus`.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};

use super::answer;
use crate::http::call::Call;
use crate::http::negotiate::Shape;
use crate::http::query::ListOptions;
use crate::http::respond::{self, Answer};
use crate::http::route::Verb;
use crate::http::shape::{IncludeObject, TableWriter, metadata_only};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::subresources::node::{self, Scheme};

/// The components and where they are asked; the store is asked directly. Upstream's order.
const COMPONENTS: [(&str, Option<u16>); 3] =
    [("scheduler", Some(10259)), ("controller-manager", Some(10257)), ("etcd-0", None)];
/// Bytes of a health answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Whether the kind is this one.
pub(crate) fn is(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "ComponentStatus"
}

pub(crate) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    if call.verb() == Verb::List {
        return list(server, call, kind).await;
    }
    let component = COMPONENTS.iter().find(|(name, _)| *name == call.name());
    let component = component.ok_or_else(|| ApiError::not_found(&kind.group, &kind.plural, call.name()))?;
    answer::object(server, call, kind, StatusCode::OK, &status(server, component).await)
}

async fn list(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = ListOptions::parse(&call.query, false)?;
    if let Some(unknown) = options.fields.requirements().iter().find(|one| one.field != "metadata.name") {
        return Err(ApiError::bad_request(kind.unsupported_field(&unknown.field)));
    }
    let no_labels = options.labels.matches(&Default::default());
    let chosen = COMPONENTS.iter().filter(|(name, _)| no_labels && options.fields.matches(|_| name));
    let objects = join_all(chosen.map(|component| status(server, component))).await;
    if call.output.shape == Shape::Table {
        let include = IncludeObject::parse(call.query.text("includeObject"))?;
        let table =
            TableWriter { kind, include, now: server.clock.now() }.table(&objects, json!({}), true)?;
        return respond::value_as(StatusCode::OK, &table, call.output);
    }
    let (name, version) = match call.output.shape {
        Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        _ => ("ComponentStatusList", "v1"),
    };
    let items =
        objects.iter().map(|object| item(object, call.output.shape)).collect::<ApiResult<Vec<_>>>()?;
    let list = json!({"kind": name, "apiVersion": version, "metadata": {}, "items": items});
    respond::value_as(StatusCode::OK, &list, call.output)
}

/// An object as it stands in a list: without its kind, as upstream writes lists.
fn item(object: &Bytes, shape: Shape) -> ApiResult<Value> {
    let bytes = if shape == Shape::Metadata { metadata_only(object)?.into() } else { object.clone() };
    let mut item: Value = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
    if let Some(fields) = item.as_object_mut().filter(|_| shape != Shape::Metadata) {
        fields.retain(|name, _| name != "kind" && name != "apiVersion");
    }
    Ok(item)
}

async fn status(server: &Arc<Server>, (name, port): &(&'static str, Option<u16>)) -> Bytes {
    let answer = match port {
        Some(port) if !server.components_here.read().contains(name) => probe(server, *port).await,
        _ => Ok("ok".to_owned()),
    };
    let (status, message) = match answer {
        Ok(body) => ("True", body),
        Err(why) => ("False", why),
    };
    let object = json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    });
    object.to_string().into()
}

/// The text of `/healthz`, or why there is none.
async fn probe(server: &Arc<Server>, port: u16) -> Result<String, String> {
    let address = format!("127.0.0.1:{port}");
    let failed = |why: String| format!("Get \"https://{address}/healthz\": {why}");
    let request = Request::get("/healthz").header(HOST, &address).body(Full::<Bytes>::default());
    let request = request.map_err(|error| failed(error.to_string()))?;
    let answer = node::ask(server, &address, Scheme::Https, request).await;
    let answer = answer.map_err(|error| failed(node::dial_error(&address, &error)))?;
    let code = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if code == StatusCode::OK { Ok(text) } else { Err(text) }
}
