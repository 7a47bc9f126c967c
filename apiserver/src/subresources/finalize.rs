//! `finalize`: the namespace controller takes `spec.finalizers` away when a namespace is empty.

use std::sync::Arc;

use http::StatusCode;

use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::ApiResult;
use crate::verbs::transaction::{Part, Transaction};
use crate::verbs::{answer, check_version, decode};

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let object = decode::object(call, kind, options.field_validation)?;
    decode::check_name(call, &object)?;
    let transaction =
        Transaction { server, call, kind, name: call.name(), part: Part::Other, dry_run: options.dry_run };
    let bytes = transaction
        .run(|old| {
            check_version(kind, &object, old)?;
            let mut new = old.clone();
            let finalizers = object::list_at(&object, &["spec", "finalizers"]).to_vec();
            if finalizers.is_empty() {
                object::remove_at(&mut new, &["spec", "finalizers"]);
            } else {
                object::set_at(&mut new, &["spec", "finalizers"], finalizers);
            }
            Ok(new)
        })
        .await?;
    answer::object(server, call, kind, StatusCode::OK, &bytes)
}
