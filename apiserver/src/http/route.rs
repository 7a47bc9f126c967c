//! What a request asks for, from its method and path alone.
//!
//! Promise: the same reading as upstream's `RequestInfo` (apiserver `pkg/endpoints/request/requestinfo.go`),
//! which authorization, metrics and dispatch all share. Nothing here knows which kinds exist.

use std::borrow::Cow;
use std::fmt;

use http::Method;
use percent_encoding::percent_decode_str;

/// A request's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/api/v1/...` or `/apis/GROUP/VERSION/...` with at least a resource.
    Resource(ResourcePath),
    /// Everything else: discovery, health, version, OpenAPI.
    Path(String),
}

/// The parts of a resource path. Absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    pub verb: Verb,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource: a proxied path, with its slash.
    pub rest: String,
}

/// A verb of the API, as authorization and discovery spell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verb {
    #[default]
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A method that no verb answers to.
    Unknown,
}

impl Verb {
    /// The verb's name in discovery, RBAC and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the verb changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Subresources of a namespace; anything else after `namespaces/NAME/` is a resource inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl Target {
    /// Reads method, path and the `watch` query parameter.
    pub fn parse(method: &Method, path: &str, watch: bool) -> Self {
        resource_path(method, path, watch).map_or_else(|| Self::Path(path.to_owned()), Self::Resource)
    }
}

fn resource_path(method: &Method, path: &str, watch: bool) -> Option<ResourcePath> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next().filter(|g| !g.is_empty())?,
        _ => return None,
    };
    let version = parts.next().filter(|v| !v.is_empty())?;
    let mut parts = parts.filter(|part| !part.is_empty()).peekable();
    let mut found = ResourcePath { group: decoded(group), version: decoded(version), ..Default::default() };
    // The deprecated prefix: /api/v1/watch/pods is /api/v1/pods?watch=1.
    let watch_prefix = parts.next_if_eq(&"watch").is_some();
    if parts.next_if_eq(&"namespaces").is_some() {
        match (parts.next(), parts.peek()) {
            (None, _) => found.resource = "namespaces".to_owned(),
            (Some(name), next) if next.is_none_or(|n| NAMESPACE_SUBRESOURCES.contains(n)) => {
                found.resource = "namespaces".to_owned();
                found.name = decoded(name);
                // Upstream sets the namespace too, so that rules of that namespace apply.
                found.namespace = found.name.clone();
            }
            (Some(namespace), _) => {
                found.namespace = decoded(namespace);
                found.resource = decoded(parts.next()?);
                found.name = parts.next().map(decoded).unwrap_or_default();
            }
        }
    } else {
        found.resource = decoded(parts.next()?);
        found.name = parts.next().map(decoded).unwrap_or_default();
    }
    found.subresource = parts.next().map(decoded).unwrap_or_default();
    if !found.subresource.is_empty() {
        found.rest = rest_after(path, &found.subresource);
    }
    found.verb = verb(method, found.name.is_empty(), watch, watch_prefix);
    Some(found)
}

/// The raw path behind the first `/SUBRESOURCE/`, slash included.
fn rest_after(path: &str, subresource: &str) -> String {
    let needle = format!("/{subresource}/");
    path.find(&needle).map(|at| path[at + needle.len() - 1..].to_owned()).unwrap_or_default()
}

fn verb(method: &Method, collection: bool, watch: bool, watch_prefix: bool) -> Verb {
    match *method {
        Method::GET | Method::HEAD if watch_prefix => Verb::Watch,
        Method::GET | Method::HEAD if collection => {
            if watch {
                Verb::Watch
            } else {
                Verb::List
            }
        }
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if collection => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        _ => Verb::Unknown,
    }
}

fn decoded(part: &str) -> String {
    match percent_decode_str(part).decode_utf8_lossy() {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(method: Method, path: &str) -> ResourcePath {
        match Target::parse(&method, path, false) {
            Target::Resource(found) => found,
            Target::Path(path) => panic!("{path} is not a resource"),
        }
    }

    #[test]
    fn reads_paths_like_upstream() {
        #[rustfmt::skip]
        let table = [
            (Method::GET, "/api/v1/pods", "list", "", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces", "list", "", "namespaces", "", ""),
            (Method::GET, "/api/v1/namespaces/x", "get", "x", "namespaces", "x", ""),
            (Method::PUT, "/api/v1/namespaces/x/finalize", "update", "x", "namespaces", "x", "finalize"),
            (Method::GET, "/api/v1/namespaces/x/pods/p", "get", "x", "pods", "p", ""),
            (Method::POST, "/api/v1/namespaces/x/pods/p/binding", "create", "x", "pods", "p", "binding"),
            (Method::GET, "/api/v1/watch/namespaces/x/pods", "watch", "x", "pods", "", ""),
            (Method::DELETE, "/apis/apps/v1/namespaces/x/deployments", "deletecollection", "x", "deployments", "", ""),
            (Method::PATCH, "/apis/apps/v1/namespaces/x/deployments/d/status", "patch", "x", "deployments", "d", "status"),
        ];
        for (method, path, verb, namespace, kind, name, subresource) in table {
            let found = resource(method, path);
            assert_eq!(
                (found.verb.as_str(), &*found.namespace, &*found.resource, &*found.name, &*found.subresource),
                (verb, namespace, kind, name, subresource),
                "{path}"
            );
        }
    }

    #[test]
    fn keeps_a_proxied_path_whole() {
        let found = resource(Method::GET, "/api/v1/namespaces/x/pods/p:80/proxy/a/b%20c/");
        assert_eq!((&*found.name, &*found.rest), ("p:80", "/a/b%20c/"));
    }

    #[test]
    fn everything_else_is_a_path() {
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis/apps/v1/", "/apis"] {
            assert_eq!(Target::parse(&Method::GET, path, false), Target::Path(path.to_owned()));
        }
    }
}
