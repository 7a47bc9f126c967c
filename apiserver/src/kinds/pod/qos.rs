//! The quality of service class of a pod: who is killed first when a node runs out of memory.

use serde_json::Value;

use objects::quantity::Quantity;

use crate::kinds::read::Read;

/// The class from the requests and limits of the pod, or of its containers where the pod has none.
/// Source: kubernetes `pkg/apis/core/helper/qos`.
pub(in crate::kinds) fn class(spec: &Value) -> &'static str {
    let own = &spec["resources"];
    let holders: Vec<&Value> = if own.is_object() && (own.has("requests") || own.has("limits")) {
        vec![own]
    } else {
        ["containers", "initContainers"]
            .iter()
            .flat_map(|list| spec.list(list))
            .map(|one| &one["resources"])
            .collect()
    };
    let amount = |holder: &Value, kind: &str, resource: &str| {
        let quantity: Option<Quantity> = holder[kind].text(resource).parse().ok();
        quantity.filter(|quantity| !quantity.is_zero())
    };
    let mut any = false;
    let mut guaranteed = true;
    for holder in holders {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (amount(holder, "requests", resource), amount(holder, "limits", resource));
            any |= request.is_some() || limit.is_some();
            // Requests were filled from limits, so a guaranteed container has both, and equal.
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_follow_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let table = [
            (json!({"containers": [{}]}), "BestEffort"),
            (json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}), "Burstable"),
            (json!({"containers": [{"resources": {"requests": both, "limits": both}}]}), "Guaranteed"),
            (json!({"containers": [{"resources": {"requests": both, "limits": both}}, {}]}), "Burstable"),
            (
                json!({"containers": [{"resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": both}}]}),
                "Guaranteed",
            ),
            (json!({"containers": [{"resources": {"requests": {"cpu": "0"}}}]}), "BestEffort"),
        ];
        for (spec, class_of) in table {
            assert_eq!(class(&spec), class_of, "{spec}");
        }
    }
}
