//! LimitRanger: fills in what a namespace's LimitRanges give containers, and refuses what they do not allow.
//!
//! Promise: the texts are upstream's. Source: kubernetes `plugin/pkg/admission/limitranger`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use objects::quantity::Quantity;
use serde_json::{Value, json};

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::{Read, items_mut};
use crate::object;
use crate::status::ApiResult;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

/// Fills in defaults.
pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Value) {
    if attributes.is("", "pods") && attributes.verb == Verb::Create {
        for range in attributes.all("core", "limitranges", object::namespace(pod)) {
            fill(pod, &range);
        }
    }
}

/// Refuses what is beyond the limits.
pub(super) fn validate(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let pod = attributes.is("", "pods") && attributes.verb == Verb::Create;
    let claim = attributes.is("", "persistentvolumeclaims");
    if !pod && !claim {
        return Ok(());
    }
    for range in attributes.all("core", "limitranges", object::namespace(object)) {
        let complaints =
            if pod { complaints_of_pod(object, &range) } else { complaints_of_claim(object, &range) };
        let text = match complaints.as_slice() {
            [] => continue,
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        return Err(attributes.forbid(object, &text));
    }
    Ok(())
}

fn fill(pod: &mut Value, range: &Value) {
    let mut defaults = (json!({}), json!({}));
    for limit in range["spec"].list("limits").iter().filter(|limit| limit.text("type") == "Container") {
        for (key, into) in [("defaultRequest", &mut defaults.0), ("default", &mut defaults.1)] {
            for (resource, amount) in limit.entries(key) {
                into[resource] = amount.clone();
            }
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in items_mut(&mut pod["spec"], list) {
            let name = container.text("name").to_owned();
            for (key, word, from) in [("requests", "request", &defaults.0), ("limits", "limit", &defaults.1)]
            {
                let added = merge(container, key, from);
                if !added.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", added.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        object::set_at(pod, &["metadata", "annotations", ANNOTATION], note);
    }
}

/// Adds the resources that the container does not mention; says which.
fn merge(container: &mut Value, key: &str, defaults: &Value) -> Vec<String> {
    let mut added = Vec::new();
    for (resource, amount) in defaults.as_object().into_iter().flatten() {
        if !container["resources"][key].has(resource) {
            container["resources"][key][resource] = amount.clone();
            added.push(resource.clone());
        }
    }
    added
}

fn complaints_of_pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let all = |list: &str| pod["spec"].list(list).iter().map(|one| &one["resources"]);
    for limit in range["spec"].list("limits") {
        match limit.text("type") {
            "Container" => {
                for resources in all("containers").chain(all("initContainers")) {
                    let (requests, limits) = (amounts(&resources["requests"]), amounts(&resources["limits"]));
                    check(limit, "Container", &requests, &limits, &mut complaints);
                }
            }
            "Pod" => {
                let total = |key: &str| sum(all("containers"), all("initContainers"), key);
                check(limit, "Pod", &total("requests"), &total("limits"), &mut complaints);
            }
            _ => {}
        }
    }
    complaints
}

fn complaints_of_claim(claim: &Value, range: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    for limit in range["spec"].list("limits").iter().filter(|one| one.text("type") == "PersistentVolumeClaim")
    {
        for (resource, enforced) in amounts(&limit["min"]) {
            at_least(
                &resource,
                "PersistentVolumeClaim",
                enforced,
                &requests,
                &Amounts::new(),
                &mut complaints,
            );
        }
        for (resource, enforced) in amounts(&limit["max"]) {
            // A claim has no limits; its request counts as one.
            at_most(&resource, "PersistentVolumeClaim", enforced, &requests, &requests, &mut complaints);
        }
    }
    complaints
}

fn check(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, complaints: &mut Vec<String>) {
    for (resource, enforced) in amounts(&limit["min"]) {
        at_least(&resource, kind, enforced, requests, limits, complaints);
    }
    for (resource, enforced) in amounts(&limit["max"]) {
        at_most(&resource, kind, enforced, requests, limits, complaints);
    }
    for (resource, enforced) in amounts(&limit["maxLimitRequestRatio"]) {
        ratio(&resource, kind, enforced, requests, limits, complaints);
    }
}

fn at_least(
    resource: &str,
    kind: &str,
    min: Quantity,
    requests: &Amounts,
    limits: &Amounts,
    out: &mut Vec<String>,
) {
    let start = format!("minimum {resource} usage per {kind} is {min}");
    match (requests.get(resource), limits.get(resource)) {
        (None, _) => out.push(format!("{start}.  No request is specified")),
        (Some(request), _) if *request < min => out.push(format!("{start}, but request is {request}")),
        (_, Some(limit)) if *limit < min => out.push(format!("{start}, but limit is {limit}")),
        _ => {}
    }
}

fn at_most(
    resource: &str,
    kind: &str,
    max: Quantity,
    requests: &Amounts,
    limits: &Amounts,
    out: &mut Vec<String>,
) {
    let start = format!("maximum {resource} usage per {kind} is {max}");
    match (requests.get(resource), limits.get(resource)) {
        (_, None) => out.push(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if *limit > max => out.push(format!("{start}, but limit is {limit}")),
        (Some(request), _) if *request > max => out.push(format!("{start}, but request is {request}")),
        _ => {}
    }
}

fn ratio(
    resource: &str,
    kind: &str,
    max: Quantity,
    requests: &Amounts,
    limits: &Amounts,
    out: &mut Vec<String>,
) {
    let mut text = format!("{resource} max limit to request ratio per {kind} is {max}, but ");
    let (request, limit) = (requests.get(resource), limits.get(resource));
    let some = |amount: Option<&Quantity>| amount.filter(|amount| !amount.is_zero()).copied();
    match (some(request), some(limit)) {
        (None, _) => text.push_str("no request is specified or request is 0"),
        (_, None) => text.push_str("no limit is specified or limit is 0"),
        (Some(request), Some(limit)) => {
            let observed = limit.milli_value() as f64 / request.milli_value() as f64;
            if observed <= max.milli_value() as f64 / 1000.0 {
                return;
            }
            let _ = write!(text, "provided ratio is {observed:.6}");
        }
    }
    out.push(text);
}

fn amounts(map: &Value) -> Amounts {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.parse().ok()?))).collect()
}

/// What a pod needs of each resource: its containers together, or the largest init container.
fn sum<'a>(
    containers: impl Iterator<Item = &'a Value>,
    init_containers: impl Iterator<Item = &'a Value>,
    key: &str,
) -> Amounts {
    let mut total = Amounts::new();
    for resources in containers {
        for (resource, amount) in amounts(&resources[key]) {
            *total.entry(resource).or_default() += amount;
        }
    }
    for resources in init_containers {
        for (resource, amount) in amounts(&resources[key]) {
            let so_far = total.entry(resource).or_default();
            *so_far = (*so_far).max(amount);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    #[test]
    fn defaults_are_filled_and_noted() {
        let range = range(json!({"type": "Container", "default": {"cpu": "500m", "memory": "64Mi"},
            "defaultRequest": {"cpu": "200m", "memory": "64Mi"}}));
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "c"}, {"name": "d", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "1Gi"}}}]}});
        fill(&mut pod, &range);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; \
             memory limit for container d"
        );
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");
        assert_eq!(pod["spec"]["containers"][1]["resources"]["limits"]["cpu"], "1");
    }

    #[test]
    fn what_is_beyond_is_said_in_upstreams_words() {
        let container = |limit: Value, resources: Value| {
            complaints_of_pod(
                &json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}),
                &range(limit),
            )
        };
        assert_eq!(
            container(
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}})
            ),
            ["maximum cpu usage per Container is 1, but limit is 2"]
        );
        assert_eq!(
            container(
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({"requests": {"cpu": "50m"}})
            ),
            ["minimum cpu usage per Container is 100m, but request is 50m"]
        );
        assert_eq!(
            container(json!({"type": "Pod", "max": {"memory": "1Gi"}}), json!({})),
            ["maximum memory usage per Pod is 1Gi.  No limit is specified"]
        );
        assert_eq!(
            container(
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}})
            ),
            ["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"]
        );
    }
}
