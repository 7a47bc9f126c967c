//! DELETECOLLECTION: everything a list would show, one after the other.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::delete::{DeleteOptions, delete_object};
use super::encode;
use super::list::page;
use super::select::Selection;
use crate::http::call::Call;
use crate::http::query::ListOptions;
use crate::http::respond::{self, Answer};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::ApiResult;

pub(crate) async fn delete_collection(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
) -> ApiResult<Answer> {
    let list = ListOptions::parse(&call.query, false)?;
    let options = DeleteOptions::parse(call)?;
    let selection = Selection::new(call, kind, &list)?;
    let page = page(server, &list, &selection).await?;
    let mut items = Vec::new();
    for record in page.records(&selection) {
        match delete_object(server, call, kind, record.header.name(), &options).await {
            Ok(_) => {}
            // Somebody else deleted it: that is what was asked for.
            Err(error) if error.code() == 404 => {}
            Err(error) => return Err(error),
        }
        let mut item = encode::decoded(&record.bytes)?;
        if let Value::Object(fields) = &mut item {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        items.push(item);
    }
    let body = json!({
        "kind": format!("{}List", kind.kind),
        "apiVersion": kind.api_version(),
        "metadata": page.metadata,
        "items": items,
    });
    respond::value_as(StatusCode::OK, &body, call.output)
}
