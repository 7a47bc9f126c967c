//! The rows of core/v1.

mod component_status;
mod config;
mod endpoints;
mod event;
mod limits;
mod namespace;
mod node;
mod replication;
mod volume;
mod volume_claim;

use super::row::{Api, Row};
use super::strategy::Rules;
use super::{Subresource, pod, service};

pub(super) const V1: Api = Api { group: "", version: "v1", package: "io.k8s.api.core.v1" };

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::namespaced(V1, "Binding", "bindings").verbs(&["create"]),
        component_status::row(),
        config::config_maps(),
        endpoints::row(),
        event::core(),
        limits::limit_ranges(),
        namespace::row(),
        node::row(),
        volume_claim::row(),
        volume::row(),
        pod::row(),
        pod::template::row(),
        replication::row(),
        limits::resource_quotas(),
        config::secrets(),
        service_accounts(),
        service::row(),
    ]
}

/// events.k8s.io/v1: the same objects as core's events, with other field names.
pub(super) fn events() -> Vec<Row> {
    vec![event::events_group()]
}

fn service_accounts() -> Row {
    Row::namespaced(V1, "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .subresources(&[Subresource::Token])
        .strategy(Rules::PLAIN)
}
