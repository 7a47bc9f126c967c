//! Operations: what a method on a path takes and answers.

use serde_json::{Map, Value, json};

use super::schemas::{reference, upper_first};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// What every answer can be read as.
const ANSWERS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 3] =
    [crate::patch::JSON_PATCH, crate::patch::MERGE_PATCH, crate::patch::STRATEGIC_MERGE_PATCH];

/// One method of a path, while it is put together.
#[derive(Debug)]
pub(super) struct Operation {
    pub method: &'static str,
    /// `x-kubernetes-action`.
    pub action: &'static str,
    /// The verb that begins the operation's id: `read`, `create`.
    pub verb: String,
    pub description: String,
    pub parameters: Vec<Parameter>,
    pub body: Option<Value>,
    pub answers: Value,
}

/// One parameter: where it is, its name, its type, what it is for.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub place: &'static str,
    pub name: &'static str,
    pub ty: &'static str,
    pub about: String,
}

impl Parameter {
    pub(super) fn query(name: &'static str, ty: &'static str, about: &str) -> Self {
        Self { place: "query", name, ty, about: about.to_owned() }
    }

    pub(super) fn path(name: &'static str, about: String) -> Self {
        Self { place: "path", name, ty: "string", about }
    }

    pub(super) fn json(&self) -> Value {
        let mut parameter = json!({
            "in": self.place,
            "name": self.name,
            "schema": { "type": self.ty, "uniqueItems": true },
        });
        if !self.about.is_empty() {
            parameter["description"] = self.about.as_str().into();
        }
        if self.place == "path" {
            parameter["required"] = true.into();
        }
        parameter
    }
}

pub(super) fn pretty() -> Parameter {
    Parameter::query("pretty", "string", "If 'true', then the output is pretty printed.")
}

/// Of a change: `dryRun`, `fieldManager`, `fieldValidation`.
pub(super) fn change() -> Vec<Parameter> {
    vec![
        dry_run(),
        Parameter::query(
            "fieldManager",
            "string",
            "A name for the actor or entity that makes the change, of at most 128 characters.",
        ),
        Parameter::query(
            "fieldValidation",
            "string",
            "What to do about unknown or duplicate fields. 'Ignore' drops them, 'Warn' (the default) drops them and \
             answers with a warning for each, 'Strict' fails the request.",
        ),
    ]
}

fn dry_run() -> Parameter {
    Parameter::query(
        "dryRun",
        "string",
        "Nothing is persisted. The only value is 'All': go through all stages.",
    )
}

pub(super) fn force() -> Parameter {
    Parameter::query("force", "boolean", "Take fields of other managers. Only apply patches may be forced.")
}

/// Of a deletion.
pub(super) fn deletion() -> Vec<Parameter> {
    vec![
        dry_run(),
        Parameter::query(
            "gracePeriodSeconds",
            "integer",
            "Seconds before the object is deleted; 0 is at once.",
        ),
        Parameter::query(
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            "boolean",
            "Delete an object that cannot be read from the store.",
        ),
        Parameter::query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
        Parameter::query(
            "propagationPolicy",
            "string",
            "What becomes of dependents: 'Orphan', 'Background' or 'Foreground'.",
        ),
    ]
}

/// Of a list; a watch adds two.
pub(super) fn listing() -> Vec<Parameter> {
    vec![
        Parameter::query("continue", "string", "Where the previous page of the list ended."),
        Parameter::query("fieldSelector", "string", "Only objects whose fields match."),
        Parameter::query("labelSelector", "string", "Only objects whose labels match."),
        Parameter::query("limit", "integer", "The most objects a page may have."),
        Parameter::query("resourceVersion", "string", "Which version of the list is asked for."),
        Parameter::query(
            "resourceVersionMatch",
            "string",
            "How resourceVersion is meant: 'Exact' or 'NotOlderThan'.",
        ),
        Parameter::query(
            "sendInitialEvents",
            "boolean",
            "Begin a watch with an event for every object there is.",
        ),
        Parameter::query("shardSelector", "string", "Only objects of a shard."),
        Parameter::query("timeoutSeconds", "integer", "How long the request may take."),
    ]
}

pub(super) fn watching() -> Vec<Parameter> {
    let mut parameters = listing();
    parameters.push(Parameter::query(
        "allowWatchBookmarks",
        "boolean",
        "Send an event now and then that tells how far the watch is.",
    ));
    parameters.push(Parameter::query("watch", "boolean", "Stream changes instead of answering with a list."));
    parameters
}

impl Operation {
    /// As it stands in the document; parameters that all methods of the path share stand beside them instead.
    pub(super) fn json(&self, id: &str, tag: &str, gvk: Value, shared: &[Value]) -> Value {
        let mut operation = json!({
            "description": self.description,
            "operationId": id,
            "responses": self.answers,
            "tags": [tag],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": gvk,
        });
        let mut own: Vec<&Parameter> = self.parameters.iter().collect();
        own.sort_by_key(|parameter| parameter.name);
        let own: Vec<Value> = own.iter().map(|p| p.json()).filter(|p| !shared.contains(p)).collect();
        if !own.is_empty() {
            operation["parameters"] = own.into();
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        operation
    }
}

/// Answers with that schema under each of these codes.
pub(super) fn answers(codes: &[u16], schema: &Value) -> Value {
    answers_as(codes, schema, &ANSWERS)
}

/// Answers that may also be a stream.
pub(super) fn streamed(schema: &Value) -> Value {
    let all: Vec<&str> = ANSWERS.iter().chain(&STREAMS).copied().collect();
    answers_as(&[200], schema, &all)
}

/// Plain text beside the usual forms.
pub(super) fn text() -> Value {
    let all: Vec<&str> = ANSWERS.iter().chain(&["text/plain"]).copied().collect();
    answers_as(&[200], &json!({ "type": "string" }), &all)
}

/// Whatever the other end of a connection says.
pub(super) fn anything() -> Value {
    answers_as(&[200], &json!({ "type": "string" }), &["*/*"])
}

fn answers_as(codes: &[u16], schema: &Value, media_types: &[&str]) -> Value {
    let mut answers = Map::new();
    for code in codes {
        let about = match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        answers.insert(
            code.to_string(),
            json!({ "description": about, "content": content(schema, media_types) }),
        );
    }
    answers.insert("401".into(), json!({ "description": "Unauthorized" }));
    answers.into()
}

/// A body of any form.
pub(super) fn body(schema: &Value, required: bool) -> Value {
    let mut body = json!({ "content": content(schema, &["*/*"]) });
    if required {
        body["required"] = true.into();
    }
    body
}

pub(super) fn patch_body() -> Value {
    json!({ "content": content(&meta("Patch"), &PATCHES), "required": true })
}

fn content(schema: &Value, media_types: &[&str]) -> Map<String, Value> {
    media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema }))).collect()
}

pub(super) fn meta(kind: &str) -> Value {
    reference(&format!("{META}{kind}"))
}

/// The path item of a discovery document.
pub(super) fn discovery(id: &str, tag: &str, kind: &str) -> Value {
    let about = match kind {
        "APIResourceList" => "get available resources",
        "APIGroup" => "get information of a group",
        _ => "get available API versions",
    };
    json!({ "get": {
        "description": about,
        "operationId": id,
        "responses": answers(&[200], &meta(kind)),
        "tags": [tag],
    } })
}

/// `rbac.authorization.k8s.io`, `v1` is `RbacAuthorizationV1`, as operation ids have it; core is `CoreV1`.
pub(super) fn camel(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split('.').chain([version]).map(upper_first).collect()
}

/// `rbacAuthorization_v1`; without a version `rbacAuthorization`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let name = camel(group, "");
    let name = name[..1].to_lowercase() + &name[1..];
    if version.is_empty() { name } else { format!("{name}_{version}") }
}
