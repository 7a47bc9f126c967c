//! Which form a request's body has and which form the answer shall have.
//!
//! Promise: every `Accept` header that ends in `application/json` or `*/*` gets an answer, protobuf is read
//! but answered with JSON (clients decode by the answer's content type). Source: apiserver
//! `pkg/endpoints/handlers/negotiation`.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

use crate::status::{ApiError, ApiResult};

/// Media types that bodies are read in.
pub const ACCEPTED_BODIES: [&str; 3] = [JSON, YAML, PROTOBUF];
const WRITTEN: [&str; 3] = [JSON, YAML, PROTOBUF];
pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub shape: Shape,
    /// Indented, for people.
    pub pretty: bool,
}

/// Serialisation of an answer or a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Yaml,
    /// Read only.
    Protobuf,
}

/// What of an object is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The object.
    #[default]
    Whole,
    /// `meta.k8s.io/v1` Table: rows for people.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata (or its list).
    Metadata,
}

impl Output {
    /// Reads `Accept`, the `pretty` query parameter and the user agent.
    pub fn negotiate(headers: &HeaderMap, pretty: Option<&str>) -> ApiResult<Self> {
        let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        let (format, shape) = accepted(accept).ok_or_else(|| ApiError::not_acceptable(&WRITTEN))?;
        let pretty = match pretty {
            Some(value) => !matches!(value, "0" | "false"),
            None => is_a_person(headers),
        };
        Ok(Self { format, shape, pretty })
    }

    /// Whether stored bytes can be sent as they are.
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }
}

/// The form of a request's body. A missing content type means JSON, as upstream.
pub fn body_format(headers: &HeaderMap) -> ApiResult<Format> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Format::Json) };
    match media_type(value.to_str().unwrap_or_default()) {
        "" | JSON => Ok(Format::Json),
        YAML => Ok(Format::Yaml),
        PROTOBUF => Ok(Format::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED_BODIES)),
    }
}

/// A media type without its parameters.
pub fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// The best clause that can be written: highest `q` first, then order.
fn accepted(accept: &str) -> Option<(Format, Shape)> {
    let mut clauses: Vec<(f32, &str)> = accept.split(',').map(|c| (quality(c), c.trim())).collect();
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
    clauses.into_iter().filter(|(q, _)| *q > 0.0).find_map(|(_, clause)| written(clause))
}

fn written(clause: &str) -> Option<(Format, Shape)> {
    let format = match media_type(clause) {
        "" | "*/*" | "application/*" | JSON | PROTOBUF => Format::Json,
        YAML => Format::Yaml,
        _ => return None,
    };
    let shape = match parameter(clause, "as") {
        None => Shape::Whole,
        Some(wanted) => {
            let of_meta = parameter(clause, "g").is_some_and(|g| g == "meta.k8s.io")
                && parameter(clause, "v").is_some_and(|v| v == "v1" || v == "v1beta1");
            match wanted {
                "Table" if of_meta => Shape::Table,
                "PartialObjectMetadata" | "PartialObjectMetadataList" if of_meta => Shape::Metadata,
                _ => return None,
            }
        }
    };
    Some((format, shape))
}

/// A parameter of a media type clause.
pub fn parameter<'a>(clause: &'a str, name: &str) -> Option<&'a str> {
    clause.split(';').skip(1).find_map(|p| {
        let (key, value) = p.split_once('=')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn quality(clause: &str) -> f32 {
    parameter(clause, "q").and_then(|q| q.parse().ok()).unwrap_or(1.0)
}

/// Upstream indents for these user agents when `pretty` is not given.
fn is_a_person(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_what_it_can_write() {
        let table = [
            ("*/*", Some((Format::Json, Shape::Whole))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, Shape::Whole))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Format::Json, Shape::Table)),
            ),
            ("application/json;as=Unheard;v=v1;g=x,application/yaml", Some((Format::Yaml, Shape::Whole))),
            ("application/json;q=0.1, application/yaml", Some((Format::Yaml, Shape::Whole))),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some((Format::Json, Shape::Metadata)),
            ),
            ("text/html", None),
        ];
        for (accept, want) in table {
            assert_eq!(accepted(accept), want, "{accept}");
        }
    }
}
