//! Topology spread constraints.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;

const POSITIVE: &str = "must be greater than zero";

pub(super) fn constraints(at: Path<'_>, constraints: &[Value], errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let at = at.index(index);
        let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        let skew = constraint.int("maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.push(FieldError::invalid(at.child("maxSkew"), skew, POSITIVE));
        }
        if key.is_empty() {
            errors.push(FieldError::required(at.child("topologyKey"), "can not be empty"));
        } else {
            checks::qualified(at.child("topologyKey"), key, errors);
        }
        let action_at = at.child("whenUnsatisfiable");
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(FieldError::not_supported(action_at, action, &["DoNotSchedule", "ScheduleAnyway"]));
        }
        // Two constraints of one key and one consequence contradict each other.
        if !seen.insert((key, action)) {
            errors.push(FieldError::duplicate(
                at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {action}}}"),
            ));
        }
        if let Some(domains) = constraint.int("minDomains") {
            let domains_at = at.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(domains_at, domains, POSITIVE));
            }
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(domains_at, domains, why));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            checks::maybe_one_of(at.child(field), constraint.text(field), &["Honor", "Ignore"], errors);
        }
        checks::selector(at.child("labelSelector"), &constraint["labelSelector"], errors);
        match_label_keys(at.child("matchLabelKeys"), constraint, errors);
    }
}

fn match_label_keys(at: Path<'_>, constraint: &Value, errors: &mut FieldErrors) {
    let keys = constraint.list("matchLabelKeys");
    if keys.is_empty() {
        return;
    }
    if !constraint.has("labelSelector") {
        errors.push(FieldError::forbidden(at, "must not be specified when labelSelector is not set"));
    }
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        checks::qualified(at.index(index), key, errors);
    }
}
