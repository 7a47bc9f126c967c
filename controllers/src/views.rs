//! Slim views of the workload kinds: the fields that the controllers read, and the template as it came.
//!
//! A template stays the server's JSON. Decoding it into typed structs costs about 40 KiB a workload and
//! would drop fields that a newer API server knows and we do not: the pods would silently lack them.

use k8s_openapi::api::apps::v1::{DeploymentStatus, ReplicaSetStatus, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use objects::view_of;
use serde::Deserialize;

use crate::template::Template;

/// `apps/v1` Deployment, as the controllers read it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Deployment {
    /// Standard metadata.
    pub(crate) metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub(crate) spec: DeploymentSpec,
    /// What was last reported.
    #[serde(default)]
    pub(crate) status: DeploymentStatus,
}

/// The wanted state of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeploymentSpec {
    /// Pods wanted; the server defaults it to 1.
    pub(crate) replicas: Option<i32>,
    /// The pods that belong to it.
    pub(crate) selector: LabelSelector,
    /// What a pod is made from.
    pub(crate) template: Template,
    /// How pods of an old template are replaced.
    pub(crate) strategy: Strategy,
    /// Seconds a pod must be ready to count as available.
    pub(crate) min_ready_seconds: i32,
    /// Old ReplicaSets to keep; none keeps all.
    pub(crate) revision_history_limit: Option<i32>,
    /// No new rollout starts while it is set.
    pub(crate) paused: bool,
    /// Seconds without progress after which the rollout counts as stuck.
    pub(crate) progress_deadline_seconds: Option<i32>,
}

/// `spec.strategy` of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Strategy {
    /// `Recreate` or `RollingUpdate`; empty means the latter.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Bounds of a rolling update.
    pub(crate) rolling_update: Option<RollingUpdateDeployment>,
}

impl Deployment {
    /// The name; empty before the server has set one.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The UID; empty before the server has set one.
    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Pods wanted.
    pub(crate) fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Whether old pods must all be gone before new ones start.
    pub(crate) fn recreates(&self) -> bool {
        self.spec.strategy.kind == "Recreate"
    }
}

/// `apps/v1` ReplicaSet, as the controllers read it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ReplicaSet {
    /// Standard metadata.
    pub(crate) metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub(crate) spec: ReplicaSetSpec,
    /// What was last reported.
    #[serde(default)]
    pub(crate) status: ReplicaSetStatus,
}

/// The wanted state of a ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReplicaSetSpec {
    /// Pods wanted; the server defaults it to 1.
    pub(crate) replicas: Option<i32>,
    /// Seconds a pod must be ready to count as available.
    pub(crate) min_ready_seconds: i32,
    /// The pods that belong to it.
    pub(crate) selector: LabelSelector,
    /// What a pod is made from.
    pub(crate) template: Template,
}

impl ReplicaSet {
    /// The name; empty before the server has set one.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The UID; empty before the server has set one.
    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Pods wanted.
    pub(crate) fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// An annotation's value.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

view_of!(Deployment, "Deployment", "apps", "v1", "deployments", NamespaceResourceScope);
view_of!(ReplicaSet, "ReplicaSet", "apps", "v1", "replicasets", NamespaceResourceScope);
