//! Extended resources that a DeviceClass stands for (KEP-5004): what a pod's containers ask for, as requests of a claim
//! that the scheduler makes for the pod.
//!
//! A class stands for the resource that it names, and for `deviceclass.resource.kubernetes.io/CLASS`. Containers that
//! run side by side get devices of their own; an init container that ends before they start uses theirs, and only what
//! it needs beyond that is asked for once, for the init container that needs most. Upstream:
//! `dynamicresources/extendeddynamicresources.go`.

use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::ContainerExtendedResourceRequest;
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use objects::names;
use objects::views::{Container, PodSpec};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Before the name of a class: the resource that every class stands for.
const DEVICE_CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";
/// Tells the claim that is made for a pod's extended resources from others.
const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";

/// Which class stands for which resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(FxHashMap<String, Arc<DeviceClass>>);

impl Standing {
    /// Of these classes. Of several for one resource the newest stands for it, then the first by name.
    pub(super) fn of<'a>(classes: impl Iterator<Item = &'a Arc<DeviceClass>>) -> Self {
        let mut standing: FxHashMap<String, Arc<DeviceClass>> = FxHashMap::default();
        let newer = |one: &DeviceClass, other: &DeviceClass| {
            let age = |class: &DeviceClass| class.metadata.creation_timestamp.clone();
            (age(one), &other.metadata.name) > (age(other), &one.metadata.name)
        };
        for class in classes {
            let implicit = class.metadata.name.as_ref().map(|name| format!("{DEVICE_CLASS_PREFIX}{name}"));
            for resource in class.spec.extended_resource_name.clone().into_iter().chain(implicit) {
                if standing.get(&resource).is_none_or(|other| newer(class, other)) {
                    standing.insert(resource, class.clone());
                }
            }
        }
        Self(standing)
    }

    pub(super) fn class(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        self.0.get(resource)
    }
}

/// Whether a class stands for this resource.
pub(crate) fn stands_for(class: &DeviceClass, resource: &str) -> bool {
    class.spec.extended_resource_name.as_deref() == Some(resource)
        || resource
            .strip_prefix(DEVICE_CLASS_PREFIX)
            .is_some_and(|name| class.metadata.name.as_deref() == Some(name))
}

/// The UID of the pod for whose extended resources the claim was made.
pub(super) fn made_for(claim: &ResourceClaim) -> Option<&str> {
    let is_special =
        claim.metadata.annotations.as_ref()?.get(ANNOTATION).is_some_and(|value| value == "true");
    let owner = claim.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    owner.filter(|_| is_special).map(|owner| owner.uid.as_str())
}

/// What a container uses of a claim.
pub(crate) type Mappings = Vec<ContainerExtendedResourceRequest>;

/// The claim for what a pod asks of these resources, each with its class, and which container uses which request.
/// `others` are the names that it must not have.
pub(crate) fn claim(
    pod: &PodInfo,
    resources: &BTreeMap<&str, &str>,
    others: &[String],
) -> (ResourceClaim, Mappings) {
    let (requests, mappings) = requests(pod.spec(), resources);
    let base = format!("{}-extended-resources-", pod.name());
    let mut hasher = DefaultHasher::new();
    (&pod.uid, others).hash(&mut hasher);
    let suffix = names::safe_encode(&format!("{:05}", hasher.finish() % 100_000));
    let metadata = ObjectMeta {
        name: Some(names::generated(&base, &suffix)),
        generate_name: Some(base),
        namespace: Some(pod.namespace().to_owned()),
        annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), "true".to_owned())])),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid.to_string(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    let devices = DeviceClaim { requests: Some(requests), ..DeviceClaim::default() };
    let spec = ResourceClaimSpec { devices: Some(devices) };
    (ResourceClaim { metadata, spec, status: None }, mappings)
}

/// A request, and how many devices it is for.
type Request = (String, i64);

fn requests(pod: &PodSpec, resources: &BTreeMap<&str, &str>) -> (Vec<DeviceRequest>, Mappings) {
    let containers: Vec<&Container> = pod.init_containers.iter().chain(&pod.containers).collect();
    let ends_first = |at: usize| {
        at < pod.init_containers.len() && containers[at].restart_policy.as_deref() != Some("Always")
    };
    let (mut all, mut mappings) = (Vec::new(), Vec::new());
    for (resource, class) in resources {
        let mut found: Vec<(Request, &str)> = Vec::new();
        let mut lasting: Vec<Option<Request>> = vec![None; containers.len()];
        let map = |container: &Container, request: &str| ContainerExtendedResourceRequest {
            container_name: container.name.clone(),
            request_name: request.to_owned(),
            resource_name: (*resource).to_owned(),
        };
        for (at, container) in containers.iter().enumerate().filter(|(at, _)| !ends_first(*at)) {
            let Some(count) = count(container, resource) else { continue };
            let name = request_name(at, container, resource);
            mappings.push(map(container, &name));
            lasting[at] = Some((name, count));
        }
        let (mut ending, mut beyond): (Mappings, Vec<Request>) = (Vec::new(), Vec::new());
        for (at, container) in containers.iter().enumerate().filter(|(at, _)| ends_first(*at)) {
            let Some(count) = count(container, resource) else { continue };
            let mut had = 0;
            for (name, more) in lasting[at..].iter().flatten() {
                if had >= count {
                    break;
                }
                had += more;
                ending.push(map(container, name));
            }
            if had < count {
                let name = request_name(at, container, resource);
                ending.push(map(container, &name));
                beyond.push((name, count - had));
            }
        }
        // One request serves all of them, as they run one after the other: the first of those that need most.
        if let Some(most) = beyond.iter().rev().max_by_key(|(_, count)| *count).cloned() {
            for one in
                ending.iter_mut().filter(|one| beyond.iter().any(|(name, _)| *name == one.request_name))
            {
                one.request_name.clone_from(&most.0);
            }
            found.push((most, class));
        }
        found.extend(lasting.into_iter().flatten().map(|request| (request, *class)));
        all.extend(found);
        mappings.extend(ending);
    }
    all.sort();
    let request = |((name, count), class): (Request, &str)| DeviceRequest {
        name,
        exactly: Some(ExactDeviceRequest {
            device_class_name: class.to_owned(),
            allocation_mode: Some("ExactCount".to_owned()),
            count: Some(count),
            ..ExactDeviceRequest::default()
        }),
        ..DeviceRequest::default()
    };
    (all.into_iter().map(request).collect(), mappings)
}

fn count(container: &Container, resource: &str) -> Option<i64> {
    container.resources.requests.get(resource).map(|amount| amount.value()).filter(|count| *count > 0)
}

/// The place of the container among all, and of the resource among those that it asks for, by name.
fn request_name(at: usize, container: &Container, resource: &str) -> String {
    let names: BTreeSet<&str> = container.resources.requests.iter().map(|(name, _)| name).collect();
    let place = names.iter().position(|name| *name == resource).unwrap_or_default();
    format!("container-{at}-request-{place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const GPU: &str = "example.com/gpu";

    /// Requests with their counts, and the request of each container.
    type Asked = (Vec<(String, i64)>, Vec<(String, String)>);

    /// Containers by (name, GPUs), sidecars with a `*` before the name.
    fn asked(init: &[(&str, i64)], main: &[(&str, i64)]) -> Asked {
        let container = |(name, count): &(&str, i64)| {
            let mut container = json!({"name": name, "resources": {"requests": {"cpu": "1", "example.com/gpu": count.to_string()}}});
            if name.starts_with('*') {
                container["restartPolicy"] = json!("Always");
            }
            container
        };
        let all = |list: &[(&str, i64)]| list.iter().map(container).collect::<Vec<Value>>();
        let spec: PodSpec =
            serde_json::from_value(json!({"initContainers": all(init), "containers": all(main)})).unwrap();
        let (requests, mappings) = requests(&spec, &BTreeMap::from([(GPU, "gpu")]));
        let request = |request: DeviceRequest| (request.name, request.exactly.unwrap().count.unwrap());
        let mapping = |one: ContainerExtendedResourceRequest| (one.container_name, one.request_name);
        (requests.into_iter().map(request).collect(), mappings.into_iter().map(mapping).collect())
    }

    #[test]
    fn requests_table() {
        let request = |at: usize| format!("container-{at}-request-1");
        type Case<'a> =
            (&'a str, &'a [(&'a str, i64)], &'a [(&'a str, i64)], &'a [(usize, i64)], &'a [(&'a str, usize)]);
        let cases: [Case<'_>; 8] = [
            ("one container", &[], &[("a", 2)], &[(0, 2)], &[("a", 0)]),
            ("none is wanted", &[], &[("a", 0)], &[], &[]),
            ("each its own", &[], &[("a", 1), ("b", 2)], &[(0, 1), (1, 2)], &[("a", 0), ("b", 1)]),
            (
                "an init container uses what comes later",
                &[("i", 2)],
                &[("a", 1), ("b", 1)],
                &[(1, 1), (2, 1)],
                &[("a", 1), ("b", 2), ("i", 1), ("i", 2)],
            ),
            (
                "and no more than it needs",
                &[("i", 1)],
                &[("a", 1), ("b", 1)],
                &[(1, 1), (2, 1)],
                &[("a", 1), ("b", 2), ("i", 1)],
            ),
            ("it needs more", &[("i", 4)], &[("a", 1)], &[(0, 3), (1, 1)], &[("a", 1), ("i", 1), ("i", 0)]),
            (
                "two need more, one after the other",
                &[("i", 2), ("j", 4)],
                &[("a", 1)],
                &[(1, 3), (2, 1)],
                &[("a", 2), ("i", 2), ("i", 1), ("j", 2), ("j", 1)],
            ),
            (
                "a sidecar keeps its own",
                &[("*s", 1), ("i", 1)],
                &[("a", 0)],
                &[(0, 1), (1, 1)],
                &[("*s", 0), ("i", 1)],
            ),
        ];
        for (name, init, main, wanted, mapped) in cases {
            let wanted: Vec<_> = wanted.iter().map(|(at, count)| (request(*at), *count)).collect();
            let mapped: Vec<_> =
                mapped.iter().map(|(container, at)| ((*container).to_owned(), request(*at))).collect();
            assert_eq!(asked(init, main), (wanted, mapped), "{name}");
        }
    }

    #[test]
    fn the_newest_class_stands_for_a_resource() {
        let class = |name: &str, made: &str| {
            Arc::new(serde_json::from_value::<DeviceClass>(json!({
                "metadata": {"name": name, "creationTimestamp": made}, "spec": {"extendedResourceName": GPU}})).unwrap())
        };
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        for (classes, want) in [
            ([class("a", old), class("b", new)], "b"),
            ([class("a", new), class("b", old)], "a"),
            ([class("b", old), class("a", old)], "a"),
        ] {
            let standing = Standing::of(classes.iter());
            assert_eq!(standing.class(GPU).unwrap().metadata.name.as_deref(), Some(want));
            let implicit = standing.class("deviceclass.resource.kubernetes.io/b").unwrap();
            assert_eq!(implicit.metadata.name.as_deref(), Some("b"));
        }
        assert!(stands_for(&class("a", old), GPU));
        assert!(!stands_for(&class("a", old), "deviceclass.resource.kubernetes.io/b"));
    }
}
