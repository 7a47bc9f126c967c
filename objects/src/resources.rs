//! How much a pod asks for and a node has.
//!
//! Promise: the request of a pod is what upstream's `PodRequests` computes: the sum over containers and sidecars,
//! or the largest init step if that is more, pod-level requests in their place, overhead on top.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};

use crate::amounts::Amounts;
use crate::views::{Container, Pod, PodSpec};

/// CPU that a container without a request counts for in scores (100 m).
pub const DEFAULT_MILLI_CPU: i64 = 100;

/// Memory that a container without a request counts for in scores (200 MiB).
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource. Addition saturates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,

    /// Bytes of memory.
    pub memory: i64,

    /// Bytes of ephemeral storage.
    pub ephemeral: i64,

    /// Number of pods; 1 for the request of a pod.
    pub pods: i64,

    /// Extended resources and huge pages, in whole units.
    pub scalars: BTreeMap<String, i64>,
}

/// What a pod asks for.
#[must_use]
pub fn pod_requests(pod: &PodSpec) -> Resources {
    total(pod, |container| Resources::from_map(&container.resources.requests))
}

/// What a pod asks for and what it has: while a container is resized in place, the greatest of what is wanted, what
/// the node has set aside and what it has. A resize that can never be done counts no more (KEP-1287).
#[must_use]
pub fn pod_requests_with_status(pod: &Pod) -> Resources {
    if !is_resized(pod) {
        return pod_requests(&pod.spec);
    }
    total(&pod.spec, |container| request_with_status(pod, container))
}

/// [`pod_requests_for_scores`] of a pod that may be resized.
#[must_use]
pub fn pod_requests_for_scores_with_status(pod: &Pod) -> Resources {
    if !is_resized(pod) {
        return pod_requests_for_scores(&pod.spec);
    }
    total(&pod.spec, |container| {
        with_defaults(&container.resources.requests, request_with_status(pod, container))
    })
}

fn is_resized(pod: &Pod) -> bool {
    let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    statuses.into_iter().any(|status| status.resources.is_some())
}

fn request_with_status(pod: &Pod, container: &Container) -> Resources {
    let wanted = Resources::from_map(&container.resources.requests);
    let mut statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let Some(status) = statuses.find(|status| status.name == container.name) else { return wanted };
    let Some(given) = &status.resources else { return wanted };
    let infeasible = pod.status.conditions.iter().any(|condition| {
        condition.type_ == "PodResizePending"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("Infeasible")
    });
    let mut greatest = if infeasible { Resources::default() } else { wanted };
    greatest.raise_to(&Resources::from_map(&given.requests));
    greatest.raise_to(&Resources::from_map(&status.allocated_resources));
    greatest
}

/// [`pod_requests`], where a container that asks for no CPU or memory counts with the defaults that upstream's
/// scores assume.
#[must_use]
pub fn pod_requests_for_scores(pod: &PodSpec) -> Resources {
    total(pod, |container| {
        let requests = &container.resources.requests;
        with_defaults(requests, Resources::from_map(requests))
    })
}

fn with_defaults(asked: &Amounts, mut resources: Resources) -> Resources {
    if !asked.contains_key("cpu") {
        resources.milli_cpu = DEFAULT_MILLI_CPU;
    }
    if !asked.contains_key("memory") {
        resources.memory = DEFAULT_MEMORY;
    }
    resources
}

/// What a pod may have at most, of the resources that it says so of (upstream's `PodLimits`).
#[must_use]
pub fn pod_limits(pod: &PodSpec) -> Resources {
    let mut limits = over_containers(pod, |container| Resources::from_map(&container.resources.limits));
    limits.replace_by_pod_level(&pod.resources.limits);
    let overhead = Resources::from_map(&pod.overhead);
    limits.combine(&overhead, |limit, more| if limit == 0 { 0 } else { limit.saturating_add(more) });
    limits
}

fn total(pod: &PodSpec, request: impl Fn(&Container) -> Resources) -> Resources {
    let mut main = over_containers(pod, request);
    main.replace_by_pod_level(&pod.resources.requests);
    main += &Resources::from_map(&pod.overhead);
    main.pods = 1;
    main
}

/// The sum over containers and sidecars, or the largest init step.
fn over_containers(pod: &PodSpec, request: impl Fn(&Container) -> Resources) -> Resources {
    let mut main = Resources::default();
    pod.containers.iter().for_each(|container| main += &request(container));

    let (mut sidecars, mut init) = (Resources::default(), Resources::default());
    for container in &pod.init_containers {
        let mut step = request(container);
        if container.restart_policy.as_deref() == Some("Always") {
            main += &step;
            sidecars += &step;
            init.raise_to(&sidecars);
        } else {
            step += &sidecars;
            init.raise_to(&step);
        }
    }
    main.raise_to(&init);
    main
}

impl Resources {
    /// Amounts of a `requests`, `allocatable` or `capacity` map.
    #[must_use]
    pub fn from_map(amounts: &Amounts) -> Self {
        let mut resources = Self::default();
        for (name, amount) in amounts.iter() {
            match name {
                "cpu" => resources.milli_cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral = amount.value(),
                "pods" => resources.pods = amount.value(),
                name if is_scalar(name) => {
                    resources.scalars.insert(name.to_owned(), amount.value());
                }
                _ => {}
            }
        }
        resources
    }

    /// Raises each amount to the other's where that is more.
    pub fn raise_to(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        self.pods = self.pods.max(other.pods);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }

    /// Pod-level requests (KEP-2837) stand in the place of the sum for CPU, memory and huge pages.
    fn replace_by_pod_level(&mut self, requests: &Amounts) {
        for (name, amount) in requests.iter() {
            match name {
                "cpu" => self.milli_cpu = amount.milli_value(),
                "memory" => self.memory = amount.value(),
                name if name.starts_with("hugepages-") => {
                    self.scalars.insert(name.to_owned(), amount.value());
                }
                _ => {}
            }
        }
    }

    fn combine(&mut self, other: &Self, operation: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = operation(self.milli_cpu, other.milli_cpu);
        self.memory = operation(self.memory, other.memory);
        self.ephemeral = operation(self.ephemeral, other.ephemeral);
        self.pods = operation(self.pods, other.pods);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = operation(*mine, *amount);
        }
    }
}

impl AddAssign<&Self> for Resources {
    fn add_assign(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }
}

impl SubAssign<&Self> for Resources {
    fn sub_assign(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }
}

/// Extended (`example.com/gpu`), huge page and attachable volume resources; other names are not scheduled by.
fn is_scalar(name: &str) -> bool {
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    extended
        || name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || name.contains("kubernetes.io/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(cpu: &str, memory: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(cpu: &str, memory: &str) -> serde_json::Value {
        let mut container = container(cpu, memory);
        container["restartPolicy"] = json!("Always");
        container
    }

    #[test]
    fn limits_of_a_pod() {
        let container = |limits: serde_json::Value| json!({"name": "c", "resources": {"limits": limits}});
        let mut sidecar = container(json!({"cpu": "500m"}));
        sidecar["restartPolicy"] = json!("Always");
        let init = container(json!({"cpu": "2", "memory": "1Gi"}));
        let main = container(json!({"cpu": "1", "example.com/gpu": "2"}));
        let overhead = json!({"cpu": "250m", "ephemeral-storage": "1Gi"});
        let limits = pod_limits(&spec(
            json!({"containers": [main], "initContainers": [sidecar, init], "overhead": overhead}),
        ));
        assert_eq!((limits.milli_cpu, limits.memory, limits.ephemeral), (2750, 1 << 30, 0));
        assert_eq!(limits.scalars["example.com/gpu"], 2);
        let of_pod =
            json!({"resources": {"limits": {"cpu": "4"}}, "containers": [container(json!({"cpu": "1"}))]});
        assert_eq!(pod_limits(&spec(of_pod)).milli_cpu, 4000);
    }

    #[test]
    fn request_table() {
        let table = [
            ("sum", json!({"containers": [container("100m", "1Ki"), container("0.2", "1Ki")]}), (300, 2048)),
            (
                "an init step larger than the sum",
                json!({"containers": [container("100m", "1Ki")], "initContainers": [container("1", "1")]}),
                (1000, 1024),
            ),
            (
                "a sidecar runs beside later init steps and the containers",
                json!({
                    "containers": [container("100m", "10")],
                    "initContainers": [sidecar("200m", "10"), container("500m", "5")],
                }),
                (700, 20),
            ),
            (
                "an init step before the sidecar runs alone",
                json!({
                    "containers": [container("100m", "10")],
                    "initContainers": [container("500m", "5"), sidecar("200m", "10")],
                }),
                (500, 20),
            ),
            (
                "pod level and overhead",
                json!({
                    "containers": [container("100m", "10")],
                    "resources": {"requests": {"cpu": "2"}},
                    "overhead": {"cpu": "50m", "memory": "5"},
                }),
                (2050, 15),
            ),
        ];
        for (name, value, expected) in table {
            let requests = pod_requests(&spec(value));
            assert_eq!((requests.milli_cpu, requests.memory), expected, "{name}");
            assert_eq!(requests.pods, 1);
        }
    }

    #[test]
    fn a_resize_counts_the_greatest_amount() {
        let resized = |wanted: &str, allocated: &str, given: &str, conditions: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [container(wanted, "1Gi")]},
                "status": {"conditions": conditions, "containerStatuses": [{
                    "name": "c", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": allocated}, "resources": {"requests": {"cpu": given}},
                }]},
            }))
            .unwrap();
            assert_eq!(
                pod_requests_for_scores_with_status(&pod).milli_cpu,
                pod_requests_with_status(&pod).milli_cpu
            );
            pod_requests_with_status(&pod).milli_cpu
        };
        let pending =
            |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        let none = json!([]);
        for (name, amount, expected) in [
            ("at rest", resized("1", "1", "1", none.clone()), 1000),
            ("wanted up, not allocated yet", resized("2", "1", "1", none.clone()), 2000),
            ("wanted up, deferred", resized("2", "1", "1", pending("Deferred")), 2000),
            ("wanted up, infeasible", resized("2", "1", "1", pending("Infeasible")), 1000),
            ("wanted down, still in use", resized("1", "1", "2", none.clone()), 2000),
            ("wanted down, still allocated", resized("1", "2", "1", none), 2000),
        ] {
            assert_eq!(amount, expected, "{name}");
        }
        let old: Pod = serde_json::from_value(json!({
            "spec": {"containers": [container("1", "1Gi")]},
            "status": {"containerStatuses": [{"name": "c", "ready": true, "restartCount": 0}]},
        }))
        .unwrap();
        assert_eq!(pod_requests_with_status(&old).milli_cpu, 1000, "a node that does not say");
    }

    #[test]
    fn scores_assume_defaults() {
        let pod = spec(json!({"containers": [{"name": "a"}, container("0", "1Gi")]}));
        let requests = pod_requests_for_scores(&pod);
        assert_eq!(requests.milli_cpu, 100);
        assert_eq!(requests.memory, DEFAULT_MEMORY + (1 << 30));
        assert_eq!(pod_requests(&pod).milli_cpu, 0);
    }

    #[test]
    fn amounts_by_name() {
        let map = |value| serde_json::from_value::<Amounts>(value).unwrap();
        let node = Resources::from_map(&map(json!({
            "cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi",
            "example.com/gpu": "2", "hugepages-2Mi": "4Mi", "unknown": "1",
        })));
        assert_eq!((node.milli_cpu, node.pods), (4000, 110));
        assert_eq!(node.scalars.keys().collect::<Vec<_>>(), ["example.com/gpu", "hugepages-2Mi"]);
        let mut left = node.clone();
        left -= &node;
        assert_eq!((left.milli_cpu, left.memory, left.scalars["example.com/gpu"]), (0, 0, 0));
    }
}
