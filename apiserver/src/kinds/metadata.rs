//! What `metadata` of any kind must look like, at creation and at an update.
//!
//! Promise: the errors and their order are upstream's.
//! Source: apimachinery `pkg/api/validation/objectmeta.go`.

use objects::validity;
use serde_json::Value;

use super::names::NameRule;
use super::read::Read;
use crate::field::{FieldError, FieldErrors, Path, quote};

const METADATA: Path<'static> = Path::root("metadata");
/// Upstream's limit on all annotations of one object together, keys and values, in bytes.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// The sentence about a field that may not change.
pub(super) const IMMUTABLE: &str = "field is immutable";

/// Errors of a new object's metadata.
pub(super) fn check(object: &Value, namespaced: bool, rule: NameRule) -> FieldErrors {
    let mut errors = FieldErrors::new();
    named(METADATA, &object["metadata"], namespaced, rule, &mut errors);
    errors
}

/// Errors of an updated object's metadata.
pub(super) fn check_update(object: &Value, old: &Value) -> FieldErrors {
    let (new, old) = (&object["metadata"], &old["metadata"]);
    let mut errors = FieldErrors::new();
    if old.has("deletionTimestamp") {
        no_new_finalizers(new, old, &mut errors);
    }
    if new.text("resourceVersion").is_empty() {
        let at = METADATA.child("resourceVersion");
        errors.push(FieldError::invalid(at, "", "must be specified for an update"));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        immutable(METADATA.child(field), &new[field], &old[field], &mut errors);
    }
    loose(METADATA, new, &mut errors);
    errors
}

/// Errors of metadata with its name, also for templates that carry one.
pub(super) fn named(at: Path<'_>, meta: &Value, namespaced: bool, rule: NameRule, errors: &mut FieldErrors) {
    let generate = meta.text("generateName");
    if !generate.is_empty() {
        for text in rule.check(generate, true) {
            errors.push(FieldError::invalid(at.child("generateName"), generate, text));
        }
    }
    let name = meta.text("name");
    if name.is_empty() {
        errors.push(FieldError::required(at.child("name"), "name or generateName is required"));
    } else {
        let complaints = rule.check(name, false);
        errors.extend(complaints.into_iter().map(|text| FieldError::invalid(at.child("name"), name, text)));
    }
    let namespace = meta.text("namespace");
    let at_namespace = at.child("namespace");
    match (namespaced, namespace) {
        (true, "") => errors.push(FieldError::required(at_namespace, "")),
        (true, namespace) => {
            let complaints = validity::dns_label(namespace);
            errors.extend(
                complaints.into_iter().map(|text| FieldError::invalid(at_namespace, namespace, text)),
            );
        }
        (false, "") => {}
        (false, _) => errors.push(FieldError::forbidden(at_namespace, "not allowed on this type")),
    }
    loose(at, meta, errors);
    finalizers(at, meta, errors);
}

/// Errors of labels.
pub(super) fn labels(at: Path<'_>, labels: &Value, errors: &mut FieldErrors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for text in validity::qualified_name(key) {
            errors.push(FieldError::invalid(at, key.as_str(), text));
        }
        let value = value.as_str().unwrap_or_default();
        for text in validity::label_value(value) {
            errors.push(FieldError::invalid(at, value, text));
        }
    }
}

/// Errors of annotations: their keys, and their size together.
pub(super) fn annotations(at: Path<'_>, annotations: &Value, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Case does not matter in annotation keys.
        for text in validity::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(at, key.as_str(), text));
        }
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(at, ANNOTATIONS_MAX_BYTES));
    }
}

/// Adds the error when a field changed that may not.
pub(super) fn immutable(at: Path<'_>, new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new != old {
        errors.push(FieldError::invalid(at, new.clone(), IMMUTABLE));
    }
}

/// What is checked at creation and at every update.
fn loose(at: Path<'_>, meta: &Value, errors: &mut FieldErrors) {
    labels(at.child("labels"), &meta["labels"], errors);
    annotations(at.child("annotations"), &meta["annotations"], errors);
    owners(at.child("ownerReferences"), meta.list("ownerReferences"), errors);
}

fn owners(at: Path<'_>, owners: &[Value], errors: &mut FieldErrors) {
    let mut controller: Option<&str> = None;
    for (index, owner) in owners.iter().enumerate() {
        let at = at.index(index);
        let version = owner.text("apiVersion").rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            let text = "version must not be empty";
            errors.push(FieldError::invalid(at.child("apiVersion"), owner.text("apiVersion"), text));
        }
        for field in ["kind", "name", "uid"] {
            if owner.text(field).is_empty() {
                errors.push(FieldError::invalid(at.child(field), "", "must not be empty"));
            }
        }
        if owner.text("apiVersion") == "v1" && owner.text("kind") == "Event" {
            errors.push(FieldError::invalid(
                at,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.flag("controller") {
            match controller {
                Some(first) => {
                    let text = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                        owner.text("name")
                    );
                    errors.push(FieldError::invalid(at, Value::Array(owners.to_vec()), text));
                }
                None => controller = Some(owner.text("name")),
            }
        }
    }
}

fn finalizers(at: Path<'_>, meta: &Value, errors: &mut FieldErrors) {
    let at = at.child("finalizers");
    let has = |name: &str| meta.list("finalizers").iter().any(|one| one == name);
    for name in meta.list("finalizers").iter().filter_map(Value::as_str) {
        errors.extend(
            validity::qualified_name(name).into_iter().map(|text| FieldError::invalid(at, name, text)),
        );
    }
    if has("orphan") && has("foregroundDeletion") {
        let text = "finalizers orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(at, meta["finalizers"].clone(), text));
    }
}

fn no_new_finalizers(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let old = old.list("finalizers");
    let mut added: Vec<&str> =
        new.list("finalizers").iter().filter(|one| !old.contains(one)).filter_map(Value::as_str).collect();
    if added.is_empty() {
        return;
    }
    added.sort_unstable();
    let list = added.iter().map(|one| quote(one)).collect::<Vec<_>>().join(", ");
    let text = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
    );
    errors.push(FieldError::forbidden(METADATA.child("finalizers"), text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_object_needs_a_name_and_a_namespace() {
        let errors = check(&json!({"metadata": {}}), true, NameRule::Subdomain);
        assert_eq!(
            texts(&errors),
            [
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value"
            ]
        );
        let cluster = json!({"metadata": {"name": "a", "namespace": "b"}});
        let errors = check(&cluster, false, NameRule::Subdomain);
        assert_eq!(texts(&errors), ["metadata.namespace: Forbidden: not allowed on this type"]);
    }

    #[test]
    fn an_update_keeps_identity() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "4"}});
        let new = json!({"metadata": {"name": "a", "uid": "2", "resourceVersion": "4"}});
        assert_eq!(
            texts(&check_update(&new, &old)),
            ["metadata.uid: Invalid value: \"2\": field is immutable"]
        );
    }

    #[test]
    fn finalizers_are_only_taken_off_a_dying_object() {
        let old =
            json!({"metadata": {"resourceVersion": "4", "deletionTimestamp": "t", "finalizers": ["a.b/c"]}});
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["a.b/c", "d.e/f"]);
        assert_eq!(
            texts(&check_update(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
              found new finalizers []string{\"d.e/f\"}"
            ]
        );
    }
}
