//! `ephemeralcontainers` and `resize`: the parts of a running pod that may still change, each by its own door.
//!
//! Source: kubernetes `pkg/registry/core/pod/strategy.go` (`podEphemeralContainersStrategy`, `podResizeStrategy`).

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::Answer;
use crate::http::route::Verb;
use crate::kinds::{Kind, Subresource};
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::patch::patch_part;
use crate::verbs::transaction::{Part, Transaction};
use crate::verbs::{self, answer, check_version, decode};

pub(super) async fn serve(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    sub: &Subresource,
) -> ApiResult<Answer> {
    let resizes = *sub == Subresource::Resize;
    let keep =
        move |new: Value, old: &Value| if resizes { resized(&new, old) } else { with_ephemeral(&new, old) };
    match call.verb() {
        Verb::Get => verbs::get(server, call, kind).await,
        Verb::Patch => patch_part(server, call, kind, Part::Other, keep).await,
        Verb::Update => {
            let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
            let object = decode::object(call, kind, options.field_validation)?;
            decode::check_name(call, &object)?;
            let transaction = Transaction {
                server,
                call,
                kind,
                name: call.name(),
                part: Part::Other,
                dry_run: options.dry_run,
            };
            let change = |old: &Value| {
                check_version(kind, &object, old)?;
                keep(object.clone(), old)
            };
            let bytes = transaction.run(change).await?;
            answer::object(server, call, kind, StatusCode::OK, &bytes)
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The old pod with the new ephemeral containers, of which none may go or change.
fn with_ephemeral(new: &Value, old: &Value) -> ApiResult<Value> {
    let at = Path::root("spec");
    let at = at.child("ephemeralContainers");
    let wanted = object::list_at(new, &["spec", "ephemeralContainers"]);
    let mut errors = Vec::new();
    for container in object::list_at(old, &["spec", "ephemeralContainers"]) {
        let name = object::str_at(container, &["name"]);
        match wanted.iter().position(|other| other["name"] == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(at, why));
            }
            Some(index) if wanted[index] != *container => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(FieldError::forbidden(at, why));
            }
            Some(_) => {}
        }
    }
    let taken = |name: &str| {
        ["containers", "initContainers"].iter().any(|list| {
            object::list_at(old, &["spec", list]).iter().any(|container| container["name"] == name)
        })
    };
    for (index, container) in wanted.iter().enumerate() {
        let name = object::str_at(container, &["name"]);
        let at_name = at.index(index);
        if name.is_empty() {
            errors.push(FieldError::required(at_name.child("name"), ""));
        } else if taken(name) || wanted[..index].iter().any(|other| other["name"] == name) {
            errors.push(FieldError::duplicate(at_name.child("name"), name));
        }
        if object::str_at(container, &["image"]).is_empty() {
            errors.push(FieldError::required(at_name.child("image"), ""));
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "Pod", object::name(old), errors));
    }
    let mut pod = old.clone();
    object::set_at(&mut pod, &["spec", "ephemeralContainers"], wanted.to_vec());
    Ok(pod)
}

/// The old pod with the new resources of its containers; nothing else may differ.
fn resized(new: &Value, old: &Value) -> ApiResult<Value> {
    let mut pod = old.clone();
    for list in ["containers", "initContainers"] {
        let wanted = object::list_at(new, &["spec", list]);
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            if let Some(other) = wanted.iter().find(|other| other["name"] == container["name"]) {
                object::carry_over(container, other, "resources");
                object::carry_over(container, other, "resizePolicy");
            }
        }
    }
    if pod["spec"] != new["spec"] {
        let why = "only cpu and memory resources are mutable";
        let error = FieldError::forbidden(Path::root("spec"), why);
        return Err(ApiError::invalid("", "Pod", object::name(old), [error]));
    }
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ephemeral: Value, cpu: &str) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"ephemeralContainers": ephemeral,
            "containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn ephemeral_containers_only_join() {
        let debug = json!({"name": "d", "image": "busybox"});
        let with = with_ephemeral(&pod(json!([debug]), "2"), &pod(json!([]), "1")).unwrap();
        assert_eq!(with["spec"]["ephemeralContainers"], json!([debug]));
        assert_eq!(with["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert!(with_ephemeral(&pod(json!([]), "1"), &with).is_err());
        let twice = json!([debug, {"name": "c", "image": "x"}]);
        assert!(with_ephemeral(&pod(twice, "1"), &with).is_err());
    }

    #[test]
    fn a_resize_changes_resources_only() {
        let bigger = resized(&pod(json!([]), "2"), &pod(json!([]), "1")).unwrap();
        assert_eq!(bigger["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
        let mut other = pod(json!([]), "2");
        other["spec"]["nodeName"] = json!("n");
        assert!(resized(&other, &pod(json!([]), "1")).is_err());
    }
}
