//! The small HTTP server of every component: `/healthz`, `/livez`, `/readyz`, `/metrics`, `/metrics/slis`, and pages of
//! its own.
//!
//! Promise: paths, parameters and texts are upstream's, so probes and scripts work. The API server mounts the same
//! [`Endpoints`] in its own server; the others listen on a port of their own, with TLS as upstream, and can be told whom
//! to let in.

mod health;
mod listen;
mod pages;
mod roots;
mod slis;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

pub use health::Health;
use listen::Presented;
pub use listen::{ListenError, LiveTls, Tls, serve, serve_pages};
pub use pages::{Asked, Pages, Shown, Told};
pub use roots::{RootsError, roots};

use crate::access::{Access, Act, Refusal};
use crate::metrics::{self, Registry};

/// Health and metrics as a `tower::Service` that answers every request.
#[derive(Clone, Debug)]
pub struct Endpoints {
    health: Health,
    metrics: Registry,
    pages: Pages,
    /// `None`: everybody may see everything.
    access: Option<Access>,
    /// The certificates that the connection came with.
    presented: Option<Presented>,
}

impl Endpoints {
    /// The endpoints of a process.
    #[must_use]
    pub fn new(health: Health, metrics: Registry) -> Self {
        Self { health, metrics, pages: Pages::default(), access: None, presented: None }
    }

    /// The same with pages of the component's own.
    #[must_use]
    pub fn with(self, pages: Pages) -> Self {
        Self { pages, ..self }
    }

    /// The same for those only whom `access` lets in.
    #[must_use]
    pub fn guarded(self, access: Access) -> Self {
        Self { access: Some(access), ..self }
    }

    /// The same on a connection that came with these certificates.
    fn for_presented(self, presented: Presented) -> Self {
        Self { presented: Some(presented), ..self }
    }

    async fn admit(&self, request: &Parts) -> Result<(), Refusal> {
        let Some(access) = &self.access else { return Ok(()) };
        let holder = self.presented.as_ref().map(Presented::holder).unwrap_or_default();
        let caller = access.caller_of(&holder, &request.headers).await?;
        let (verb, path) = (request.method.as_str().to_lowercase(), request.uri.path().to_owned());
        access.authorize(&caller, Act::Path { verb, path }).await
    }

    async fn respond(self, request: Parts) -> Response<Full<Bytes>> {
        let json = HeaderValue::from_static("application/json");
        if let Err(refusal) = self.admit(&request).await {
            return text(refusal.code(), refusal.status().to_string(), json);
        }
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned(), plain);
        }
        let (path, query) = (request.uri.path(), request.uri.query());
        if let Some(told) = self.pages.answer(path, query) {
            return match told.await {
                (status, Shown::Json(value)) => text(status, value.to_string(), json),
                (status, Shown::Metrics(metrics)) => {
                    text(status, metrics, HeaderValue::from_static(metrics::CONTENT_TYPE))
                }
            };
        }
        let unknown = || text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned(), plain);
        self.answer(path, query).unwrap_or_else(unknown)
    }

    /// The answer to a GET of one of the paths served here, `None` for other paths. `query` is the part after `?`.
    #[must_use]
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<Response<Full<Bytes>>> {
        let metrics = match path {
            "/metrics" => Some(self.metrics.encode()),
            slis::PATH => Some(self.health.slis.encode()),
            _ => None,
        };
        if let Some(metrics) = metrics {
            return Some(text(StatusCode::OK, metrics, HeaderValue::from_static(metrics::CONTENT_TYPE)));
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
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (endpoints, (parts, _)) = (self.clone(), request.into_parts());
        Box::pin(async { Ok(endpoints.respond(parts).await) })
    }
}

#[cfg(test)]
mod tests;
