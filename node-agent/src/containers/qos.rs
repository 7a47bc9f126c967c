//! The quality-of-service class of a pod.
//!
//! Promise: upstream's rules (docs: "Pod Quality of Service Classes"): Guaranteed when every container has CPU and
//! memory limits equal to its requests, BestEffort when none asks for anything, else Burstable.

use k8s_openapi::api::core::v1 as core;

use super::resources::{limit, request};

pub(crate) const GUARANTEED: &str = "Guaranteed";
pub(crate) const BURSTABLE: &str = "Burstable";
pub(crate) const BEST_EFFORT: &str = "BestEffort";

pub(crate) fn class(spec: &core::PodSpec) -> &'static str {
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let resources = ["cpu", "memory"];
    let positive =
        |amount: Option<objects::quantity::Quantity>| amount.is_some_and(|amount| amount.milli_value() > 0);
    let nothing = containers().all(|container| {
        resources.iter().all(|name| !positive(request(container, name)) && !positive(limit(container, name)))
    });
    if nothing {
        return BEST_EFFORT;
    }
    let guaranteed = containers().all(|container| {
        resources.iter().all(|name| {
            let limit = limit(container, name);
            positive(limit) && request(container, name) == limit
        })
    });
    if guaranteed { GUARANTEED } else { BURSTABLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_follow_the_documentation() {
        let cases = [
            (json!([{"name": "a"}]), BEST_EFFORT),
            (json!([{"name": "a", "resources": {"requests": {"cpu": "1"}}}]), BURSTABLE),
            (json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]), GUARANTEED),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]),
                BURSTABLE,
            ),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {"name": "b"}]),
                BURSTABLE,
            ),
        ];
        for (containers, expected) in cases {
            let spec: core::PodSpec = serde_json::from_value(json!({"containers": containers})).unwrap();
            assert_eq!(class(&spec), expected, "{containers}");
        }
    }
}
