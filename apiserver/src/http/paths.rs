//! Paths that are not resources: health, version, metrics, discovery, OpenAPI.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::negotiate::Output;
use super::query::Query;
use super::respond::{self, Answer, failure, page_not_found};
use crate::authn::token::ISSUER;
use crate::discovery;
use component::serve::Shown;

use crate::server::Server;
use crate::status::{ApiError, ApiResult};

/// The API level, with our name in the build metadata.
pub(crate) const GIT_VERSION: &str = "v1.36.2+steersman";

pub(crate) async fn answer(
    server: &Arc<Server>,
    path: &str,
    parts: &Parts,
    query: &Query,
    output: ApiResult<Output>,
    plain: Output,
) -> Answer {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return failure(&ApiError::method_not_allowed(), plain);
    }
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if let Some(told) = server.pages.answer(trimmed, parts.uri.query()) {
        let told = match told.await {
            (status, Shown::Json(value)) => respond::value_as(status, &value, plain),
            (status, Shown::Metrics(text)) => Ok(metrics_text(status, text)),
        };
        return told.unwrap_or_else(|error| failure(&error, plain));
    }
    let outcome = match trimmed {
        "/version" => respond::value_as(StatusCode::OK, &version(), Output { pretty: true, ..plain }),
        "/metrics" => Ok(metrics(server)),
        "" => respond::value_as(StatusCode::OK, &json!({ "paths": PATHS }), Output { pretty: true, ..plain }),
        "/openid/v1/jwks" => respond::value_as(StatusCode::OK, &server.tokens().key_set(), plain),
        "/.well-known/openid-configuration" => respond::value_as(StatusCode::OK, &openid(), plain),
        _ if is_health(trimmed) => Ok(health(server, trimmed, query)),
        _ if trimmed.starts_with("/api") => {
            // The aggregated form has a media type of its own, which the general negotiation refuses.
            let output = output.unwrap_or(plain);
            match server.discovery.answer(trimmed, &parts.headers, output) {
                Some(answer) => answer,
                None => discovery::not_found(&server.discovery, trimmed),
            }
        }
        _ if trimmed.starts_with("/openapi") => {
            Ok(server.openapi.answer(trimmed, query, &parts.headers).unwrap_or_else(page_not_found))
        }
        _ => Ok(page_not_found()),
    };
    outcome.unwrap_or_else(|error| failure(&error, plain))
}

/// Where others learn to verify service account tokens (KEP-1393).
fn openid() -> serde_json::Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn metrics(server: &Server) -> Answer {
    metrics_text(StatusCode::OK, server.metrics.encode())
}

fn metrics_text(status: StatusCode, text: String) -> Answer {
    let mut answer = respond::text(status, text.into_bytes());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(component::metrics::CONTENT_TYPE));
    answer
}

const PATHS: [&str; 9] =
    ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version"];

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": option_env!("STEERSMAN_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform_name(std::env::consts::ARCH)),
    })
}

/// Go's name of an architecture.
fn platform_name(arch: &'static str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"]
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// One check or all of them, in upstream's words.
fn health(server: &Server, path: &str, query: &Query) -> Answer {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let endpoint = parts.next().unwrap_or_default();
    let checks = server.health(endpoint == "readyz");
    if let Some(name) = parts.next() {
        return match checks.iter().find(|(check, _)| *check == name) {
            Some((_, true)) => respond::text(StatusCode::OK, "ok"),
            Some((_, false)) => {
                respond::text(StatusCode::INTERNAL_SERVER_ERROR, "internal server error: reason withheld\n")
            }
            None => page_not_found(),
        };
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut healthy = true;
    for (name, fine) in checks {
        let line = match (excluded.contains(&name), fine) {
            (true, _) => format!("[+]{name} excluded: ok\n"),
            (false, true) => format!("[+]{name} ok\n"),
            (false, false) => {
                healthy = false;
                format!("[-]{name} failed: reason withheld\n")
            }
        };
        lines.push_str(&line);
    }
    match (healthy, query.get("verbose").is_some()) {
        (true, false) => respond::text(StatusCode::OK, "ok"),
        (true, true) => {
            respond::text(StatusCode::OK, format!("{lines}{endpoint} check passed\n").into_bytes())
        }
        (false, _) => {
            let body = format!("{lines}{endpoint} check failed\n").into_bytes();
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, body)
        }
    }
}
