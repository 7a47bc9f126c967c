//! GET of one object: the stored bytes.

use std::sync::Arc;

use http::StatusCode;

use super::answer;
use super::list::{fresh, revision};
use crate::http::call::Call;
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::store::Record;

pub(crate) async fn get(server: &Server, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    if let Some(asked) = revision(call.query.text("resourceVersion"))? {
        fresh(server, asked).await?;
    }
    let record = record(server, kind, call.namespace(), call.name())?;
    answer::object(server, call, kind, StatusCode::OK, &record.bytes)
}

/// The newest state of an object, or 404.
pub(crate) fn record(server: &Server, kind: &Kind, namespace: &str, name: &str) -> ApiResult<Arc<Record>> {
    server
        .store
        .get(&kind.storage_key(namespace, name))
        .ok_or_else(|| ApiError::not_found(&kind.group, &kind.plural, name))
}
