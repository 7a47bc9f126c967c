//! Admission: what the cluster says about a write beyond the object itself.
//!
//! Promise: plugins run in upstream's order, those that change the object before its validation, those that only
//! judge after it. A plugin sees stored objects, never another request.

mod default_ingress_class;
mod default_tolerations;
mod escalation;
mod limit_ranger;
mod namespace_lifecycle;
mod new_nodes;
mod pod_groups;
mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod storage;

use std::sync::Arc;

use serde_json::Value;

use crate::http::call::Call;
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};

/// One write on its way in.
pub(crate) struct Attributes<'a> {
    pub server: &'a Arc<Server>,
    pub call: &'a Call,
    pub kind: &'a Kind,
    pub verb: Verb,
    pub old: Option<&'a Value>,
}

/// Plugins that may change the object.
pub(crate) fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> ApiResult<()> {
    namespace_lifecycle::admit(attributes, object)?;
    if !attributes.call.path.subresource.is_empty() {
        return Ok(());
    }
    limit_ranger::admit(attributes, object);
    service_account::admit(attributes, object)?;
    new_nodes::admit(attributes, object);
    priority::admit(attributes, object)?;
    default_tolerations::admit(attributes, object);
    storage::admit(attributes, object);
    runtime_class::admit(attributes, object)?;
    default_ingress_class::admit(attributes, object);
    Ok(())
}

/// Plugins that judge the object as it will be stored.
pub(crate) fn validate(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    if attributes.verb == Verb::Delete {
        return namespace_lifecycle::admit(attributes, object);
    }
    escalation::validate(attributes, object)?;
    pod_security::validate(attributes, object)?;
    pod_groups::validate(attributes, object)?;
    storage::validate(attributes, object)?;
    limit_ranger::validate(attributes, object)
}

impl Attributes<'_> {
    /// Whether the write is about this resource.
    fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural
    }

    /// A stored object; the core group is `core`.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let parts = ["/registry", group, plural, namespace, name];
        let key = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        serde_json::from_slice(&self.server.store.get(&key)?.bytes).ok()
    }

    /// The stored objects of a resource, of one namespace where one is given.
    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Value> {
        let mut prefix = format!("/registry/{group}/{plural}/");
        if !namespace.is_empty() {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        let snapshot = self.server.store.snapshot();
        let records = snapshot.range(&prefix, None);
        records.filter_map(|record| serde_json::from_slice(&record.bytes).ok()).collect()
    }

    /// 403 for the object.
    fn forbid(&self, object: &Value, why: &str) -> ApiError {
        // Where a name is still to be generated, what it will begin with tells more than nothing.
        let name = match object::name(object) {
            "" => object::meta_str(object, "generateName"),
            name => name,
        };
        ApiError::forbidden(&self.kind.group, &self.kind.plural, name, why)
    }
}
