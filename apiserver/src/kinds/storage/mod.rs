//! The rows of storage.k8s.io/v1.

pub(crate) mod class;
mod csi;

use super::row::{Api, Row};

const V1: Api = Api { group: "storage.k8s.io", version: "v1", package: "io.k8s.api.storage.v1" };

pub(super) fn rows() -> Vec<Row> {
    vec![
        csi::drivers(),
        csi::nodes(),
        csi::capacities(),
        class::row(),
        csi::attachments(),
        class::attributes(),
    ]
}
