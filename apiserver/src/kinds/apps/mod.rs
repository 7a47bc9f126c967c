//! The rows of apps/v1.

mod daemonset;
mod deployment;
mod replicaset;
mod revision;
mod statefulset;

use super::Subresource;
use super::row::{Api, Row};

const V1: Api = Api { group: "apps", version: "v1", package: "io.k8s.api.apps.v1" };

const SCALE: Subresource = Subresource::Scale {
    replicas: "spec.replicas",
    status_replicas: "status.replicas",
    selector: "spec.selector",
};

pub(super) fn rows() -> Vec<Row> {
    vec![revision::row(), daemonset::row(), deployment::row(), replicaset::row(), statefulset::row()]
}
