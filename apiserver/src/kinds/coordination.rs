//! coordination.k8s.io/v1: Lease.

use super::columns::{self, Column};
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "coordination.k8s.io", version: "v1", package: "io.k8s.api.coordination.v1" };

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Holder", "io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"),
        columns::age(),
    ];
    vec![
        Row::namespaced(V1, "Lease", "leases")
            .strategy(Rules { create_on_update: true, unconditional_update: false, ..Rules::PLAIN })
            .columns(columns, |lease, now| {
                vec![
                    lease["metadata"]["name"].clone(),
                    lease["spec"].text("holderIdentity").into(),
                    columns::age_of(lease, now),
                ]
            }),
    ]
}
