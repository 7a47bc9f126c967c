//! IPAddress and ServiceCIDR: which cluster addresses there are and who has them.

use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::names::NameRule;
use crate::kinds::read::Read;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn ips() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("ParentRef", "io.k8s.api.networking.v1.IPAddressSpec", "parentRef"),
    ];
    Row::cluster(V1, "IPAddress", "ipaddresses")
        .short(&["ip"])
        .name_rule(NameRule::Ip)
        .fields([SelectableField::computed("spec.parentRef.name", |ip| {
            ip["spec"]["parentRef"].text("name").to_owned()
        })])
        .strategy(Rules { generation: true, ..Rules::PLAIN })
        .columns(columns, |ip, _now| {
            vec![ip["metadata"]["name"].clone(), parent(&ip["spec"]["parentRef"]).into()]
        })
}

pub(super) fn cidrs() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("CIDRs", "io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs"),
        columns::age(),
    ];
    Row::cluster(V1, "ServiceCIDR", "servicecidrs")
        .subresources(&[Subresource::Status])
        .strategy(Rules::SPEC_AND_STATUS)
        .columns(columns, |cidr, now| {
            let cidrs = cidr["spec"].list("cidrs").iter().filter_map(Value::as_str);
            vec![
                cidr["metadata"]["name"].clone(),
                columns::joined(cidrs, ",").into(),
                columns::age_of(cidr, now),
            ]
        })
}

/// `services/default/kubernetes`
fn parent(parent: &Value) -> String {
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let mut text = parent.text("resource").to_owned();
    if !parent.text("group").is_empty() {
        text = format!("{text}.{}", parent.text("group"));
    }
    for part in [parent.text("namespace"), parent.text("name")] {
        if !part.is_empty() {
            text = format!("{text}/{part}");
        }
    }
    text
}
