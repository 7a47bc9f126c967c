//! NetworkPolicy.

use serde_json::{Value, json};

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::read::{Read, default_text, items_mut};
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
        .strategy(Rules { generation: true, defaults, ..Rules::PLAIN })
        .columns(columns, |policy, now| {
            vec![
                policy["metadata"]["name"].clone(),
                columns::selector(&policy["spec"]["podSelector"]).into(),
                columns::age_of(policy, now),
            ]
        })
}

/// A policy without types is about ingress, and about egress where it has rules for it.
fn defaults(policy: &mut Value) {
    let spec = &mut policy["spec"];
    for direction in ["ingress", "egress"] {
        for rule in items_mut(spec, direction) {
            items_mut(rule, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}
