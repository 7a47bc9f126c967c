//! rbac.authorization.k8s.io/v1: who may do what.

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{self, Column};
use super::names::NameRule;
use super::read::{Read, child, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "rbac.authorization.k8s.io", version: "v1", package: "io.k8s.api.rbac.v1" };

pub(super) fn rows() -> Vec<Row> {
    vec![
        binding(Row::cluster(V1, "ClusterRoleBinding", "clusterrolebindings"), CLUSTER_ROLE_REF),
        role(Row::cluster(V1, "ClusterRole", "clusterroles")),
        binding(Row::namespaced(V1, "RoleBinding", "rolebindings"), ROLE_REF),
        role(Row::namespaced(V1, "Role", "roles")),
    ]
}

/// Upstream's printers describe the column by the beta version of the kind, which says less than the schema now.
const ROLE_REF: &str = "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. \
    If the RoleRef cannot be resolved, the Authorizer must return an error.";
const CLUSTER_ROLE_REF: &str = "RoleRef can only reference a ClusterRole in the global namespace. \
    If the RoleRef cannot be resolved, the Authorizer must return an error.";

const RULES: Rules = Rules { create_on_update: true, ..Rules::PLAIN };

fn role(row: Row) -> Row {
    row.name_rule(NameRule::PathSegment)
        .strategy(RULES)
        .columns(columns::created_at(), columns::created_at_cells)
}

fn binding(row: Row, role_ref: &'static str) -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Role", role_ref),
        columns::age(),
        Column::text("Users", "Users in the roleBinding").wide(),
        Column::text("Groups", "Groups in the roleBinding").wide(),
        Column::text("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
    ];
    row.name_rule(NameRule::PathSegment)
        .strategy(Rules { defaults: binding_defaults, ..RULES })
        .columns(columns, binding_cells)
}

fn binding_defaults(binding: &mut Value) {
    default_text(child(binding, "roleRef"), "apiGroup", V1.group);
    for subject in items_mut(binding, "subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            default_text(subject, "apiGroup", V1.group);
        }
    }
}

fn binding_cells(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    let of_kind = |kind: &str| {
        let subjects = binding.list("subjects").iter().filter(|one| one.text("kind") == kind);
        let names = subjects.map(|one| match kind {
            "ServiceAccount" => format!("{}/{}", one.text("namespace"), one.text("name")),
            _ => one.text("name").to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        binding["metadata"]["name"].clone(),
        format!("{}/{}", role.text("kind"), role.text("name")).into(),
        columns::age_of(binding, now),
        of_kind("User"),
        of_kind("Group"),
        of_kind("ServiceAccount"),
    ]
}
