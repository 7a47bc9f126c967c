//! Requests and limits of containers, and the cgroup values made of them.
//!
//! Promise: upstream's arithmetic (`MilliCPUToShares`, `MilliCPUToQuota`, `GetContainerOOMScoreAdjust`). A request
//! that is absent equals the limit.

use k8s_openapi::api::core::v1 as core;
use objects::quantity::Quantity;

use super::qos;
use crate::runtime::config::Resources;

/// Microseconds in which a CPU quota is measured.
const CPU_PERIOD: i64 = 100_000;

/// Least quota that the kernel takes, in microseconds.
const LEAST_CPU_QUOTA: i64 = 1000;

/// Least and greatest `cpu.shares`.
const CPU_SHARES: (i64, i64) = (2, 262_144);

/// `oom_score_adj` of containers that must not be killed first, and of those that go first.
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

/// `limits[name]`.
pub(crate) fn limit(container: &core::Container, name: &str) -> Option<Quantity> {
    quantity(container.resources.as_ref()?.limits.as_ref()?.get(name)?)
}

/// `requests[name]`, or the limit.
pub(crate) fn request(container: &core::Container, name: &str) -> Option<Quantity> {
    let requests = container.resources.as_ref()?.requests.as_ref();
    requests.and_then(|requests| quantity(requests.get(name)?)).or_else(|| limit(container, name))
}

/// What the pod asks for: the greater of all regular containers with sidecars and the largest init container.
pub(crate) fn pod_total(spec: &core::PodSpec, amount: impl Fn(&core::Container) -> i64) -> i64 {
    let mut along = 0;
    let mut peak = 0;
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            along += amount(container);
            peak = peak.max(along);
        } else {
            peak = peak.max(along + amount(container));
        }
    }
    peak.max(along + spec.containers.iter().map(amount).sum::<i64>())
}

/// Cgroup values of one container on a node with this much memory (bytes).
pub(crate) fn cgroup_values(
    spec: &core::PodSpec,
    container: &core::Container,
    node_memory: i64,
) -> Resources {
    let cpu_limit = limit(container, "cpu").map(Quantity::milli_value);
    let cpu_request = request(container, "cpu").map_or(0, Quantity::milli_value);
    Resources {
        cpu_shares: cpu_shares(cpu_request),
        cpu_quota: cpu_limit.filter(|milli| *milli > 0).map(cpu_quota),
        cpu_period: CPU_PERIOD,
        memory_bytes: limit(container, "memory").map(Quantity::value).filter(|bytes| *bytes > 0),
        oom_score_adj: oom_score_adj(spec, container, node_memory),
    }
}

/// Cgroup values of a whole pod: limits only where every container has one.
pub(crate) fn pod_cgroup_values(spec: &core::PodSpec) -> Resources {
    let all_limited = |name: &str| spec.containers.iter().all(|container| limit(container, name).is_some());
    let total = |name: &'static str, milli: bool, of: fn(&core::Container, &str) -> Option<Quantity>| {
        pod_total(spec, |container| {
            of(container, name).map_or(0, |amount| if milli { amount.milli_value() } else { amount.value() })
        })
    };
    Resources {
        cpu_shares: cpu_shares(total("cpu", true, request)),
        cpu_quota: all_limited("cpu").then(|| cpu_quota(total("cpu", true, limit))),
        cpu_period: CPU_PERIOD,
        memory_bytes: all_limited("memory").then(|| total("memory", false, limit)),
        oom_score_adj: 0,
    }
}

fn cpu_shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).clamp(CPU_SHARES.0, CPU_SHARES.1)
}

fn cpu_quota(milli: i64) -> i64 {
    (milli * CPU_PERIOD / 1000).max(LEAST_CPU_QUOTA)
}

fn oom_score_adj(spec: &core::PodSpec, container: &core::Container, node_memory: i64) -> i64 {
    // system-node-critical pods are as precious as Guaranteed ones.
    if spec.priority.is_some_and(|priority| priority >= 2_000_001_000) {
        return OOM_GUARANTEED;
    }
    match qos::class(spec) {
        qos::GUARANTEED => OOM_GUARANTEED,
        qos::BEST_EFFORT => OOM_BEST_EFFORT,
        _ => {
            let asked = request(container, "memory").map_or(0, Quantity::value);
            let share = 1000 - (1000 * i128::from(asked) / i128::from(node_memory.max(1))) as i64;
            share.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

fn quantity(text: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Option<Quantity> {
    text.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(containers: serde_json::Value) -> core::PodSpec {
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn values_are_upstreams() {
        let spec = spec(json!([{"name": "a", "resources":
            {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "2Gi"}}}]));
        let values = cgroup_values(&spec, &spec.containers[0], 8 << 30);
        assert_eq!(
            values,
            Resources {
                cpu_shares: 256,
                cpu_quota: Some(50_000),
                cpu_period: 100_000,
                memory_bytes: Some(2 << 30),
                oom_score_adj: 875,
            }
        );
    }

    #[test]
    fn a_best_effort_container_has_least_shares_and_goes_first() {
        let spec = spec(json!([{"name": "a"}]));
        let values = cgroup_values(&spec, &spec.containers[0], 8 << 30);
        assert_eq!((values.cpu_shares, values.cpu_quota, values.oom_score_adj), (2, None, 1000));
    }

    #[test]
    fn sidecars_count_beside_the_containers_and_init_containers_alone() {
        let spec: core::PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "i", "resources": {"requests": {"cpu": "5"}}},
            ],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}],
        }))
        .unwrap();
        let milli = |container: &core::Container| request(container, "cpu").map_or(0, Quantity::milli_value);
        assert_eq!(pod_total(&spec, milli), 6000);
    }
}
