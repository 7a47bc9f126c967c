//! `status`: what the observer of an object writes; everything else stays as it is.

use std::sync::Arc;

use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::Answer;
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::transaction::Part;
use crate::verbs::{self, decode};

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    match call.verb() {
        Verb::Get => verbs::get(server, call, kind).await,
        Verb::Patch => verbs::patch::patch_part(server, call, kind, Part::Status, |new, _| Ok(new)).await,
        Verb::Update => {
            let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
            let object = decode::object(call, kind, options.field_validation)?;
            verbs::replace(server, call, kind, object, Part::Status, options).await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}
