//! Which nodes a pod may go to: node and pod affinity, tolerations.

use objects::validity;
use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
pub(in crate::kinds) const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn affinity(at: Path<'_>, affinity: &Value, errors: &mut FieldErrors) {
    let node = &affinity["nodeAffinity"];
    let node_at = at.child("nodeAffinity");
    if node.has(REQUIRED) {
        node_selector(node_at.child(REQUIRED), &node[REQUIRED], true, errors);
    }
    let preferred_at = node_at.child(PREFERRED);
    for (index, term) in node.list(PREFERRED).iter().enumerate() {
        let at = preferred_at.index(index);
        weight(at, term, errors);
        node_term(at.child("preference"), &term["preference"], false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = at.child(kind);
        let (required_at, preferred_at) = (at.child(REQUIRED), at.child(PREFERRED));
        for (index, term) in affinity[kind].list(REQUIRED).iter().enumerate() {
            pod_term(required_at.index(index), term, errors);
        }
        for (index, term) in affinity[kind].list(PREFERRED).iter().enumerate() {
            let at = preferred_at.index(index);
            weight(at, term, errors);
            pod_term(at.child("podAffinityTerm"), &term["podAffinityTerm"], errors);
        }
    }
}

fn weight(at: Path<'_>, term: &Value, errors: &mut FieldErrors) {
    let weight = term.int("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(at.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// Terms of which one must match a node.
pub(in crate::kinds) fn node_selector(
    at: Path<'_>,
    selector: &Value,
    strict: bool,
    errors: &mut FieldErrors,
) {
    let at = at.child("nodeSelectorTerms");
    let terms = selector.list("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(at, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(at.index(index), term, strict, errors);
    }
}

fn node_term(at: Path<'_>, term: &Value, strict: bool, errors: &mut FieldErrors) {
    let (labels_at, fields_at) = (at.child("matchExpressions"), at.child("matchFields"));
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        node_label(labels_at.index(index), expression, strict, errors);
    }
    for (index, expression) in term.list("matchFields").iter().enumerate() {
        node_field(fields_at.index(index), expression, errors);
    }
}

fn node_label(at: Path<'_>, expression: &Value, strict: bool, errors: &mut FieldErrors) {
    let (values_at, values) = (at.child("values"), expression.list("values"));
    match expression.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(values_at, why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(values_at, why));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(values_at, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            errors.push(FieldError::invalid(at.child("operator"), other, "not a valid selector operator"))
        }
    }
    checks::qualified(at.child("key"), expression.text("key"), errors);
    // Preferences with bad values match nothing and do no harm.
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate().filter(|_| strict) {
        checks::complain(values_at.index(index), value, validity::label_value(value), errors);
    }
}

fn node_field(at: Path<'_>, expression: &Value, errors: &mut FieldErrors) {
    let (values_at, values) = (at.child("values"), expression.list("values"));
    match expression.text("operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(values_at, why));
        }
        "In" | "NotIn" => {}
        other => {
            errors.push(FieldError::invalid(at.child("operator"), other, "not a valid selector operator"))
        }
    }
    match expression.text("key") {
        "metadata.name" => {
            for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                checks::subdomain(values_at.index(index), value, errors);
            }
        }
        other => errors.push(FieldError::invalid(at.child("key"), other, "not a valid field selector key")),
    }
}

fn pod_term(at: Path<'_>, term: &Value, errors: &mut FieldErrors) {
    checks::selector(at.child("labelSelector"), &term["labelSelector"], errors);
    checks::selector(at.child("namespaceSelector"), &term["namespaceSelector"], errors);
    for namespace in term.list("namespaces").iter().filter_map(Value::as_str) {
        checks::label(at.child("namespace"), namespace, errors);
    }
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(at.child("topologyKey"), "can not be empty"));
    }
    checks::qualified(at.child("topologyKey"), key, errors);
}

pub(in crate::kinds) fn tolerations(at: Path<'_>, tolerations: &[Value], errors: &mut FieldErrors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = at.index(index);
        let operator_at = at.child("operator");
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            checks::qualified(at.child("key"), key, errors);
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(operator_at, operator, why));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(at.child("effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let complaints = validity::label_value(value);
                if !complaints.is_empty() {
                    errors.push(FieldError::invalid(operator_at, value, complaints.join(";")));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(operator_at, value, why));
            }
            other => errors.push(FieldError::not_supported(operator_at, other, &["Equal", "Exists"])),
        }
        checks::maybe_one_of(at.child("effect"), effect, &TAINT_EFFECTS, errors);
    }
}
