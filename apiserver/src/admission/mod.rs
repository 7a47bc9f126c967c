//! Admission: what the cluster says about a write beyond the object itself.
//!
//! Promise: plugins run in upstream's order, those that change the object before its validation, those that only
//! judge after it. A plugin sees stored objects, never another request.

mod namespace_lifecycle;

use std::sync::Arc;

use serde_json::Value;

use crate::http::call::Call;
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::ApiResult;

/// One write on its way in.
pub(crate) struct Attributes<'a> {
    pub server: &'a Arc<Server>,
    pub call: &'a Call,
    pub kind: &'a Kind,
    pub verb: Verb,
    pub old: Option<&'a Value>,
    pub dry_run: bool,
}

/// Plugins that may change the object.
pub(crate) fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> ApiResult<()> {
    namespace_lifecycle::admit(attributes, object)
}

/// Plugins that judge the object as it will be stored.
pub(crate) fn validate(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    if attributes.verb == Verb::Delete {
        namespace_lifecycle::admit(attributes, object)?;
    }
    Ok(())
}
