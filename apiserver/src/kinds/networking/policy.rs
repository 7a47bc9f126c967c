//! NetworkPolicy.

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Pod-Selector", "io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"),
        columns::age(),
    ];
    Row::namespaced(V1, "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .strategy(Rules { generation: true, ..Rules::PLAIN })
        .columns(columns, |policy, now| {
            vec![
                policy["metadata"]["name"].clone(),
                columns::selector(&policy["spec"]["podSelector"]).into(),
                columns::age_of(policy, now),
            ]
        })
}
