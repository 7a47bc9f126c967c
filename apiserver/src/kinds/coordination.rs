//! coordination.k8s.io/v1: Lease.

use serde_json::Value;

use super::checks;
use super::columns::{self, Column};
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

const V1: Api = Api { group: "coordination.k8s.io", version: "v1", package: "io.k8s.api.coordination.v1" };

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Holder", "io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"),
        columns::age(),
    ];
    vec![
        Row::namespaced(V1, "Lease", "leases")
            .strategy(Rules {
                create_on_update: true,
                unconditional_update: false,
                validate: check,
                ..Rules::PLAIN
            })
            .columns(columns, |lease, now| {
                vec![
                    lease["metadata"]["name"].clone(),
                    lease["spec"].text("holderIdentity").into(),
                    columns::age_of(lease, now),
                ]
            }),
    ]
}

fn check(lease: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let spec = &lease["spec"];
    if let Some(seconds) = spec.int("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(at.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    checks::not_negative(at.child("leaseTransitions"), spec.int("leaseTransitions"), errors);
}
