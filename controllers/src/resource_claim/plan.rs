//! What is to be done for a pod, and with a claim. Pure.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use objects::views::Pod;
use objects::{owner, pod};
use serde_json::{Value, json};

use super::Error;

/// Keeps a claim until its devices are free again (API reference: ResourceClaim finalizers).
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Says which of the pod's claims a claim was made for.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Of the 63 characters of a name, those before the dash and the five drawn ones.
const NAME_BASE: usize = 57;

/// What a pod lacks.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ForPod<'a> {
    /// Claims that have to be made.
    pub(super) make: Vec<Wanted<'a>>,
    /// Claims that were made and are not in the pod's status yet: the name in the spec, and the claim's.
    pub(super) found: Vec<(&'a str, String)>,
}

/// A claim to be made.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted<'a> {
    /// Its name in the pod's spec.
    pub(super) name: &'a str,
    /// What it is made from.
    pub(super) template: &'a str,
}

/// What a pod lacks. `claim` finds a claim by name, `owned` are those that the pod owns.
pub(super) fn of_pod<'a>(
    found: &'a Pod,
    claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    owned: &[Arc<ResourceClaim>],
) -> Result<ForPod<'a>, Error> {
    let mut plan = ForPod::default();
    if pod::is_finished(found) || pod::is_terminating(found) {
        return Ok(plan);
    }
    for source in &found.spec.resource_claims {
        let Some(template) = source.resource_claim_template_name.as_deref() else { continue };
        let noted = found.status.resource_claim_statuses.iter().find(|noted| noted.name == source.name);
        if let Some(noted) = noted {
            let Some(name) = &noted.resource_claim_name else { continue };
            if let Some(claim) = claim(name) {
                if owner::is_controlled_by(&claim.metadata, found.uid()) {
                    continue;
                }
                return Err(Error::Stranger(name.clone()));
            }
        }
        let made = owned.iter().find(|claim| {
            let notes = claim.metadata.annotations.as_ref();
            claim.metadata.deletion_timestamp.is_none()
                && notes.and_then(|notes| notes.get(POD_CLAIM)).is_some_and(|name| *name == source.name)
        });
        match made {
            Some(made) => plan.found.push((&source.name, made.metadata.name.clone().unwrap_or_default())),
            None => plan.make.push(Wanted { name: &source.name, template }),
        }
    }
    Ok(plan)
}

/// The claim that a pod gets from a template, as it is created.
pub(super) fn claim(found: &Pod, name: &str, template: &Value) -> Value {
    let meta = &template["spec"]["metadata"];
    let mut annotations = meta["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), name.into());
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {
            "generateName": format!("{}-", base_name(found.name(), name)),
            "labels": meta["labels"], "annotations": annotations,
            "ownerReferences": [owner::reference(found)],
        },
        "spec": template["spec"]["spec"],
    })
}

/// Both names, each cut in proportion when they are too long together.
fn base_name(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}");
    if whole.len() <= NAME_BASE {
        return whole;
    }
    let cut = |text: &str| text[..text.len() * NAME_BASE / whole.len()].to_owned();
    format!("{}-{}", cut(pod), cut(claim))
}

/// What is to be done with a claim, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ForClaim {
    /// The fields of the status that change.
    pub(super) status: Option<Value>,
    /// The finalizers that are left.
    pub(super) finalizers: Option<Vec<String>>,
    /// Whether it goes.
    pub(super) delete: bool,
}

/// Who uses a claim.
pub(super) fn consumers(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}

/// What is to be done with a claim, given who of its consumers still uses it.
pub(super) fn of_claim(
    claim: &ResourceClaim,
    using: Vec<ResourceClaimConsumerReference>,
    owner_has_ended: bool,
) -> ForClaim {
    let finalizers = claim.metadata.finalizers.as_deref().unwrap_or_default();
    // Only what a scheduler gave can be taken back by forgetting it.
    let ours = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let shorter = using.len() < consumers(claim).len();
    let going = claim.metadata.deletion_timestamp.is_some();
    let is_allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    let unused = using.is_empty();
    let free = ours && unused && (shorter || going);
    let status = match (shorter, free && (shorter || is_allocated)) {
        (true, true) => Some(json!({"reservedFor": null, "allocation": null, "devices": null})),
        (true, false) if unused => Some(json!({"reservedFor": null})),
        (true, false) => Some(json!({ "reservedFor": using })),
        (false, true) => Some(json!({"allocation": null, "devices": null})),
        (false, false) => None,
    };
    let others = || finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    ForClaim { status, finalizers: free.then(others), delete: unused && owner_has_ended && !going }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_with(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "p-uid"},
            "spec": {"resourceClaims": [
                {"name": "gpu", "resourceClaimTemplateName": "gpus"}, {"name": "nic", "resourceClaimName": "nic"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn owned(name: &str, by: &str) -> Arc<ResourceClaim> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": "default", "annotations": {POD_CLAIM: "gpu"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": by, "controller": true}]},
                "spec": {},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn what_a_pod_lacks() {
        let noted = json!({"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu-1"}]});
        let make = || ForPod { make: vec![Wanted { name: "gpu", template: "gpus" }], found: vec![] };
        let found = || ForPod { make: vec![], found: vec![("gpu", "p-gpu-1".to_owned())] };
        for (name, pod, claims, want) in [
            ("new", pod_with(json!({})), vec![], make()),
            ("made, not noted", pod_with(json!({})), vec![owned("p-gpu-1", "p-uid")], found()),
            ("made and noted", pod_with(noted.clone()), vec![owned("p-gpu-1", "p-uid")], ForPod::default()),
            ("deleted by hand", pod_with(noted.clone()), vec![], make()),
            ("ended", pod_with(json!({"phase": "Succeeded"})), vec![], ForPod::default()),
            (
                "needs none",
                pod_with(json!({"resourceClaimStatuses": [{"name": "gpu"}]})),
                vec![],
                ForPod::default(),
            ),
        ] {
            let find = |wanted: &str| {
                claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(wanted)).cloned()
            };
            assert_eq!(of_pod(&pod, find, &claims).unwrap(), want, "{name}");
        }
        let stranger = of_pod(&pod_with(noted), |_| Some(owned("p-gpu-1", "other")), &[]).unwrap_err();
        assert_eq!(stranger.to_string(), "resource claim p-gpu-1 was not created for the pod");
    }

    #[test]
    fn a_claim_has_what_the_template_says() {
        let template = json!({"spec": {
            "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"devices": {"requests": []}}}});
        let made = claim(&pod_with(json!({})), "gpu", &template);
        assert_eq!(made["metadata"]["generateName"], "p-gpu-");
        assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(made["metadata"]["annotations"], json!({"c": "d", POD_CLAIM: "gpu"}));
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "p-uid");
        assert_eq!(made["spec"], json!({"devices": {"requests": []}}));
        let long = base_name(&"p".repeat(100), &"c".repeat(20));
        assert!(long.len() <= NAME_BASE && long.contains("p-c"), "{long}");
    }

    #[test]
    fn what_becomes_of_a_claim() {
        let consumer = |name: &str| ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
        };
        let claim = |consumers: &[&str], allocated: bool, ours: bool, going: bool| -> ResourceClaim {
            let reserved: Vec<_> = consumers.iter().map(|name| consumer(name)).collect();
            serde_json::from_value(json!({
                "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {},
                "metadata": {"name": "c", "finalizers": if ours { vec!["x", FINALIZER] } else { vec!["x"] },
                    "deletionTimestamp": going.then_some("2026-01-01T00:00:00Z")},
                "status": {"allocation": allocated.then(|| json!({"devices": {}})), "reservedFor": reserved},
            }))
            .unwrap()
        };
        let all_gone = json!({"reservedFor": null, "allocation": null, "devices": null});
        let x = || Some(vec!["x".to_owned()]);
        for (name, claim, using, ended, want) in [
            ("in use", claim(&["a"], true, true, false), vec!["a"], false, ForClaim::default()),
            (
                "one of two has ended",
                claim(&["a", "b"], true, true, false),
                vec!["b"],
                false,
                ForClaim { status: Some(json!({"reservedFor": [consumer("b")]})), ..ForClaim::default() },
            ),
            (
                "the last has ended",
                claim(&["a"], true, true, false),
                vec![],
                false,
                ForClaim { status: Some(all_gone.clone()), finalizers: x(), delete: false },
            ),
            (
                "and the claim was made for it",
                claim(&["a"], true, true, false),
                vec![],
                true,
                ForClaim { status: Some(all_gone.clone()), finalizers: x(), delete: true },
            ),
            (
                "allocated by somebody else",
                claim(&["a"], true, false, false),
                vec![],
                false,
                ForClaim { status: Some(json!({"reservedFor": null})), ..ForClaim::default() },
            ),
            (
                "deleted, never reserved",
                claim(&[], true, true, true),
                vec![],
                false,
                ForClaim {
                    status: Some(json!({"allocation": null, "devices": null})),
                    finalizers: x(),
                    delete: false,
                },
            ),
            (
                "deleted and free",
                claim(&[], false, true, true),
                vec![],
                true,
                ForClaim { status: None, finalizers: x(), delete: false },
            ),
            ("allocated for later", claim(&[], true, true, false), vec![], false, ForClaim::default()),
        ] {
            let using = using.into_iter().map(consumer).collect();
            assert_eq!(of_claim(&claim, using, ended), want, "{name}");
        }
    }
}
