//! Services as containers see them in their environment.
//!
//! Promise: a slim view for the one shared watch; only what the variables are made of.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// A Service: its name and spec.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Service {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: core::ServiceSpec,
}

objects::view_of!(Service, "Service", "v1", "services", NamespaceResourceScope);
