//! Every kind the server knows, a row each: names, verbs, columns, selectable fields and its strategy.
//!
//! Promise: a request path, a discovery answer, a table and a field selector are all answered from the
//! row; a new kind is a new row. Reads nothing, writes nothing: rows and strategies are pure.

mod admissionregistration;
pub mod allocate;
mod apps;
pub(crate) mod autoscaling;
mod batch;
pub mod bootstrap;
mod certificates;
pub(crate) mod checks;
mod columns;
mod coordination;
mod core;
mod discovery;
mod fields;
mod flowcontrol;
mod metadata;
mod names;
mod networking;
mod pod;
mod pod_groups;
mod policy;
mod rbac;
pub(crate) mod read;
mod resource;
pub(crate) mod resources;
mod reviews;
mod row;
mod runtime;
mod scheduling;
mod service;
pub(crate) mod storage;
mod strategy;
mod workload;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde_json::Value;

use crate::field::FieldErrors;

pub use columns::{Column, Description};
pub use fields::SelectableField;
pub use names::NameRule;
pub use strategy::Strategy;

/// A kind as it is served in one version.
#[derive(Clone, Debug)]
pub struct Kind {
    /// API group; empty for core.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub singular: Cow<'static, str>,
    pub short_names: Vec<Cow<'static, str>>,
    pub categories: Vec<Cow<'static, str>>,
    pub namespaced: bool,
    /// Sorted, as discovery lists them. Kinds without `get` are not stored.
    pub verbs: &'static [&'static str],
    pub subresources: Vec<Subresource>,
    pub selectable_fields: Vec<SelectableField>,
    pub columns: Vec<Column>,
    /// One value a column, for the table at that time (ages are relative).
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
    pub strategy: Arc<dyn Strategy>,
    /// The schema's name, such as `io.k8s.api.core.v1.Pod`.
    pub definition: Cow<'static, str>,
    /// How `metadata.name` must look.
    pub name_rule: NameRule,
    /// The group and resource the store keeps it under; another version of the same objects names the same.
    pub storage: (Cow<'static, str>, Cow<'static, str>),
    /// The warning that every request for it is answered with.
    pub deprecated: Option<&'static str>,
}

/// A subresource of a kind, with what it needs to be served.
#[derive(Clone, Debug, PartialEq)]
pub enum Subresource {
    Status,
    /// The paths a `Scale` is made from; `selector` may name a map, a `LabelSelector` or a string.
    Scale {
        replicas: &'static str,
        status_replicas: &'static str,
        selector: &'static str,
    },
    Approval,
    Attach,
    Binding,
    EphemeralContainers,
    Eviction,
    Exec,
    Finalize,
    Log,
    PortForward,
    Proxy,
    Resize,
    Token,
}

impl Subresource {
    /// The last part of the URL.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale { .. } => "scale",
            Self::Approval => "approval",
            Self::Attach => "attach",
            Self::Binding => "binding",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Eviction => "eviction",
            Self::Exec => "exec",
            Self::Finalize => "finalize",
            Self::Log => "log",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
            Self::Resize => "resize",
            Self::Token => "token",
        }
    }

    /// What may be done with it, as discovery lists it.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale { .. } | Self::Approval | Self::EphemeralContainers | Self::Resize => {
                &["get", "patch", "update"]
            }
            Self::Attach | Self::Exec | Self::PortForward => &["create", "get"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Finalize => &["update"],
            Self::Log => &["get"],
            Self::Proxy => &["create", "delete", "get", "patch", "update"],
        }
    }

    /// Group, version and kind of the body, given the kind it belongs to. Group and version are empty
    /// where they are the kind's own.
    pub fn body_kind(&self, owner: &Kind) -> (&'static str, &'static str, String) {
        let own = |kind: &str| ("", "", kind.to_owned());
        match self {
            Self::Scale { .. } => ("autoscaling", "v1", "Scale".to_owned()),
            Self::Eviction => ("policy", "v1", "Eviction".to_owned()),
            Self::Token => ("authentication.k8s.io", "v1", "TokenRequest".to_owned()),
            Self::Attach => own("PodAttachOptions"),
            Self::Binding => own("Binding"),
            Self::Exec => own("PodExecOptions"),
            Self::PortForward => own("PodPortForwardOptions"),
            Self::Proxy => own(&format!("{}ProxyOptions", owner.kind)),
            _ => own(&owner.kind),
        }
    }
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Where the store keeps the objects: `/registry/apps/deployments/`; core's group is `core`.
    pub fn storage_prefix(&self) -> String {
        let (group, resource) = &self.storage;
        let group = if group.is_empty() { "core" } else { group };
        format!("/registry/{group}/{resource}/")
    }

    /// The store's key of one object; `namespace` is ignored for cluster-scoped kinds.
    pub fn storage_key(&self, namespace: &str, name: &str) -> String {
        let mut key = self.storage_prefix();
        if self.namespaced {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        key
    }

    /// Whether objects of this kind are kept (`bindings` and reviews are only posted).
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name() == name)
    }

    /// All that is wrong with a new object: its metadata first, then what the kind demands.
    pub fn validate(&self, object: &Value) -> FieldErrors {
        let mut errors = metadata::check(object, self.namespaced, self.name_rule);
        errors.extend(self.strategy.validate(object));
        errors
    }

    /// All that is wrong with an update. Upstream checks metadata twice, so its causes come twice.
    pub fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = metadata::check_update(object, old);
        errors.extend(errors.clone());
        errors.extend(self.strategy.validate_update(object, old));
        errors
    }

    /// All that is wrong with an update of the status.
    pub fn validate_status_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = metadata::check_update(object, old);
        errors.extend(errors.clone());
        errors.extend(self.strategy.validate_status_update(object, old));
        errors
    }

    /// The values of the selectable fields, in the row's order.
    pub fn field_values(&self, object: &Value) -> Vec<String> {
        self.selectable_fields.iter().map(|field| field.read(object)).collect()
    }

    /// The text for a field selector that names a field this kind does not offer.
    pub fn unsupported_field(&self, label: &str) -> String {
        fields::unsupported(self, label)
    }
}

/// The built-in kinds: the groups in discovery's order, the kinds of a group in the order of their resources.
pub fn builtin() -> &'static [Kind] {
    const GROUPS: [fn() -> Vec<row::Row>; 20] = [
        core::rows,
        apps::rows,
        core::events,
        reviews::authentication,
        reviews::authorization,
        autoscaling::rows,
        batch::rows,
        certificates::rows,
        networking::rows,
        policy::rows,
        rbac::rows,
        storage::rows,
        admissionregistration::rows,
        scheduling::rows,
        pod_groups::rows,
        coordination::rows,
        runtime::rows,
        discovery::rows,
        resource::rows,
        flowcontrol::rows,
    ];
    static KINDS: LazyLock<Vec<Kind>> =
        LazyLock::new(|| GROUPS.iter().flat_map(|rows| rows()).map(row::Row::build).collect());
    &KINDS
}

/// Finds kinds by the names that requests use.
#[derive(Clone, Debug)]
pub struct Kinds {
    all: Arc<Vec<Arc<Kind>>>,
    by_resource: Arc<HashMap<(String, String, String), usize>>,
}

impl Kinds {
    /// A registry of the built-in kinds.
    pub fn builtin() -> Self {
        Self::of(builtin().iter().cloned())
    }

    /// A registry of these kinds.
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let all: Vec<_> = kinds.into_iter().map(Arc::new).collect();
        let key = |kind: &Kind| (kind.group.to_string(), kind.version.to_string(), kind.plural.to_string());
        let by_resource = all.iter().enumerate().map(|(index, kind)| (key(kind), index)).collect();
        Self { all: Arc::new(all), by_resource: Arc::new(by_resource) }
    }

    pub fn all(&self) -> &[Arc<Kind>] {
        &self.all
    }

    /// By the parts of a URL.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let index = self.by_resource.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))?;
        self.all.get(*index)
    }

    /// By the parts of an object's `apiVersion` and `kind`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.all.iter().find(|one| one.kind == kind && one.version == version && one.group == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_fills_its_columns_and_starts_its_status() {
        let now = Timestamp::UNIX_EPOCH;
        for kind in builtin() {
            let mut object = json!({"metadata": {"name": "x"}});
            kind.strategy.prepare_create(&mut object);
            assert_eq!((kind.cells)(&object, now).len(), kind.columns.len(), "{}", kind.kind);
            assert_eq!(kind.field_values(&object).len(), kind.selectable_fields.len());
        }
    }

    #[test]
    fn names_are_unique_and_sorted_within_a_group_version() {
        let mut previous: Option<&Kind> = None;
        for kind in builtin() {
            if let Some(before) = previous.filter(|p| p.group == kind.group && p.version == kind.version) {
                assert!(before.plural < kind.plural, "{} after {}", kind.plural, before.plural);
            }
            previous = Some(kind);
        }
    }

    #[test]
    fn kinds_are_found_by_url_and_by_kind() {
        let kinds = Kinds::builtin();
        let deployments = kinds.resource("apps", "v1", "deployments").unwrap();
        assert_eq!(deployments.storage_key("default", "web"), "/registry/apps/deployments/default/web");
        assert_eq!(kinds.kind("", "v1", "Node").unwrap().storage_key("", "n"), "/registry/core/nodes/n");
        let events = kinds.resource("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(events.storage_prefix(), kinds.resource("", "v1", "events").unwrap().storage_prefix());
        assert!(kinds.resource("apps", "v2", "deployments").is_none());
    }
}
