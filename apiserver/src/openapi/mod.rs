//! OpenAPI: version 3 in one document a group and version, for `kubectl explain`, `apply` and whoever generates
//! clients; version 2 in one document of all, for older ones.
//!
//! Promise: made from the rows and the schema alone, so a document says what is served. A document is built when
//! somebody asks for it and not kept; what stays is its hash, by which clients cache it for good.
//! Source: apiserver `pkg/server/routes/openapi.go`, kube-openapi `pkg/handler3`.

mod gnostic;
mod operations;
mod paths;
mod schemas;
mod v2;

use std::collections::{BTreeMap, BTreeSet};

use http::header::{CACHE_CONTROL, ETAG, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http::query::Query;
use crate::http::respond::{self, Answer};
use crate::kinds::{Kind, Kinds};
use crate::schema::Descriptions;

/// The documents of one set of kinds.
#[derive(Debug)]
pub(crate) struct OpenApi {
    kinds: Kinds,
    /// The hash of each document that was built, by its path (`apis/apps/v1`).
    hashes: Mutex<BTreeMap<String, String>>,
}

/// A document, ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub bytes: Vec<u8>,
    /// Uppercase hex, as upstream's.
    pub hash: String,
}

impl OpenApi {
    pub(crate) fn new(kinds: Kinds) -> Self {
        Self { kinds, hashes: Mutex::default() }
    }

    /// Answers a GET below `/openapi`; `None` if nothing is there.
    pub(crate) fn answer(&self, path: &str, query: &Query, headers: &HeaderMap) -> Option<Answer> {
        if path == "/openapi/v2" {
            return Some(self.answer_v2(headers));
        }
        let path = path.strip_prefix("/openapi/v3")?.trim_matches('/');
        if path.is_empty() {
            return Some(respond::json(StatusCode::OK, self.index().to_string().into_bytes()));
        }
        let document = self.document(path)?;
        let tag = format!("\"{}\"", document.hash);
        let asked = query.text("hash");
        let mut answer = if !asked.is_empty() && asked != document.hash {
            // Another version of the document; where the present one is.
            let mut answer = respond::text(StatusCode::MOVED_PERMANENTLY, "");
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            answer.headers_mut().insert(LOCATION, HeaderValue::from_str(&url).ok()?);
            return Some(answer);
        } else if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            respond::text(StatusCode::NOT_MODIFIED, "")
        } else {
            respond::json(StatusCode::OK, document.bytes)
        };
        let lifetime = if asked.is_empty() { "no-cache, private" } else { "public, immutable" };
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(lifetime));
        answer.headers_mut().insert(ETAG, HeaderValue::from_str(&tag).ok()?);
        Some(answer)
    }

    /// The one document of version 2, as protobuf where that is asked for.
    fn answer_v2(&self, headers: &HeaderMap) -> Answer {
        let document = self.v2();
        let wanted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !wanted.contains(gnostic::ACCEPTED) {
            return respond::json(StatusCode::OK, document.to_string().into_bytes());
        }
        let mut answer = respond::json(StatusCode::OK, gnostic::encode(&document));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(gnostic::SENT));
        answer
    }

    /// The document of version 2.
    fn v2(&self) -> Value {
        let mut paths = Map::new();
        for path in self.document_paths() {
            paths.extend(self.paths(&path).into_iter().flatten());
        }
        let mut wanted = BTreeSet::new();
        paths.values().for_each(|path| schemas::references(path, &mut wanted));
        v2::document(&paths, &schemas::reachable(wanted, &self.kinds, &Descriptions::inflate()))
    }

    /// `/openapi/v3`: where each document is, with its hash.
    pub(crate) fn index(&self) -> Value {
        let mut paths = Map::new();
        let mut descriptions = None;
        for path in self.document_paths() {
            let known = self.hashes.lock().get(&path).cloned();
            let hash = known.or_else(|| {
                let descriptions = descriptions.get_or_insert_with(Descriptions::inflate);
                self.build(&path, descriptions).map(|document| document.hash)
            });
            let Some(hash) = hash else { continue };
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
        json!({ "paths": paths })
    }

    /// The document of a path such as `api/v1`, `apis/apps/v1`, `apis/apps` or `apis`; `None` if there is none.
    pub(crate) fn document(&self, path: &str) -> Option<Document> {
        self.build(path, &Descriptions::inflate())
    }

    fn build(&self, path: &str, descriptions: &Descriptions) -> Option<Document> {
        let paths = self.paths(path)?;
        let bytes = self.with_schemas(paths, descriptions).to_string().into_bytes();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        self.hashes.lock().insert(path.to_owned(), hash.clone());
        Some(Document { bytes, hash })
    }

    /// The paths that a document describes.
    fn paths(&self, document: &str) -> Option<Map<String, Value>> {
        let mut parts = document.split('/');
        Some(match (parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("api", None, None, None) => root("/api/", "getCoreAPIVersions", "core", "APIVersions"),
            ("apis", None, None, None) => root("/apis/", "getAPIVersions", "apis", "APIGroupList"),
            ("api", Some(version), None, None) => self.group_version("", version)?,
            ("apis", Some(group), None, None) => self.group(group)?,
            ("apis", Some(group), Some(version), None) => self.group_version(group, version)?,
            _ => return None,
        })
    }

    fn document_paths(&self) -> BTreeSet<String> {
        let mut paths: BTreeSet<String> = ["api".to_owned(), "apis".to_owned()].into();
        for kind in self.kinds.all() {
            if !kind.group.is_empty() {
                paths.insert(format!("apis/{}", kind.group));
            }
            paths.insert(base(kind).trim_start_matches('/').to_owned());
        }
        paths
    }

    fn group_version(&self, group: &str, version: &str) -> Option<Map<String, Value>> {
        let kinds = self.kinds.all().iter().filter(|kind| kind.group == group && kind.version == version);
        let kinds: Vec<&Kind> = kinds.map(AsRef::as_ref).collect();
        let first = kinds.first()?;
        let mut all = Map::new();
        let tag = operations::tag(group, version);
        let id = format!("get{}APIResources", operations::camel(group, version));
        all.insert(format!("{}/", base(first)), operations::discovery(&id, &tag, "APIResourceList"));
        for kind in kinds {
            paths::add(kind, &mut all);
        }
        Some(all)
    }

    fn group(&self, group: &str) -> Option<Map<String, Value>> {
        self.kinds.all().iter().find(|kind| kind.group == group)?;
        let id = format!("get{}APIGroup", operations::camel(group, ""));
        let tag = operations::tag(group, "");
        Some(root(&format!("/apis/{group}/"), &id, &tag, "APIGroup"))
    }

    /// The document of these paths, with every schema they lead to.
    fn with_schemas(&self, paths: Map<String, Value>, descriptions: &Descriptions) -> Value {
        let mut wanted = BTreeSet::new();
        paths.values().for_each(|path| schemas::references(path, &mut wanted));
        json!({
            "openapi": "3.0.0",
            "info": { "title": "Kubernetes", "version": "1.36" },
            "paths": paths,
            "components": {
                "schemas": schemas::reachable(wanted, &self.kinds, descriptions),
                "securitySchemes": { "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                } },
            },
        })
    }
}

/// The one path of a discovery document.
fn root(path: &str, id: &str, tag: &str, kind: &str) -> Map<String, Value> {
    Map::from_iter([(path.to_owned(), operations::discovery(id, tag, kind))])
}

/// `/api/v1` or `/apis/apps/v1`.
fn base(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    }
}

#[cfg(test)]
mod tests;
