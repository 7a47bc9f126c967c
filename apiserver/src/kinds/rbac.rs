//! rbac.authorization.k8s.io/v1: who may do what.

use jiff::Timestamp;
use serde_json::Value;

use super::checks;
use super::columns::{self, Column};
use super::names::{self, NameRule};
use super::read::{Read, child, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

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
    let validate = if row.is_namespaced() { check_role } else { check_cluster_role };
    row.name_rule(NameRule::PathSegment)
        .strategy(Rules { validate, ..RULES })
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
    let validate = if row.is_namespaced() { check_binding } else { check_cluster_binding };
    row.name_rule(NameRule::PathSegment)
        .strategy(Rules {
            defaults: binding_defaults,
            validate,
            validate_update: check_binding_update,
            ..RULES
        })
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

fn check_role(role: &Value, errors: &mut FieldErrors) {
    rules(role, true, errors);
}

fn check_cluster_role(role: &Value, errors: &mut FieldErrors) {
    rules(role, false, errors);
    let at = Path::root("aggregationRule");
    if role["aggregationRule"].is_object() {
        let at = at.child("clusterRoleSelectors");
        let selectors = role["aggregationRule"].list("clusterRoleSelectors");
        if selectors.is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(at, why));
        }
        for (index, selector) in selectors.iter().enumerate() {
            checks::selector(at.index(index), selector, errors);
        }
    }
}

fn rules(role: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let at = Path::root("rules");
    for (index, rule) in role.list("rules").iter().enumerate() {
        let at = at.index(index);
        if rule.list("verbs").is_empty() {
            errors.push(FieldError::required(at.child("verbs"), "verbs must contain at least one value"));
        }
        let has = |field: &str| !rule.list(field).is_empty();
        if has("nonResourceURLs") {
            let at = at.child("nonResourceURLs");
            let mut refuse =
                |why: &str| errors.push(FieldError::invalid(at, rule["nonResourceURLs"].clone(), why));
            if namespaced {
                refuse("namespaced rules cannot apply to non-resource URLs");
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                refuse("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if !has("apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(at.child("apiGroups"), why));
        }
        if !has("resources") {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(at.child("resources"), why));
        }
    }
}

fn check_binding(binding: &Value, errors: &mut FieldErrors) {
    role_ref(binding, &["Role", "ClusterRole"], errors);
    subjects(binding, true, errors);
}

fn check_cluster_binding(binding: &Value, errors: &mut FieldErrors) {
    role_ref(binding, &["ClusterRole"], errors);
    subjects(binding, false, errors);
}

fn role_ref(binding: &Value, kinds: &[&str], errors: &mut FieldErrors) {
    let (at, role) = (Path::root("roleRef"), &binding["roleRef"]);
    if role.text("apiGroup") != V1.group {
        errors.push(FieldError::not_supported(at.child("apiGroup"), role.text("apiGroup"), &[V1.group]));
    }
    if !kinds.contains(&role.text("kind")) {
        errors.push(FieldError::not_supported(at.child("kind"), role.text("kind"), kinds));
    }
    match role.text("name") {
        "" => errors.push(FieldError::required(at.child("name"), "")),
        name => checks::complain(at.child("name"), name, names::path_segment(name, false), errors),
    }
}

fn subjects(binding: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let at = Path::root("subjects");
    for (index, subject) in binding.list("subjects").iter().enumerate() {
        let at = at.index(index);
        let (name, group) = (subject.text("name"), subject.text("apiGroup"));
        checks::required(at.child("name"), name, errors);
        match subject.text("kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    checks::subdomain(at.child("name"), name, errors);
                }
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(at.child("apiGroup"), group, &[""]));
                }
                if !namespaced && subject.text("namespace").is_empty() {
                    errors.push(FieldError::required(at.child("namespace"), ""));
                }
            }
            kind @ ("User" | "Group") => {
                if name.is_empty() {
                    let why = format!("{} name cannot be empty", kind.to_lowercase());
                    errors.push(FieldError::invalid(at.child("name"), name, why));
                }
                if group != V1.group {
                    errors.push(FieldError::not_supported(at.child("apiGroup"), group, &[V1.group]));
                }
            }
            other => {
                const KINDS: [&str; 3] = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(at.child("kind"), other, &KINDS));
            }
        }
    }
}

/// What a binding grants never changes; who gets it may.
fn check_binding_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new["roleRef"] != old["roleRef"] {
        let role = &new["roleRef"];
        // Upstream shows its internal struct.
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            Value::from(role.text("apiGroup")),
            Value::from(role.text("kind")),
            Value::from(role.text("name"))
        );
        errors.push(FieldError::invalid_as(Path::root("roleRef"), shown, "cannot change roleRef"));
    }
}
