//! WATCH: from a revision, or from everything there is.
//!
//! Promise: upstream's rules about `resourceVersion` (unset and 0 begin with everything, N strictly after N),
//! `sendInitialEvents` and deadlines. A revision that is no longer kept is one ERROR event with code 410.
//! Source: apiserver `pkg/storage/cacher`, `pkg/endpoints/handlers/watch.go`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::list::{fresh, revision};
use super::select::Selection;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::query::ListOptions;
use crate::http::respond::{self, Answer};
use crate::http::shape::IncludeObject;
use crate::http::watch_body::{Plan, error_frame, frames, watch_error};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::ApiResult;
use crate::store::Revision;

/// A watch without `timeoutSeconds` lasts this long and up to twice as long (apiserver `MinRequestTimeout`).
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);

pub(crate) async fn watch(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = ListOptions::parse(&call.query, true)?;
    let selection = Selection::new(call, kind, &options)?;
    let include = IncludeObject::parse(call.query.text("includeObject"))?;
    let asked = revision(&options.resource_version)?.unwrap_or(Revision::ZERO);
    let everything = options.send_initial_events.unwrap_or(asked == Revision::ZERO);
    if options.send_initial_events.is_some() {
        fresh(server, asked).await?;
    }
    let (from, initial) = if everything {
        let snapshot = server.store.snapshot();
        let records = snapshot.range(&selection.prefix, None).filter(|r| selection.matches(r));
        (snapshot.revision(), records.cloned().collect())
    } else if asked == Revision::ZERO {
        (server.store.revision(), Vec::new())
    } else {
        (asked, Vec::new())
    };
    let plan = Plan {
        kind: call.served.as_ref().map_or_else(|| kind.clone(), |served| served.kind.clone()),
        conversion: call.conversion(),
        output: call.output,
        include,
        bookmarks: options.allow_bookmarks,
        initial,
        mark_end: options.send_initial_events == Some(true) && options.allow_bookmarks,
        deadline: Instant::now() + timeout(server, options.timeout_seconds),
        selection,
    };
    let body = match server.store.watch(&plan.selection.prefix, from) {
        Ok(cursor) => Body::stream(frames(server.clone(), cursor, plan)),
        Err(error) => error_frame(&watch_error(&error)).into(),
    };
    Ok(respond::json(StatusCode::OK, body))
}

fn timeout(server: &Server, asked: Option<i64>) -> Duration {
    match asked.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0) {
        Some(seconds) => Duration::from_secs(seconds),
        None => server.random.jitter(MIN_TIMEOUT, 1.0),
    }
}
