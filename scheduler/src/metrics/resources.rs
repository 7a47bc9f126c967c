//! `/metrics/resources`: what every pod asks for and may have at most, as the scheduler counts it.
//!
//! Worked out from the watched pods when somebody asks. Only the copy that leads tells, so that a pod is told of once.
//! Pods that have ended are left out, and so is what is zero. Upstream: `metrics/resources`.

use crate::decisions::Desk;
use component::informers::Informers;
use component::metrics::{Family, Gauge, Labels, Registry};
use component::serve::Pages;
use objects::resources::{Resources, pod_limits, pod_requests};
use objects::views::Pod;
use std::borrow::Borrow;
use std::sync::atomic::AtomicU64;

/// Where they are.
const PATH: &str = "/metrics/resources";

type Amounts = Family<Labels, Gauge<f64, AtomicU64>>;

/// Adds the page.
pub fn show(pages: &Pages, informers: &Informers, desk: &Desk) {
    let (pods, desk) = (informers.of::<Pod>(), desk.clone());
    pages.add_metrics(PATH, move || text(if desk.leads() { pods.all() } else { Vec::new() }));
}

/// The metrics of these pods.
fn text<P: Borrow<Pod>>(pods: impl IntoIterator<Item = P>) -> String {
    let registry = Registry::new();
    let family = |name: &str, what: &str| {
        let help = format!(
            "{what} workloads on the cluster, broken down by pod. This shows the resource usage the scheduler and \
             kubelet expect per pod for resources along with the unit for the resource if any"
        );
        registry.register(name, &help, Amounts::default())
    };
    let limits = family("kube_pod_resource_limit", "Resources limit for");
    let requests = family("kube_pod_resource_request", "Resources requested by");
    for pod in pods {
        let pod = pod.borrow();
        let has_node = pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
        if has_node && matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            continue;
        }
        tell(&requests, pod, &pod_requests(&pod.spec));
        tell(&limits, pod, &pod_limits(&pod.spec));
    }
    registry.encode()
}

fn tell(amounts: &Amounts, pod: &Pod, resources: &Resources) {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tell = |resource: &str, unit: &str, amount: f64| {
        if amount == 0.0 {
            return;
        }
        let labels = vec![
            ("namespace", pod.namespace().to_owned()),
            ("pod", pod.name().to_owned()),
            ("node", text(pod.spec.node_name.as_deref())),
            ("scheduler", text(pod.spec.scheduler_name.as_deref())),
            ("priority", pod.spec.priority.map(|priority| priority.to_string()).unwrap_or_default()),
            ("resource", resource.to_owned()),
            ("unit", unit.to_owned()),
        ];
        amounts.get_or_create(&labels).set(amount);
    };
    tell("cpu", "cores", whole(resources.milli_cpu) / 1000.0);
    tell("memory", "bytes", whole(resources.memory));
    tell("ephemeral-storage", "bytes", whole(resources.ephemeral));
    for (name, amount) in &resources.scalars {
        let unit = match name {
            name if name.starts_with("hugepages-") => "bytes",
            name if name.starts_with("attachable-volumes-") => "integer",
            _ => "",
        };
        tell(name, unit, whole(*amount));
    }
}

/// Exact up to 2^53, as upstream's.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn whole(amount: i64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value, phase: &str) -> Pod {
        let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {"phase": phase}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn pods_are_told_of_by_resource() {
        let container = json!({"name": "c", "resources": {
            "requests": {"cpu": "100m", "memory": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "1"},
            "limits": {"cpu": "1500m", "example.com/gpu": "1", "memory": "0"}}});
        let placed =
            json!({"containers": [container], "nodeName": "n", "schedulerName": "mine", "priority": 7});
        let waiting = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        let text = text([
            pod("a", placed.clone(), "Running"),
            pod("b", waiting, "Pending"),
            pod("ended", placed.clone(), "Succeeded"),
            pod("failed", placed, "Failed"),
        ]);
        let mut told: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        told.sort_unstable();
        let of_a = |metric: &str, resource: &str, unit: &str, amount: &str| {
            format!(
                "kube_pod_resource_{metric}{{namespace=\"default\",pod=\"a\",node=\"n\",scheduler=\"mine\",\
                 priority=\"7\",resource=\"{resource}\",unit=\"{unit}\"}} {amount}"
            )
        };
        let mut wanted = vec![
            of_a("limit", "cpu", "cores", "1.5"),
            of_a("limit", "example.com/gpu", "", "1.0"),
            of_a("request", "cpu", "cores", "0.1"),
            of_a("request", "example.com/gpu", "", "1.0"),
            of_a("request", "hugepages-2Mi", "bytes", "4194304.0"),
            of_a("request", "memory", "bytes", "1073741824.0"),
            "kube_pod_resource_request{namespace=\"default\",pod=\"b\",node=\"\",scheduler=\"\",priority=\"\",\
             resource=\"cpu\",unit=\"cores\"} 2.0"
                .to_owned(),
        ];
        wanted.sort_unstable();
        assert_eq!(told, wanted);
    }
}
