//! NamespaceLifecycle: nothing is created where there is no namespace or where one is going.
//!
//! Source: apiserver `pkg/admission/plugin/namespace/lifecycle`.

use serde_json::Value;

use super::Attributes;
use crate::http::route::Verb;
use crate::object;
use crate::status::{ApiError, ApiResult, Cause};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn admit(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Attributes { server, kind, verb, .. } = attributes;
    let is_namespace = kind.group.is_empty() && kind.plural == "namespaces";
    let name = object::name(object);
    if is_namespace && *verb == Verb::Delete && IMMORTAL.contains(&name) {
        return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    if *verb != Verb::Create || !kind.namespaced || !kind.is_stored() {
        return Ok(());
    }
    let namespace = object::namespace(object);
    let Some(home) = server.store.get(&format!("/registry/core/namespaces/{namespace}")) else {
        return Err(ApiError::not_found("", "namespaces", namespace));
    };
    if !home.header.deleting() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(ApiError::forbidden(&kind.group, &kind.plural, name, &why).with_cause(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }))
}
