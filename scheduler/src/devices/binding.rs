//! Whether the devices of a claim are ready for its pod (binding conditions, KEP-5007).
//!
//! A driver may want to prepare a device before the pod is bound, say attach it to the node. The device then names the
//! conditions that have to come true, and those that say it never will; the driver writes them to the claim's status.

use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How far the devices of a claim are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// All are, or nothing was asked for.
    Ready,
    /// Some are still prepared.
    Waiting,
    /// One never will be.
    Failed {
        /// Why, in the words of the condition that says so.
        reason: String,
        /// The same for people.
        message: String,
    },
}

/// How far the devices of a claim are.
pub(crate) fn readiness(claim: &ResourceClaim) -> Readiness {
    let mut readiness = Readiness::Ready;
    for result in results(claim) {
        let wanted = result.binding_conditions.as_deref().unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let known = |name: &String| condition(claim, result, name);
        let is_true = |known: &&Condition| known.status == "True";
        let failures = result.binding_failure_conditions.as_deref().unwrap_or_default();
        if let Some(Condition { reason, message, .. }) = failures.iter().filter_map(known).find(is_true) {
            return Readiness::Failed { reason: reason.clone(), message: message.clone() };
        }
        if !wanted.iter().all(|name| known(name).as_ref().is_some_and(is_true)) {
            readiness = Readiness::Waiting;
        }
    }
    readiness
}

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    allocation.and_then(|allocation| allocation.devices.as_ref()?.results.as_ref()).into_iter().flatten()
}

/// A condition of a device.
fn condition<'a>(
    claim: &'a ResourceClaim,
    result: &DeviceRequestAllocationResult,
    name: &str,
) -> Option<&'a Condition> {
    let devices = claim.status.as_ref()?.devices.as_ref()?;
    let device = devices.iter().find(|device| {
        (&device.driver, &device.pool, &device.device, &device.share_id)
            == (&result.driver, &result.pool, &result.device, &result.share_id)
    })?;
    device.conditions.iter().flatten().find(|known| known.type_ == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(conditions: Value) -> ResourceClaim {
        serde_json::from_value(json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c"}, "spec": {},
            "status": {
                "allocation": {"devices": {"results": [
                    {"request": "plain", "driver": "d", "pool": "p", "device": "0"},
                    {"request": "r", "driver": "d", "pool": "p", "device": "1",
                        "bindingConditions": ["Attached", "Warm"], "bindingFailureConditions": ["Broken"]}]}},
                "devices": conditions,
            },
        }))
        .unwrap()
    }

    #[test]
    fn readiness_table() {
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "R",
            "message": "no power", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let of = |device: &str, conditions: Vec<Value>| {
            json!([{"driver": "d", "pool": "p", "device": device,
            "conditions": conditions}])
        };
        let failed = Readiness::Failed { reason: "R".to_owned(), message: "no power".to_owned() };
        for (name, devices, want) in [
            ("nothing said", json!([]), Readiness::Waiting),
            ("one of two", of("1", vec![condition("Attached", "True")]), Readiness::Waiting),
            (
                "both",
                of("1", vec![condition("Attached", "True"), condition("Warm", "True")]),
                Readiness::Ready,
            ),
            (
                "one is false",
                of("1", vec![condition("Attached", "True"), condition("Warm", "False")]),
                Readiness::Waiting,
            ),
            (
                "both, of another device",
                of("0", vec![condition("Attached", "True"), condition("Warm", "True")]),
                Readiness::Waiting,
            ),
            ("broken", of("1", vec![condition("Broken", "True"), condition("Attached", "True")]), failed),
            ("not broken", of("1", vec![condition("Broken", "False")]), Readiness::Waiting),
        ] {
            assert_eq!(readiness(&claim(devices)), want, "{name}");
        }
    }
}
