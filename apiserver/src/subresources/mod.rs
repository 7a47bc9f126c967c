//! What hangs below an object: its status, its scale, its logs.
//!
//! Promise: one file a subresource; each goes through `verbs::transaction` when it writes.

mod binding;
mod bound;
mod connect;
mod container;
mod eviction;
mod finalize;
mod log;
pub(crate) mod node;
mod pod_part;
mod proxy;
mod scale;
mod status;
mod token;

use std::sync::Arc;

use crate::http::call::Call;
use crate::http::query::FieldValidation;
use crate::http::respond::Answer;
use crate::kinds::{Kind, Subresource};
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{self, decode};

/// Whether a request below this name is a connection rather than a request for an object.
pub(crate) fn connects(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward")
}

/// Serves a subresource that the kind has.
pub(crate) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let Some(sub) = kind.subresource(&call.path.subresource) else {
        return Err(ApiError::no_such_resource());
    };
    if call.name().is_empty() {
        return Err(ApiError::no_such_resource());
    }
    if !sub.verbs().contains(&call.verb().as_str()) {
        return Err(ApiError::method_not_allowed());
    }
    match sub {
        Subresource::Status => status::serve(server, call, kind).await,
        Subresource::Scale { .. } => scale::serve(server, call, kind, sub).await,
        Subresource::Binding => binding::serve(server, call, kind).await,
        Subresource::Finalize => finalize::serve(server, call, kind).await,
        Subresource::EphemeralContainers | Subresource::Resize => {
            pod_part::serve(server, call, kind, sub).await
        }
        Subresource::Eviction => eviction::serve(server, call, kind).await,
        Subresource::Token => token::serve(server, call, kind).await,
        Subresource::Proxy => proxy::serve(server, call, kind).await,
        Subresource::Log => log::serve(server, call, kind).await,
        Subresource::Attach | Subresource::Exec | Subresource::PortForward => {
            connect::serve(server, call, kind, sub).await
        }
        _ => Err(ApiError::no_such_resource()),
    }
}

/// Serves a resource that is only posted.
pub(crate) async fn post_only(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    if &*kind.kind != "Binding" {
        return verbs::review(server, call, kind).await;
    }
    let pods = server.kinds.resource("", "v1", "pods").ok_or_else(ApiError::no_such_resource)?;
    let binding = decode::object(call, kind, FieldValidation::Ignore)?;
    binding::bind(server, call, pods, object::name(&binding)).await
}
