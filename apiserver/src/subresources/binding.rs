//! `binding`: the scheduler's decision becomes `spec.nodeName`, once.
//!
//! Source: kubernetes `pkg/registry/core/pod/storage/storage.go` (`assignPod`, `setPodNodeAndMetadata`).

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::bound;
use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::{self, Answer};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult, Status};
use crate::store::{CommitError, Expect, Write};
use crate::verbs::transaction::{Part, Transaction};
use crate::verbs::{self, decode};

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    bind(server, call, kind, call.name()).await
}

/// Binds the pod of this name as the body says.
pub(super) async fn bind(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    name: &str,
) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let binding = decode::foreign(call, "", "v1", "Binding", options.field_validation)?;
    check(&binding, name)?;
    let node = object::str_at(&binding, &["target", "name"]).to_owned();
    let now = server.clock.now_seconds().to_string();
    let short =
        !options.dry_run && METADATA.iter().all(|map| object::at(&binding, &["metadata", map]).is_none());
    if !(short && bind_bytes(server, call, kind, name, (object::uid(&binding), &node, &now)).await?) {
        let dry_run = options.dry_run;
        let transaction = Transaction { server, call, kind, name, part: Part::Binding, dry_run };
        transaction.run(|old| assign(old, &binding, &node, &now)).await?;
    }
    respond::success(StatusCode::CREATED, &Status::plain_success(201), call.output)
}

/// What a binding may add to the pod's metadata.
const METADATA: [&str; 2] = ["annotations", "labels"];

/// Binds without decoding the pod; false where that is not possible, and nothing has happened.
async fn bind_bytes(
    server: &Arc<Server>,
    call: &Call,
    kind: &Kind,
    name: &str,
    (uid, node, now): (&str, &str, &str),
) -> ApiResult<bool> {
    let record = verbs::record(server, kind, call.namespace(), name)?;
    let Some(change) = bound::change(kind, &record, uid, node, now) else { return Ok(false) };
    let write = Write { key: record.key.clone(), expect: Expect::Revision(record.revision), change };
    match server.store.commit(write).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict(_) | CommitError::Exists(_)) => Ok(false),
        Err(error) => Err(ApiError::internal(error)),
    }
}

fn check(binding: &Value, name: &str) -> ApiResult<()> {
    let given = object::name(binding);
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let mut errors = Vec::new();
    let target = Path::root("target");
    let kind = object::str_at(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if object::str_at(binding, &["target", "name"]).is_empty() {
        errors.push(FieldError::required(target.child("name"), ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("", "Binding", given, errors)) }
}

pub(super) fn assign(pod: &Value, binding: &Value, node: &str, now: &str) -> ApiResult<Value> {
    let name = object::name(pod);
    let refuse = |why: String| Err(ApiError::conflict("", "pods/binding", name, &why));
    let uid = object::uid(binding);
    if !uid.is_empty() && uid != object::uid(pod) {
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(pod)
        ));
    }
    if object::is_deleting(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let bound = object::str_at(pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {bound:?}"));
    }
    if !object::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = pod.clone();
    object::set_at(&mut new, &["spec", "nodeName"], node);
    for map in METADATA {
        let Some(given) = object::at(binding, &["metadata", map]).and_then(Value::as_object) else {
            continue;
        };
        for (key, value) in given {
            object::set_at(&mut new, &["metadata", map, key], value.clone());
        }
    }
    scheduled(&mut new, now);
    Ok(new)
}

/// Sets the PodScheduled condition, which binding makes true.
fn scheduled(pod: &mut Value, now: &str) {
    let generation = object::int_at(pod, &["metadata", "generation"]);
    let mut conditions = object::list_at(pod, &["status", "conditions"]).to_vec();
    let place = conditions.iter().position(|condition| condition["type"] == "PodScheduled");
    let mut condition = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": now });
    if let Some(at) = place {
        if conditions[at]["status"] == "True" {
            condition["lastTransitionTime"] = conditions[at]["lastTransitionTime"].clone();
        }
        conditions[at] = condition;
    } else {
        if let Some(generation) = generation {
            condition["observedGeneration"] = generation.into();
        }
        conditions.push(condition);
    }
    object::set_at(pod, &["status", "conditions"], conditions);
}
