//! LIST: a page of a snapshot.
//!
//! Promise: all pages of one list show the same revision, or the client is told that they cannot (410 with a
//! token that goes on at the latest). Nothing is decoded for a plain answer. Source: apiserver
//! `pkg/storage/etcd3/store.go`, `pkg/storage/continue.go`.

use std::sync::Arc;
use std::time::Duration;

use base64::DecodeError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::select::Selection;
use crate::http::body::collect;
use crate::http::call::Call;
use crate::http::list_body::{ItemShape, ListBody};
use crate::http::negotiate::{Format, Shape};
use crate::http::query::{ListOptions, VersionMatch};
use crate::http::respond::{self, Answer};
use crate::http::shape::{IncludeObject, TableWriter};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::store::{Record, Revision, Snapshot};

/// How long a request waits for a revision that is not written yet (apiserver `blockTimeout`).
const FRESH_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) async fn list(server: &Server, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = ListOptions::parse(&call.query, false)?;
    let selection = Selection::new(call, kind, &options)?;
    let page = page(server, &options, &selection).await?;
    let output = call.output;
    if output.shape == Shape::Table {
        return table(server, call, kind, &page, &selection);
    }
    let body = ListBody {
        head: head(call.served_kind(kind), &page.metadata, output.shape),
        shape: ItemShape::new(kind, output.shape, call.conversion()),
        selection,
        snapshot: page.snapshot,
        after: page.after,
        until: page.until,
    };
    if output.format != Format::Json || output.pretty {
        let whole = collect(body.into_body(false).0).await;
        return respond::document(StatusCode::OK, whole, output);
    }
    let gzip = call.header("accept-encoding").split(',').any(|coding| coding.trim().starts_with("gzip"));
    let (body, compressed) = body.into_body(gzip);
    let mut answer = respond::json(StatusCode::OK, body);
    if compressed {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

/// One page: which part of which snapshot, and what its metadata says.
pub(crate) struct Page {
    pub snapshot: Snapshot,
    after: Option<String>,
    until: Option<String>,
    pub metadata: Value,
}

impl Page {
    /// The page's objects.
    pub(crate) fn records(&self, selection: &Selection) -> Vec<Arc<Record>> {
        let range = self.snapshot.range(&selection.prefix, self.after.as_deref());
        let until = self.until.as_deref();
        let range = range.take_while(|record| until.is_none_or(|last| record.key.as_str() <= last));
        range.filter(|record| selection.matches(record)).cloned().collect()
    }
}

/// Finds the page that the options ask for.
pub(crate) async fn page(server: &Server, options: &ListOptions, selection: &Selection) -> ApiResult<Page> {
    let (snapshot, after) = start(server, options, selection).await?;
    let revision = snapshot.revision();
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    let mut until = None;
    if options.limit > 0 {
        let mut chosen = snapshot.range(&selection.prefix, after.as_deref()).filter(|r| selection.matches(r));
        let last = chosen.by_ref().take(options.limit).last().map(|record| record.key.as_str().to_owned());
        // Upstream says that there is more when there are more keys, whether or not they are selected.
        let left = last.as_ref().map_or(0, |last| snapshot.range(&selection.prefix, Some(last)).count());
        if let Some(last) = last.filter(|_| left > 0) {
            let start = last.strip_prefix(parent(selection)).unwrap_or(&last);
            metadata["continue"] = Token::encode(i64::try_from(revision.get()).unwrap_or(-1), start).into();
            if options.selects_all() {
                metadata["remainingItemCount"] = left.into();
            }
            until = Some(last);
        }
        if until.is_some() {
            server.store.keep(&snapshot);
        }
    }
    Ok(Page { snapshot, after, until, metadata })
}

/// The snapshot to list and the key to begin after.
async fn start(
    server: &Server,
    options: &ListOptions,
    selection: &Selection,
) -> ApiResult<(Snapshot, Option<String>)> {
    if !options.continue_token.is_empty() {
        if !matches!(options.resource_version.as_str(), "" | "0") {
            let why = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(why));
        }
        return go_on(server, &options.continue_token, selection);
    }
    let Some(asked) = revision(&options.resource_version)? else {
        return Ok((server.store.snapshot(), None));
    };
    fresh(server, asked).await?;
    // A limit without a match is read as Exact: the old rule for paging from a revision.
    let exact = match options.version_match {
        VersionMatch::Exact => true,
        VersionMatch::NotOlderThan => false,
        VersionMatch::Unset => options.limit > 0,
    };
    if !exact || asked == Revision::ZERO {
        return Ok((server.store.snapshot(), None));
    }
    match server.store.snapshot_at(asked) {
        Ok(snapshot) => Ok((snapshot, None)),
        Err(_) => Err(ApiError::expired("The resourceVersion for the provided list is too old.")),
    }
}

fn go_on(server: &Server, token: &str, selection: &Selection) -> ApiResult<(Snapshot, Option<String>)> {
    let token = Token::decode(token).map_err(|why| {
        ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    })?;
    // Upstream's start key ends in a zero byte: the smallest key behind the last one.
    let start = token.start.trim_end_matches('\0').trim_start_matches('/');
    let after = Some(format!("{}{start}", parent(selection)));
    let Ok(rv) = u64::try_from(token.rv) else {
        // A negative revision goes on at the latest: the client has accepted an inconsistent list.
        return Ok((server.store.snapshot(), after));
    };
    match server.store.snapshot_at(Revision(rv)) {
        Ok(snapshot) => Ok((snapshot, after)),
        Err(_) => Err(ApiError::expired_continue(CONTINUE_EXPIRED, Token::encode(-1, start))),
    }
}

/// Reads a `resourceVersion`; `None` when unset.
pub(crate) fn revision(text: &str) -> ApiResult<Option<Revision>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(|rv| Some(Revision(rv))).map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: \
             strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// Waits for a revision, but not long.
pub(crate) async fn fresh(server: &Server, asked: Revision) -> ApiResult<()> {
    if server.store.revision() >= asked {
        return Ok(());
    }
    match tokio::time::timeout(FRESH_TIMEOUT, server.store.reached(asked)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(ApiError::too_large_resource_version(asked.get(), server.store.revision().get())),
    }
}

fn table(
    server: &Server,
    call: &Call,
    kind: &Arc<Kind>,
    page: &Page,
    selection: &Selection,
) -> ApiResult<Answer> {
    let include = IncludeObject::parse(call.query.text("includeObject"))?;
    let writer = TableWriter { kind: call.served_kind(kind), include, now: server.clock.now() };
    let objects = page.records(selection).into_iter().map(|record| served(call, &record.bytes));
    let objects = objects.collect::<ApiResult<Vec<_>>>()?;
    let table = writer.table(&objects, page.metadata.clone(), true)?;
    respond::value_as(StatusCode::OK, &table, call.output)
}

/// A stored object in the shape the client knows.
fn served(call: &Call, bytes: &Bytes) -> ApiResult<Bytes> {
    call.conversion().map_or_else(|| Ok(bytes.clone()), |shape| shape.served(bytes))
}

/// What continue tokens are relative to: the prefix up to its last slash.
fn parent(selection: &Selection) -> &str {
    let end = selection.prefix.rfind('/').map_or(0, |at| at + 1);
    &selection.prefix[..end]
}

fn head(kind: &Kind, metadata: &Value, shape: Shape) -> Vec<u8> {
    let (list, version) = match shape {
        Shape::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        _ => (format!("{}List", kind.kind), kind.api_version()),
    };
    format!("{{\"kind\":\"{list}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[")
        .into_bytes()
}

/// Where the next page begins, as upstream encodes it.
#[derive(Debug, Deserialize, Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter, or use the continue token in this response to \
    retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - \
    objects that were created, modified, or deleted between the time the first chunk was returned and now may \
    show up in the list.";

impl Token {
    fn encode(rv: i64, last: &str) -> String {
        let token = Self { v: TOKEN_VERSION.to_owned(), rv, start: format!("{last}\0") };
        let json = serde_json::to_vec(&token).expect("a token always encodes");
        URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(text: &str) -> Result<Self, String> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
                DecodeError::InvalidLength(length) => length - length % 4,
                DecodeError::InvalidPadding => text.len(),
            };
            format!("illegal base64 data at input byte {at}")
        })?;
        let token: Self = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        match token {
            Self { v, .. } if v != TOKEN_VERSION => {
                Err(format!("server does not recognize this encoded version {v:?}"))
            }
            Self { rv: 0, .. } => {
                Err(format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})"))
            }
            Self { start, .. } if start.is_empty() => {
                Err(format!("encoded start key empty (version {TOKEN_VERSION})"))
            }
            token => Ok(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_and_bad_ones_are_named() {
        let token = Token::decode(&Token::encode(7, "ns/a")).unwrap();
        assert_eq!((token.rv, token.start.as_str()), (7, "ns/a\0"));
        let table = [
            ("bogus", "illegal base64 data at input byte 4"),
            ("a?cd", "illegal base64 data at input byte 1"),
            (&URL_SAFE_NO_PAD.encode(r#"{"v":"x","rv":1,"start":"a"}"#), "does not recognize"),
            (&URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#), "incorrect encoded"),
        ];
        for (text, why) in table {
            let error = Token::decode(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
