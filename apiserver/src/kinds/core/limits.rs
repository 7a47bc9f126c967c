//! LimitRange and ResourceQuota: what a namespace may use, a pod and all together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use objects::quantity::Quantity;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::read::{Read, items_mut};
use crate::kinds::resources;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(super) fn limit_ranges() -> Row {
    Row::namespaced(V1, "LimitRange", "limitranges")
        .short(&["limits"])
        .strategy(Rules {
            create_on_update: true,
            defaults: limit_defaults,
            validate: check_limits,
            ..Rules::PLAIN
        })
        .columns(columns::created_at(), columns::created_at_cells)
}

pub(super) fn resource_quotas() -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Request",
            "Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column::text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        columns::age(),
    ];
    Row::namespaced(V1, "ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some("{}"),
            validate: check_quota,
            validate_update: check_quota_update,
            ..Rules::PLAIN
        })
        .columns(columns, quota_cells)
}

/// Limits of containers default each other: the maximum is the default limit, that the default request,
/// and else the minimum is.
fn limit_defaults(range: &mut Value) {
    for item in items_mut(&mut range["spec"], "limits").filter(|item| item.text("type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(values) = item.get(from).and_then(Value::as_object).cloned() else { continue };
            for (resource, value) in values {
                if !item[to].has(&resource) {
                    item[to][resource] = value;
                }
            }
        }
    }
}

fn quota_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let used =
        |resource: &str| status["used"].get(resource).and_then(Value::as_str).unwrap_or("0").to_owned();
    let (limits, requests): (Vec<_>, Vec<_>) =
        status.entries("hard").partition(|(resource, _)| resource.starts_with("limits."));
    let column = |entries: Vec<(&String, &Value)>| {
        let texts = entries.into_iter().map(|(resource, hard)| {
            format!("{resource}: {}/{}", used(resource), hard.as_str().unwrap_or_default())
        });
        Value::from(texts.collect::<Vec<_>>().join(", "))
    };
    vec![object["metadata"]["name"].clone(), column(requests), column(limits), columns::age_of(object, now)]
}

/// The amounts of one resource that a limit mentions, by field.
type Amounts<'a> = BTreeMap<&'a str, Quantity>;

fn check_limits(range: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let at = at.child("limits");
    let mut seen = BTreeSet::new();
    for (index, limit) in range["spec"].list("limits").iter().enumerate() {
        let at = at.index(index);
        let kind = limit.text("type");
        check_type(at.child("type"), kind, errors);
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(at.child("type"), kind));
        }
        check_limit(at, kind, limit, errors);
    }
}

fn check_type(at: Path<'_>, kind: &str, errors: &mut FieldErrors) {
    let before = errors.len();
    checks::qualified(at, kind, errors);
    let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if errors.len() == before && !kind.contains('/') && !standard {
        errors.push(FieldError::invalid(at, kind, "must be a standard limit type or fully qualified"));
    }
}

fn check_limit(at: Path<'_>, kind: &str, limit: &Value, errors: &mut FieldErrors) {
    let mut by_resource: BTreeMap<&str, Amounts<'_>> = BTreeMap::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let at = at.child(field);
        if kind == "Pod" && field.starts_with("default") {
            if limit.entries(field).next().is_some() {
                errors.push(FieldError::forbidden(at, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (resource, value) in limit.entries(field) {
            if matches!(kind, "Pod" | "Container") {
                resources::of_container(at.key(resource), resource, errors);
            } else {
                resources::name(at.key(resource), resource, errors);
            }
            if let Some(amount) = resources::parse(value) {
                by_resource.entry(resource).or_default().insert(field, amount);
            }
        }
    }
    let storage = by_resource.get("storage");
    if kind == "PersistentVolumeClaim"
        && !storage.is_some_and(|one| one.contains_key("min") || one.contains_key("max"))
    {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(at.child("limits"), why));
    }
    for (resource, amounts) in by_resource {
        check_order(at, resource, &amounts, errors);
    }
}

/// Minimum, default request, default and maximum must not contradict each other.
fn check_order(at: Path<'_>, resource: &str, amounts: &Amounts<'_>, errors: &mut FieldErrors) {
    // (the field complained about, what it shows, the smaller and the larger, what they are called)
    const RULES: [(&str, &str, &str, &str, &str, &str); 6] = [
        ("min", "min", "min", "max", "min value", "max value"),
        ("defaultRequest", "defaultRequest", "min", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "defaultRequest", "defaultRequest", "max", "default request value", "max value"),
        (
            "defaultRequest",
            "defaultRequest",
            "defaultRequest",
            "default",
            "default request value",
            "default limit value",
        ),
        ("default", "min", "min", "default", "min value", "default value"),
        ("default", "max", "default", "max", "default value", "max value"),
    ];
    for (field, shown, low, high, low_name, high_name) in RULES {
        let (Some(low), Some(high), Some(shown)) = (amounts.get(low), amounts.get(high), amounts.get(shown))
        else {
            continue;
        };
        if low > high {
            let why = format!("{low_name} {low} is greater than {high_name} {high}");
            errors.push(FieldError::invalid(at.child(field).key(resource), shown.to_string(), why));
        }
    }
    if let Some(ratio) = amounts.get("maxLimitRequestRatio").filter(|ratio| **ratio < Quantity::milli(1000)) {
        let why = format!("ratio {ratio} is less than 1");
        errors.push(FieldError::invalid(
            at.child("maxLimitRequestRatio").key(resource),
            ratio.to_string(),
            why,
        ));
    }
}

fn check_quota(quota: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let hard_at = at.child("hard");
    for (resource, value) in quota["spec"].entries("hard") {
        resources::of_quota(hard_at.key(resource), resource, errors);
        resources::amount(hard_at.key(resource), resource, value, errors);
    }
    check_scopes(at.child("scopes"), &quota["spec"], errors);
}

fn check_scopes(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    const SCOPES: [&str; 7] = [
        "Terminating",
        "NotTerminating",
        "BestEffort",
        "NotBestEffort",
        "PriorityClass",
        "CrossNamespacePodAffinity",
        "VolumeAttributesClass",
    ];
    let scopes: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    let mut refuse = |why: &str| errors.push(FieldError::invalid(at, spec["scopes"].clone(), why));
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            refuse("unsupported scope");
        }
        for (resource, _) in
            spec.entries("hard").filter(|(resource, _)| resources::is_standard_quota(resource))
        {
            if !fits(scope, resource) {
                refuse("unsupported scope applied to resource");
            }
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            refuse("conflicting scopes");
        }
    }
}

/// Whether a resource can be counted for the pods of a scope only.
fn fits(scope: &str, resource: &str) -> bool {
    let of_pods = matches!(resource, "pods" | "cpu" | "memory")
        || resource.starts_with("limits.")
        || (resource.starts_with("requests.") && resource != "requests.storage");
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => of_pods,
    }
}

fn check_quota_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let set = |quota: &Value| {
        let scopes = quota["spec"].list("scopes").iter().filter_map(Value::as_str);
        scopes.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    if set(new) != set(old) {
        let at = Path::root("spec");
        errors.push(FieldError::invalid(
            at.child("scopes"),
            new["spec"]["scopes"].clone(),
            metadata::IMMUTABLE,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_must_not_contradict_each_other() {
        let mut range =
            json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
        limit_defaults(&mut range);
        let mut errors = FieldErrors::new();
        check_limits(&range, &mut errors);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ]
        );
    }
}
