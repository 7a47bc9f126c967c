//! Slim views of the kinds that a process holds by the ten thousand.
//!
//! Promise: a view decodes from the same JSON as the full type and keeps only what the scheduler, the controllers
//! and the endpoint slices read. Views cannot be encoded: writing one back would drop the fields it does not have.

mod node;
mod pod;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

pub use node::{Node, NodeSpec, NodeStatus};
pub use pod::{
    Container, ContainerState, ContainerStatus, Disk, Pod, PodSpec, PodStatus, Port, Requests,
    ResourceClaimSource, ResourceClaimStatus, RunningSince, SchedulingGroup, Terminated, Volume, Waiting,
};

/// Gives a view with a `metadata` field the names of its kind, so that clients and informers take it: the view, the
/// kind, the group (left out for core), the version, the plural and the scope's type in `k8s_openapi`.
#[macro_export]
macro_rules! view_of {
    ($view:ident, $kind:literal, $version:literal, $plural:literal, $scope:ident) => {
        $crate::view_of!(@names $view, $kind, "", $version, $version, $plural, $scope);
    };
    ($view:ident, $kind:literal, $group:literal, $version:literal, $plural:literal, $scope:ident) => {
        $crate::view_of!(
            @names $view, $kind, $group, $version, concat!($group, "/", $version), $plural, $scope
        );
    };
    (@names $view:ident, $kind:expr, $group:expr, $version:expr, $api:expr, $plural:expr, $scope:ident) => {
        impl ::k8s_openapi::Resource for $view {
            const API_VERSION: &'static str = $api;
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = ::k8s_openapi::$scope;
        }

        impl ::k8s_openapi::ListableResource for $view {
            const LIST_KIND: &'static str = concat!($kind, "List");
        }

        impl ::k8s_openapi::Metadata for $view {
            type Ty = ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}

/// Reads `null` as the default, which Go writers send for empty lists and structs.
///
/// # Errors
///
/// The deserializer's own.
pub fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A list without spare room: what is read grows by doubling, and is held for long.
///
/// # Errors
///
/// The deserializer's own.
pub fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut list: Vec<T> = nullable(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

/// Metadata without `managedFields`, which are skipped unread: they are a third of a pod's JSON.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Lean {
        annotations: Option<BTreeMap<String, String>>,
        creation_timestamp: Option<Time>,
        deletion_grace_period_seconds: Option<i64>,
        deletion_timestamp: Option<Time>,
        finalizers: Option<Vec<String>>,
        generate_name: Option<String>,
        generation: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        owner_references: Option<Vec<OwnerReference>>,
        resource_version: Option<String>,
        uid: Option<String>,
    }

    let lean: Lean = nullable(deserializer)?;
    let mut annotations = lean.annotations;
    if let Some(annotations) = &mut annotations {
        annotations.remove(LAST_APPLIED);
    }
    Ok(ObjectMeta {
        annotations,
        creation_timestamp: lean.creation_timestamp,
        deletion_grace_period_seconds: lean.deletion_grace_period_seconds,
        deletion_timestamp: lean.deletion_timestamp,
        finalizers: lean.finalizers,
        generate_name: lean.generate_name,
        generation: lean.generation,
        labels: lean.labels,
        managed_fields: None,
        name: lean.name,
        namespace: lean.namespace,
        owner_references: lean.owner_references,
        resource_version: lean.resource_version,
        self_link: None,
        uid: lean.uid,
    })
}

/// kubectl's copy of the whole manifest; nobody who reads a view wants it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
