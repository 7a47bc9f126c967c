//! The rows of batch/v1.

mod cronjob;
mod job;
mod policy;
mod schedule;

use super::row::{Api, Row};

const V1: Api = Api { group: "batch", version: "v1", package: "io.k8s.api.batch.v1" };

pub(super) fn rows() -> Vec<Row> {
    vec![cronjob::row(), job::row()]
}
