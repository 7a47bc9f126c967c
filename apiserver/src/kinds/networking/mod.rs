//! The rows of networking.k8s.io/v1.

mod addresses;
mod ingress;
mod policy;

use super::row::{Api, Row};

const V1: Api = Api { group: "networking.k8s.io", version: "v1", package: "io.k8s.api.networking.v1" };

pub(super) fn rows() -> Vec<Row> {
    vec![ingress::classes(), ingress::row(), addresses::ips(), policy::row(), addresses::cidrs()]
}
