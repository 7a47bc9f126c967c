//! What is served: groups, versions, resources and verbs, for clients that ask before they act.
//!
//! Promise: made from the rows alone, once. Legacy documents (`/api`, `/apis`, one a group and version) and the
//! aggregated form (`apidiscovery.k8s.io/v2`, KEP-3352) with an ETag say the same.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http::body::Body;
use crate::http::negotiate::{Output, media_type, parameter};
use crate::http::respond::{self, Answer};
use crate::kinds::{Kind, Kinds, Subresource};
use crate::status::{ApiError, ApiResult};
use crate::verbs::convert;

/// Every discovery document, ready to send.
#[derive(Debug)]
pub(crate) struct Documents {
    legacy: HashMap<String, Bytes>,
    aggregated: HashMap<&'static str, (Bytes, HeaderValue)>,
}

/// Groups in upstream's order of preference; others follow by name.
const GROUP_ORDER: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

impl Documents {
    /// Writes the documents for these kinds.
    pub(crate) fn new(kinds: &Kinds) -> Self {
        let groups = groups(kinds);
        let mut legacy = HashMap::new();
        let mut put = |path: String, document: Value| {
            legacy.insert(path, Bytes::from(document.to_string()));
        };
        put(
            "/api".to_owned(),
            json!({ "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "" }] }),
        );
        let named: Vec<&Group<'_>> = groups.iter().filter(|group| !group.name.is_empty()).collect();
        let listed: Vec<Value> = named.iter().map(|group| api_group(group)).collect();
        put("/apis".to_owned(), json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": listed }));
        for group in &groups {
            if !group.name.is_empty() {
                let mut document = api_group(group);
                document["kind"] = "APIGroup".into();
                document["apiVersion"] = "v1".into();
                put(format!("/apis/{}", group.name), document);
            }
            for version in &group.versions {
                let (path, list) = resource_list(group.name, version);
                put(path, list);
            }
        }
        let (core, others): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.name.is_empty());
        let aggregated = HashMap::from([("/api", aggregated(&core)), ("/apis", aggregated(&others))]);
        Self { legacy, aggregated }
    }

    /// The answer for a discovery path, if it is one.
    pub(crate) fn answer(
        &self,
        path: &str,
        headers: &HeaderMap,
        output: Output,
    ) -> Option<ApiResult<Answer>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some((document, etag)) = self.aggregated.get(path).filter(|_| wants_aggregated(headers)) {
            return Some(Ok(tagged(document, etag, headers)));
        }
        let document = self.legacy.get(path)?;
        Some(respond::document(StatusCode::OK, document.clone(), output))
    }

    /// Whether a group has anything.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        group.is_empty() || self.legacy.contains_key(&format!("/apis/{group}"))
    }
}

struct Group<'a> {
    name: &'a str,
    versions: Vec<Version<'a>>,
}

struct Version<'a> {
    name: &'a str,
    kinds: Vec<&'a Kind>,
}

fn groups(kinds: &Kinds) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for kind in kinds.all() {
        let at = groups.iter().position(|group| group.name == kind.group).unwrap_or_else(|| {
            groups.push(Group { name: &kind.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        let at = versions.iter().position(|version| version.name == kind.version).unwrap_or_else(|| {
            versions.push(Version { name: &kind.version, kinds: Vec::new() });
            versions.len() - 1
        });
        versions[at].kinds.push(kind);
    }
    let rank = |name: &str| GROUP_ORDER.iter().position(|known| *known == name).unwrap_or(GROUP_ORDER.len());
    groups.sort_by(|a, b| (rank(a.name), a.name).cmp(&(rank(b.name), b.name)));
    for group in &mut groups {
        // The preferred version first: the highest of the stable ones we serve.
        group.versions.sort_by(|a, b| b.name.cmp(a.name));
        for version in &mut group.versions {
            version.kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }
    groups
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn api_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|v| json!({ "groupVersion": group_version(group.name, v.name), "version": v.name }))
        .collect();
    json!({ "name": group.name, "preferredVersion": versions[0], "versions": versions })
}

fn resource_list(group: &str, version: &Version<'_>) -> (String, Value) {
    let mut resources = Vec::new();
    for kind in &version.kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let name = group_version(group, version.name);
    let mut list = json!({ "kind": "APIResourceList", "groupVersion": name, "resources": resources });
    if group.is_empty() {
        return (format!("/api/{name}"), list);
    }
    list["apiVersion"] = "v1".into();
    (format!("/apis/{name}"), list)
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if kind.is_stored() && kind.verbs.contains(&"create") {
        entry["storageVersionHash"] = storage_version_hash(kind).into();
    }
    entry
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let (group, version, body) = sub.body_kind(kind);
    let mut entry = json!({
        "name": format!("{}/{}", kind.plural, sub.name()), "singularName": "",
        "namespaced": kind.namespaced, "kind": body, "verbs": sub.verbs(),
    });
    if !version.is_empty() {
        entry["group"] = group.into();
        entry["version"] = version.into();
    }
    entry
}

/// Clients compare it to see whether stored objects must be migrated (`StorageVersionHash`).
fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = match convert::Shape::of(kind) {
        Some(shape) => shape.stored_as(),
        None => (&*kind.group, &*kind.version),
    };
    let hash = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    STANDARD.encode(&hash[..8])
}

fn aggregated(groups: &[&Group<'_>]) -> (Bytes, HeaderValue) {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let mut metadata = Map::new();
            if !group.name.is_empty() {
                metadata.insert("name".to_owned(), group.name.into());
            }
            json!({ "metadata": metadata, "versions": group.versions.iter().map(aggregated_version).collect::<Vec<_>>() })
        })
        .collect();
    let document = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items });
    let bytes = Bytes::from(document.to_string());
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
    let etag = HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits make a header value");
    (bytes, etag)
}

fn aggregated_version(version: &Version<'_>) -> Value {
    let resources: Vec<Value> = version.kinds.iter().map(|kind| aggregated_resource(kind)).collect();
    json!({ "version": version.name, "resources": resources, "freshness": "Current" })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let own = |kind: &str| json!({ "group": "", "version": "", "kind": kind });
    let mut entry = json!({
        "resource": kind.plural, "responseKind": own(&kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let mut subs: Vec<&Subresource> = kind.subresources.iter().collect();
    subs.sort_by_key(|sub| sub.name());
    let subs: Vec<Value> = subs
        .into_iter()
        .map(|sub| {
            let (group, version, body) = sub.body_kind(kind);
            json!({ "subresource": sub.name(), "verbs": sub.verbs(),
                "responseKind": { "group": group, "version": version, "kind": body } })
        })
        .collect();
    if !subs.is_empty() {
        entry["subresources"] = subs.into();
    }
    entry
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a clause of `Accept` asks for the aggregated form before the plain one.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    for clause in accept.split(',') {
        match parameter(clause, "as") {
            Some("APIGroupDiscoveryList") if parameter(clause, "v").is_some_and(|v| v == "v2") => {
                return true;
            }
            None if matches!(media_type(clause), "application/json" | "*/*") => return false,
            _ => {}
        }
    }
    false
}

fn tagged(document: &Bytes, etag: &HeaderValue, headers: &HeaderMap) -> Answer {
    let seen = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let same = seen.split(',').any(|tag| tag.trim().as_bytes() == etag.as_bytes());
    let mut answer = if same {
        let mut answer = respond::json(StatusCode::NOT_MODIFIED, Body::empty());
        answer.headers_mut().remove(CONTENT_TYPE);
        answer
    } else {
        let mut answer = respond::json(StatusCode::OK, document.clone());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
        answer
    };
    answer.headers_mut().insert(ETAG, etag.clone());
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

/// 404 under `/api` or `/apis`: a Status where the group is served, plain text where nobody is.
pub(crate) fn not_found(documents: &Documents, path: &str) -> ApiResult<Answer> {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next() {
        Some("api") => "",
        Some("apis") => parts.next().unwrap_or_default(),
        _ => return Ok(respond::page_not_found()),
    };
    if documents.has_group(group) { Err(ApiError::no_such_resource()) } else { Ok(respond::page_not_found()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str) -> Value {
        let documents = Documents::new(&Kinds::builtin());
        serde_json::from_slice(&documents.legacy[path]).unwrap()
    }

    #[test]
    fn resources_read_like_upstream() {
        let list = document("/api/v1");
        let find =
            |name: &str| list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        assert_eq!(
            *find("configmaps"),
            json!({"kind": "ConfigMap", "name": "configmaps", "namespaced": true, "shortNames": ["cm"],
                "singularName": "configmap", "storageVersionHash": "qFsyl6wFWjQ=",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]})
        );
        assert_eq!(
            *find("pods/eviction"),
            json!({"group": "policy", "kind": "Eviction", "name": "pods/eviction", "namespaced": true,
                "singularName": "", "verbs": ["create"], "version": "v1"})
        );
    }

    #[test]
    fn both_shapes_of_an_event_are_stored_as_one() {
        let hash = |path: &str| {
            let list = document(path);
            let events =
                list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "events").cloned();
            events.unwrap()["storageVersionHash"].clone()
        };
        assert_eq!(hash("/api/v1"), hash("/apis/events.k8s.io/v1"));
    }

    #[test]
    fn the_preferred_version_is_the_highest() {
        let document = document("/apis/autoscaling");
        assert_eq!(document["preferredVersion"]["version"], "v2");
    }
}
