//! Kinds of our own: types with kube's derive, and the definitions that a cluster installs for them.
//!
//! Promise: `manifests/` holds exactly what [`definitions`] says, as YAML, one file a kind; a test in `tests/tidy`
//! compares. There is no kind of our own yet: whatever Kubernetes has a kind for uses that kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// The definitions of all kinds of our own, in the order of their names.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    Vec::new()
}

/// The files that `manifests/` must hold: (name, YAML).
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn manifests() -> Result<Vec<(String, String)>, serde_yaml_ng::Error> {
    definitions()
        .iter()
        .map(|definition| {
            let name = definition.metadata.name.clone().unwrap_or_default();
            Ok((format!("{name}.yaml"), serde_yaml_ng::to_string(definition)?))
        })
        .collect()
}
