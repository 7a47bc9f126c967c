//! One request on its way through the server.
//!
//! Promise: everything a verb may know about its request, read once; warnings gather here and leave as
//! `Warning` headers.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method};
use parking_lot::Mutex;

use super::negotiate::Output;
use super::query::Query;
use super::route::{ResourcePath, Verb};
use crate::authn::User;
use crate::kinds::Kind;
use crate::verbs::convert;

/// A request for a resource, authenticated and authorized.
#[derive(Debug)]
pub(crate) struct Call {
    pub user: User,
    pub path: ResourcePath,
    pub query: Query,
    pub output: Output,
    pub method: Method,
    /// The raw query, for requests that are passed on.
    pub raw_query: String,
    pub headers: HeaderMap,
    /// The whole body; empty for verbs that have none and for connections.
    pub body: Bytes,
    /// What the connection left with the request: the way to an upgraded connection.
    pub extensions: Mutex<Extensions>,
    /// The kind that the path names, where it is stored in another shape.
    pub served: Option<Served>,
    warnings: Mutex<Vec<String>>,
}

/// A kind whose shape is not the stored one.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub kind: Arc<Kind>,
    pub shape: convert::Shape,
}

impl Call {
    pub(crate) fn new(user: User, path: ResourcePath, query: Query, output: Output, parts: Parts) -> Self {
        Self {
            user,
            path,
            query,
            output,
            method: parts.method,
            raw_query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: Bytes::new(),
            extensions: Mutex::new(parts.extensions),
            served: None,
            warnings: Mutex::default(),
        }
    }

    /// Tells the client something that is not an error. Each text is sent once.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// The kind in whose shape objects come and go; `stored` unless the path names another.
    pub(crate) fn served_kind<'a>(&'a self, stored: &'a Kind) -> &'a Kind {
        self.served.as_ref().map_or(stored, |served| &served.kind)
    }

    /// How the client's shape differs from the stored one.
    pub(crate) fn conversion(&self) -> Option<convert::Shape> {
        self.served.as_ref().map(|served| served.shape)
    }

    pub(crate) fn verb(&self) -> Verb {
        self.path.verb
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.path.namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.path.name
    }

    /// A header as text, or empty.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
