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

impl k8s_openapi::Resource for Service {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Service";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "services";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Service {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
