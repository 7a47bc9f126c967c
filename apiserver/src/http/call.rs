//! One request on its way through the server.
//!
//! Promise: everything a verb may know about its request, read once; warnings gather here and leave as
//! `Warning` headers.

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method};
use parking_lot::Mutex;

use super::negotiate::Output;
use super::query::Query;
use super::route::{ResourcePath, Verb};
use crate::authn::User;

/// A request for a resource, authenticated and authorized.
#[derive(Debug)]
pub(crate) struct Call {
    pub user: User,
    pub path: ResourcePath,
    pub query: Query,
    pub output: Output,
    pub method: Method,
    pub headers: HeaderMap,
    /// The whole body; empty for verbs that have none and for connections.
    pub body: Bytes,
    /// What the connection left with the request: the way to an upgraded connection.
    pub extensions: Mutex<Extensions>,
    warnings: Mutex<Vec<String>>,
}

impl Call {
    pub(crate) fn new(user: User, path: ResourcePath, query: Query, output: Output, parts: Parts) -> Self {
        Self {
            user,
            path,
            query,
            output,
            method: parts.method,
            headers: parts.headers,
            body: Bytes::new(),
            extensions: Mutex::new(parts.extensions),
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
