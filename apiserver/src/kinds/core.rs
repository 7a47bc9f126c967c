//! The rows of core/v1.

use super::Subresource;
use super::fields::SelectableField;
use super::names::NameRule;
use super::row::{Api, Row};
use super::strategy::WithStatus;

const V1: Api = Api { group: "", version: "v1", package: "io.k8s.api.core.v1" };

pub(super) fn rows() -> Vec<Row> {
    use Subresource::*;
    vec![
        Row::namespaced(V1, "ConfigMap", "configmaps").short(&["cm"]),
        Row::cluster(V1, "Namespace", "namespaces")
            .short(&["ns"])
            .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
            .name_rule(NameRule::Label)
            .subresources(&[Finalize, Status])
            .fields([SelectableField::at("status.phase")])
            .strategy(WithStatus),
        Row::cluster(V1, "Node", "nodes").short(&["no"]).subresources(&[Proxy, Status]).strategy(WithStatus),
        Row::namespaced(V1, "Pod", "pods")
            .short(&["po"])
            .category("all")
            .subresources(&[
                Attach,
                Binding,
                EphemeralContainers,
                Eviction,
                Exec,
                Log,
                PortForward,
                Proxy,
                Resize,
                Status,
            ])
            .fields([SelectableField::at("spec.nodeName"), SelectableField::at("status.phase")])
            .strategy(WithStatus),
    ]
}
