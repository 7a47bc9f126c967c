//! Namespace: active until deleted, then emptied, then finalized.

use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::names::NameRule;
use crate::kinds::read::Read;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

/// The label every namespace carries so that selectors can name it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn row() -> Row {
    let columns =
        vec![columns::name(), Column::text("Status", "The status of the namespace"), columns::age()];
    Row::cluster(V1, "Namespace", "namespaces")
        .short(&["ns"])
        .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .name_rule(NameRule::Label)
        .subresources(&[Subresource::Finalize, Subresource::Status])
        .fields([SelectableField::at("status.phase")])
        .strategy(RULES)
        .columns(columns, |object, now| {
            vec![
                object["metadata"]["name"].clone(),
                object["status"]["phase"].clone(),
                columns::age_of(object, now),
            ]
        })
}

const RULES: Rules = Rules {
    status: Some(r#"{"phase": "Active"}"#),
    defaults: |namespace| {
        let name = namespace["metadata"].text("name").to_owned();
        // A generated name is not known yet; the second pass writes the label.
        if !name.is_empty() {
            namespace["metadata"]["labels"][NAME_LABEL] = name.into();
        }
    },
    create: |namespace| {
        let finalizers = &mut namespace["spec"]["finalizers"];
        let has = finalizers.as_array().is_some_and(|all| all.iter().any(|one| one == "kubernetes"));
        if !has {
            match finalizers.as_array_mut() {
                Some(all) => all.push("kubernetes".into()),
                None => *finalizers = Value::Array(vec!["kubernetes".into()]),
            }
        }
    },
    validate: check,
    // Only the finalize subresource writes the finalizers.
    update: |namespace, old| namespace["spec"]["finalizers"] = old["spec"]["finalizers"].clone(),
    ..Rules::PLAIN
};

fn check(namespace: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let at = at.child("finalizers");
    for name in namespace["spec"].list("finalizers").iter().filter_map(Value::as_str) {
        checks::qualified(at, name, errors);
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(at, name, why));
        }
    }
}
