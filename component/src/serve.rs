//! The small HTTP server of every component: `/healthz`, `/livez`, `/readyz` and `/metrics`.
//!
//! Promise: paths, parameters and texts are upstream's, so probes and scripts work. The API server mounts the same
//! [`Endpoints`] in its own server; the others listen on a port of their own, with TLS as upstream.

mod health;
mod listen;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

pub use health::Health;
pub use listen::{ListenError, Tls, serve};

use crate::metrics::{self, Registry};

/// Health and metrics as a `tower::Service` that answers every request.
#[derive(Clone, Debug)]
pub struct Endpoints {
    health: Health,
    metrics: Registry,
}

impl Endpoints {
    /// The endpoints of a process.
    #[must_use]
    pub const fn new(health: Health, metrics: Registry) -> Self {
        Self { health, metrics }
    }

    /// The answer to a GET of one of the paths served here, `None` for other paths. `query` is the part after `?`.
    #[must_use]
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<Response<Full<Bytes>>> {
        if path == "/metrics" {
            let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
            return Some(text(StatusCode::OK, self.metrics.encode(), content_type));
        }
        let (status, body) = self.health.answer(path, query.unwrap_or_default())?;
        Some(text(status, body, HeaderValue::from_static("text/plain; charset=utf-8")))
    }
}

fn text(status: StatusCode, body: String, content_type: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

impl<B> Service<Request<B>> for Endpoints {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let response = match *request.method() {
            Method::GET | Method::HEAD => self
                .answer(request.uri().path(), request.uri().query())
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned(), plain)),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned(), plain),
        };
        ready(Ok(response))
    }
}
