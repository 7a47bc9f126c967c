//! Resource names and amounts, as pods request them and as quotas and limit ranges bound them.
//!
//! Source: kubernetes `pkg/apis/core/helper`, `pkg/apis/core/validation`.

use objects::quantity::Quantity;
use serde_json::Value;

use super::checks::{self, NEGATIVE};
use super::read::Read;
use crate::field::{FieldError, FieldErrors, Path};

const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
const OF_QUOTAS: [&str; 19] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const WHOLE: [&str; 8] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
];

/// `resources` of a container: names, amounts, and requests within limits.
pub(super) fn requirements(at: Path<'_>, resources: &Value, claims: &[&str], errors: &mut FieldErrors) {
    let (limits_at, requests_at) = (at.child("limits"), at.child("requests"));
    for (name, value) in resources.entries("limits") {
        let at = limits_at.key(name);
        of_container(at, name, errors);
        amount(at, name, value, errors);
    }
    for (name, value) in resources.entries("requests") {
        let at = requests_at.key(name);
        of_container(at, name, errors);
        amount(at, name, value, errors);
        let (Some(request), limit) = (parse(value), parse(&resources["limits"][name.as_str()])) else {
            continue;
        };
        match limit {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(requests_at, request.to_string(), why));
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(requests_at, request.to_string(), why));
            }
            None if !may_overcommit(name) => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(limits_at, why));
            }
            _ => {}
        }
    }
    huge_pages_need_company(at, resources, errors);
    let claims_at = at.child("claims");
    for (index, claim) in resources.list("claims").iter().enumerate() {
        let at = claims_at.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !claims.contains(&name) {
            let list = match claims {
                [] => " which is empty".to_owned(),
                all => format!(": {}", all.join(", ")),
            };
            let why = format!("must be one of the names in pod.spec.resourceClaims{list}");
            errors.push(FieldError::not_found(at, name).with_detail(why));
        }
    }
}

fn huge_pages_need_company(at: Path<'_>, resources: &Value, errors: &mut FieldErrors) {
    let names =
        || resources.entries("limits").chain(resources.entries("requests")).map(|(name, _)| name.as_str());
    if names().any(is_huge_pages) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(at, "HugePages require cpu or memory"));
    }
}

/// An amount may not be negative, and some come in whole units only.
pub(super) fn amount(at: Path<'_>, name: &str, value: &Value, errors: &mut FieldErrors) {
    let Some(quantity) = parse(value) else { return };
    if quantity.is_negative() {
        errors.push(FieldError::invalid(at, quantity.to_string(), NEGATIVE));
    }
    if is_whole(name) && !quantity.is_whole() {
        errors.push(FieldError::invalid(at, quantity.to_string(), "must be an integer"));
    }
}

/// The name of any resource.
pub(super) fn name(at: Path<'_>, name: &str, errors: &mut FieldErrors) -> bool {
    let before = errors.len();
    checks::qualified(at, name, errors);
    if errors.len() == before && !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid(at, name, "must be a standard resource type or fully qualified"));
    }
    errors.len() == before
}

/// The name of a resource that containers may use.
pub(super) fn of_container(at: Path<'_>, name: &str, errors: &mut FieldErrors) {
    self::name(at, name, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !is_huge_pages(name) {
            errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(at, name, "doesn't follow extended resource name standard"));
    }
}

/// The name of a resource that quotas may bound.
pub(super) fn of_quota(at: Path<'_>, name: &str, errors: &mut FieldErrors) {
    self::name(at, name, errors);
    if !name.contains('/') && !is_standard_quota(name) {
        errors.push(FieldError::invalid(at, name, "must be a standard resource for quota"));
    }
}

fn is_standard(name: &str) -> bool {
    is_standard_quota(name) || name == "storage" || is_huge_pages(name)
}

pub(super) fn is_standard_quota(name: &str) -> bool {
    OF_QUOTAS.contains(&name)
        || is_huge_pages(name.strip_prefix("requests.").unwrap_or(name))
        || name.starts_with("count/")
        || name.contains(".storageclass.storage.k8s.io/")
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name) || name == "services.nodeports" || is_extended(name)
}

fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

pub(crate) fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(resources: Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        requirements(Path::root("r"), &resources, &[], &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_stay_within_limits() {
        assert!(texts(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1000m"}})).is_empty());
        assert_eq!(
            texts(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            ["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"]
        );
        assert_eq!(
            texts(json!({"requests": {"x.io/gpu": "1"}})),
            ["r.limits: Required value: Limit must be set for non overcommitable resources"]
        );
        assert_eq!(
            texts(json!({"limits": {"memory": "-1"}})),
            ["r.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
        assert_eq!(
            texts(json!({"limits": {"pods": "1"}})),
            ["r.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"]
        );
        assert_eq!(
            texts(json!({"limits": {"hugepages-2Mi": "2Mi"}})),
            ["r: Forbidden: HugePages require cpu or memory"]
        );
    }
}
