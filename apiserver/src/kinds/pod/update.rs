//! What may change in a pod once it is there: images, deadlines, tolerations, gates, and little else.
//!
//! Source: kubernetes `pkg/apis/core/validation` (`ValidatePodUpdate`, `ValidatePodStatusUpdate`).

use serde_json::Value;

use super::validate;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::metadata;
use crate::kinds::read::{Read, items_mut};
use crate::object;

const SPEC: Path<'static> = Path::root("spec");
const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Errors of an update of the pod itself.
pub(super) fn pod(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    validate::of_pod(new, &mut errors);
    let (spec, before) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if !containers(SPEC.child(list), spec.list(list), before.list(list), &mut errors) {
            return errors;
        }
    }
    if !deadline(spec, before, &mut errors) {
        return errors;
    }
    tolerations(spec, before, &mut errors);
    gates(spec, before, &mut errors);
    if spec != before {
        everything_else(spec, before, &mut errors);
    }
    errors
}

/// Errors of an update of the status.
pub(super) fn status(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let at = Path::root("status");
    let (status, before) = (&new["status"], &old["status"]);
    let nominated = status.text("nominatedNodeName");
    if !nominated.is_empty() && nominated != before.text("nominatedNodeName") {
        checks::subdomain(at.child("nominatedNodeName"), nominated, &mut errors);
    }
    metadata::immutable(at.child("qosClass"), &status["qosClass"], &before["qosClass"], &mut errors);
    if old["spec"].text("restartPolicy") != "Always" {
        stay_ended(at.child("containerStatuses"), status, before, "containerStatuses", old, &mut errors);
    }
    errors
}

fn containers(at: Path<'_>, new: &[Value], old: &[Value], errors: &mut FieldErrors) -> bool {
    if new.len() != old.len() {
        errors.push(FieldError::forbidden(at, "pod updates may not add or remove containers"));
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let at = at.index(index);
        checks::required(at.child("image"), container.text("image"), errors);
        validate::untrimmed_image(at, container, errors);
    }
    true
}

/// A deadline may come and may get nearer.
fn deadline(new: &Value, old: &Value, errors: &mut FieldErrors) -> bool {
    let at = SPEC.child("activeDeadlineSeconds");
    match (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds")) {
        (Some(new), Some(old)) if old < new => {
            errors.push(FieldError::invalid(at, new, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(at, Value::Null, why));
        }
        _ => {}
    }
    true
}

fn tolerations(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let lasting = |toleration: &Value| {
        let mut toleration = toleration.clone();
        object::remove_at(&mut toleration, &["tolerationSeconds"]);
        toleration
    };
    let kept: Vec<Value> = new.list("tolerations").iter().map(lasting).collect();
    if old.list("tolerations").iter().any(|one| !kept.contains(&lasting(one))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(SPEC.child("tolerations"), why));
    }
}

fn gates(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = SPEC.child("schedulingGates");
    let before: Vec<&str> = old.list("schedulingGates").iter().map(|gate| gate.text("name")).collect();
    for (index, gate) in new.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(at.index(index).child("name"), why));
        }
    }
}

/// Takes back what may change and compares the rest.
fn everything_else(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let mut rest = new.clone();
    for list in ["containers", "initContainers"] {
        let old = old.list(list);
        for (container, before) in items_mut(&mut rest, list).zip(old) {
            object::carry_over(container, before, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        object::carry_over(&mut rest, old, field);
    }
    let grace = |spec: &Value| spec.int("terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(&rest) == Some(1) {
        object::carry_over(&mut rest, old, "terminationGracePeriodSeconds");
    }
    if !old.list("schedulingGates").is_empty() {
        gated(&mut rest, old, errors);
    }
    if rest != *old {
        let why =
            format!("pod updates may not change fields other than {MAY_CHANGE}\n{}", difference(old, &rest));
        errors.push(FieldError::forbidden(SPEC, why));
    }
}

/// Before its gates are gone, where a pod may go can be narrowed.
fn gated(rest: &mut Value, old: &Value, errors: &mut FieldErrors) {
    let before = &old["nodeSelector"];
    if rest["nodeSelector"] != *before {
        let lost = before
            .as_object()
            .into_iter()
            .flatten()
            .any(|(key, value)| rest["nodeSelector"].get(key) != Some(value));
        if lost {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(SPEC.child("nodeSelector"), rest["nodeSelector"].clone(), why));
        }
        object::carry_over(rest, old, "nodeSelector");
    }
    if rest["affinity"]["nodeAffinity"] != old["affinity"]["nodeAffinity"] {
        let was_open = !old["affinity"]["nodeAffinity"].has("requiredDuringSchedulingIgnoredDuringExecution");
        let others = |spec: &Value| {
            (spec["affinity"]["podAffinity"].clone(), spec["affinity"]["podAntiAffinity"].clone())
        };
        if was_open && others(rest) == others(old) {
            object::carry_over(rest, old, "affinity");
        }
    }
}

/// The fields that differ, a line each.
fn difference(old: &Value, new: &Value) -> String {
    let mut lines = String::new();
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        for (sign, side) in [('-', old), ('+', new)] {
            if let Some(value) = side.get(key) {
                lines.push_str(&format!("{sign} {key:?}: {value}\n"));
            }
        }
    }
    lines
}

/// A container that has ended for good stays ended.
fn stay_ended(at: Path<'_>, new: &Value, old: &Value, list: &str, pod: &Value, errors: &mut FieldErrors) {
    let retries = pod["spec"].text("restartPolicy") == "OnFailure";
    for (index, before) in old.list(list).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        if ended.is_null() || (retries && ended.int("exitCode").unwrap_or_default() != 0) {
            continue;
        }
        let now = new.list(list).iter().find(|one| one["name"] == before["name"]);
        if now.is_some_and(|now| now["state"]["terminated"].is_null()) {
            let why = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(at.index(index).child("state"), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a"}],
            "schedulingGates": [{"name": "a/b"}], "tolerations": [{"key": "k", "operator": "Exists"}]}});
        crate::kinds::pod::defaults::pod(&mut old);
        let mut new = old.clone();
        change(&mut new);
        pod(&new, &old).iter().map(|error| error.to_string().lines().next().unwrap().to_owned()).collect()
    }

    #[test]
    fn only_some_fields_may_change() {
        assert!(texts(|pod| pod["spec"]["containers"][0]["image"] = "b".into()).is_empty());
        assert!(texts(|pod| pod["spec"]["schedulingGates"] = json!([])).is_empty());
        assert!(texts(|pod| pod["spec"]["nodeSelector"] = json!({"a": "b"})).is_empty());
        assert!(texts(|pod| pod["spec"]["activeDeadlineSeconds"] = 5.into()).is_empty());
        assert_eq!(
            texts(|pod| pod["spec"]["schedulingGates"] = json!([{"name": "x/y"}])),
            [
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'x/y'"
            ]
        );
        assert_eq!(
            texts(|pod| pod["spec"]["tolerations"] = json!([])),
            [
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
            ]
        );
        assert_eq!(
            texts(|pod| pod["spec"]["containers"] = json!([])).last().unwrap(),
            "spec.containers: Forbidden: pod updates may not add or remove containers"
        );
        let texts = texts(|pod| pod["spec"]["restartPolicy"] = "Never".into());
        assert!(
            texts[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
            "{texts:?}"
        );
    }
}
