//! What the workloads have in common: a selector that matches the template, and a template that may run for ever.

use serde_json::Value;

use super::checks;
use super::pod::validate;
use super::read::Read;
use crate::field::{FieldError, FieldErrors, Path};

/// Complains where the selector does not pick the pods of its own template. `labels` hang at `at`.
pub(super) fn selects_its_template(
    at: Path<'_>,
    selector: &Value,
    template: &Value,
    errors: &mut FieldErrors,
) {
    let labels = &template["metadata"]["labels"];
    if !selector.is_null() && checks::is_empty_selector(selector) {
        return;
    }
    if !checks::selects(selector, labels) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(at.child("metadata.labels"), labels.clone(), why));
    }
}

/// A template whose pods are replaced when they end.
pub(super) fn lasting_template(at: Path<'_>, template: &Value, owner: &str, errors: &mut FieldErrors) {
    validate::template(at, template, errors);
    lasting(at, template, owner, errors);
}

/// The pods of the template are restarted and have no end.
pub(super) fn lasting(at: Path<'_>, template: &Value, owner: &str, errors: &mut FieldErrors) {
    let at = at.child("spec");
    let policy = template["spec"].text("restartPolicy");
    if policy != "Always" {
        errors.push(FieldError::not_supported(at.child("restartPolicy"), policy, &["Always"]));
    }
    if template["spec"].has("activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.push(FieldError::forbidden(at.child("activeDeadlineSeconds"), why));
    }
}

/// A selector that must be there and select something in particular.
pub(super) fn selector(at: Path<'_>, selector: &Value, empty: &str, errors: &mut FieldErrors) {
    if selector.is_null() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    checks::selector(at, selector, errors);
    if checks::is_empty_selector(selector) {
        errors.push(FieldError::invalid(at, selector.clone(), empty));
    }
}
