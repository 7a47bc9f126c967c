//! Questions about identities and rights: who am I, is this token good, may this be done.
//!
//! Promise: answers with what authentication and authorization themselves would decide; stores nothing.
//! Source: kubernetes `pkg/registry/authentication`, `pkg/registry/authorization`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::decode;
use crate::authn::token::ISSUER;
use crate::authn::{MASTERS, User};
use crate::authz;
use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::{self, Answer};
use crate::http::route::{ResourcePath, Target, Verb};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

pub(crate) async fn review(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut question = decode::object(call, kind, options.field_validation)?;
    let status = match &*kind.kind {
        "SelfSubjectReview" => json!({ "userInfo": user_info(&call.user) }),
        "TokenReview" => token(server, &question),
        "SelfSubjectAccessReview" => access(server, &call.user, &question)?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            access(server, &subject(call, kind, &question)?, &question)?
        }
        "SelfSubjectRulesReview" => {
            // The rules are those of the namespace asked about; upstream does not repeat it.
            let namespace = object::str_at(&question, &["spec", "namespace"]).to_owned();
            question["spec"] = json!({});
            rules(server, &call.user, &namespace)
        }
        _ => return Err(ApiError::no_such_resource()),
    };
    question["status"] = status;
    if question["metadata"].is_null() {
        question["metadata"] = json!({});
    }
    if &*kind.kind == "SelfSubjectReview" {
        object::set_at(
            &mut question,
            &["metadata", "creationTimestamp"],
            server.clock.now_seconds().to_string(),
        );
    }
    respond::value_as(StatusCode::CREATED, &question, call.output)
}

/// `authentication.k8s.io/v1` UserInfo.
fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name(), "groups": user.groups() });
    if !user.uid().is_empty() {
        info["uid"] = user.uid().into();
    }
    if !user.extra().is_empty() {
        let extra = user.extra().iter().map(|(key, values)| (key.clone(), json!(values)));
        info["extra"] = Value::Object(extra.collect());
    }
    info
}

fn token(server: &Server, question: &Value) -> Value {
    let token = object::str_at(question, &["spec", "token"]);
    let asked: Vec<&str> =
        object::list_at(question, &["spec", "audiences"]).iter().filter_map(Value::as_str).collect();
    let audiences = if asked.is_empty() { vec![ISSUER] } else { asked };
    let found = audiences.iter().find_map(|audience| Some((server.bearer(token, audience)?, *audience)));
    match found {
        Some((user, audience)) => {
            json!({ "authenticated": true, "user": user_info(&user), "audiences": [audience] })
        }
        None => json!({ "user": {}, "error": "[invalid bearer token]" }),
    }
}

/// The subject a review is about; somebody must be named.
fn subject(call: &Call, kind: &Kind, question: &Value) -> ApiResult<User> {
    let user = object::str_at(question, &["spec", "user"]);
    let groups: Vec<&str> =
        object::list_at(question, &["spec", "groups"]).iter().filter_map(Value::as_str).collect();
    let spec = Path::root("spec");
    if user.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        let error = FieldError::invalid(spec.child("user"), "", why);
        return Err(ApiError::invalid(&kind.group, "", "", [error]));
    }
    let namespace = object::str_at(question, &["spec", "resourceAttributes", "namespace"]);
    if kind.namespaced && namespace != call.namespace() {
        let at = spec.child("resourceAttributes");
        let why = "must match metadata.namespace";
        let error = FieldError::invalid(at.child("namespace"), namespace, why);
        return Err(ApiError::invalid(&kind.group, "", "", [error]));
    }
    Ok(User::new(user, groups))
}

fn access(server: &Server, user: &User, question: &Value) -> ApiResult<Value> {
    let spec = &question["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |attributes: &Value, key: &str| object::str_at(attributes, &[key]).to_owned();
    let (target, asked) = match (resource.is_object(), path.is_object()) {
        (true, false) => {
            let asked = object::str_at(resource, &["verb"]);
            let path = ResourcePath {
                verb: verb(asked),
                group: text(resource, "group"),
                version: text(resource, "version"),
                namespace: text(resource, "namespace"),
                resource: text(resource, "resource"),
                name: text(resource, "name"),
                subresource: text(resource, "subresource"),
                rest: String::new(),
            };
            (Target::Resource(path), asked)
        }
        (false, true) => (Target::Path(text(path, "path")), object::str_at(path, &["verb"])),
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let at = Path::root("spec");
            let error = FieldError::invalid(at.child("resourceAttributes"), Value::Null, why);
            return Err(ApiError::invalid("authorization.k8s.io", "", "", [error]));
        }
    };
    if user.is_in(MASTERS) {
        return Ok(json!({ "allowed": true }));
    }
    let policy = server.roles.policy(&server.store);
    Ok(match policy.allows(user, &authz::act(&target, asked)) {
        Some(why) => json!({ "allowed": true, "reason": why }),
        None => json!({ "allowed": authz::by_identity(user, &target, verb(asked)) }),
    })
}

/// What a user may do, as far as it can be listed.
fn rules(server: &Server, user: &User, namespace: &str) -> Value {
    let resource = |verbs: &[&str], groups: &[&str], resources: &[&str]| json!({ "verbs": verbs, "apiGroups": groups, "resources": resources });
    let mut resources = vec![
        resource(&["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
        resource(
            &["create"],
            &["authorization.k8s.io"],
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        ),
    ];
    let mut paths = vec![
        json!({ "verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"] }),
        json!({ "verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez",
            "/openapi", "/openapi/*", "/readyz", "/version", "/version/"] }),
        json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"] }),
    ];
    for rule in server.roles.policy(&server.store).rules(user, namespace) {
        let (listed, about_paths) = rule.listed();
        let known = if about_paths { &mut paths } else { &mut resources };
        if !known.contains(&listed) {
            known.push(listed);
        }
    }
    // What everybody has comes last.
    resources.rotate_left(2);
    paths.rotate_left(3);
    json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false })
}

fn verb(name: &str) -> Verb {
    match name {
        "get" | "head" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" | "post" => Verb::Create,
        "update" | "put" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        _ => Verb::Unknown,
    }
}
