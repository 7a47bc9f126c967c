//! What is measured of a pod on its way: once what happens once.

use super::*;
use component::metrics::Registry;

/// Of so many a tenth is measured.
const PODS: usize = 1000;

/// The sum of all lines that begin with `series` and have `label`.
fn count(registry: &Registry, series: &str, label: &str) -> u64 {
    let text = registry.encode();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{series}{{")) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn what_comes_before_the_queue_is_timed_once_a_pod() {
    let registry = Registry::new();
    let mut driven = Driven::measured(&registry);
    driven.node("n", "1000");
    driven.object(json!({
        "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": "g", "namespace": "default"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 1}}},
    }));
    for pod in 0..PODS {
        let name = format!("p{pod}");
        driven.pod_from(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"schedulingGroup": {"podGroupName": "g"}},
        }));
    }
    driven.run(|_| Ok(()));
    let about_a_tenth = (PODS as u64 / 15)..=(PODS as u64 / 7);
    let point = "scheduler_framework_extension_point_duration_seconds_count";
    let plugin = "scheduler_plugin_execution_duration_seconds_count";
    for (what, series, label) in [
        ("the extension point", point, "extension_point=\"PreEnqueue\""),
        (
            "a plugin that looks at the pod",
            plugin,
            "plugin=\"SchedulingGates\",extension_point=\"PreEnqueue\"",
        ),
        ("a plugin that looks at others", plugin, "plugin=\"GangScheduling\",extension_point=\"PreEnqueue\""),
    ] {
        let times = count(&registry, series, label);
        assert!(about_a_tenth.contains(&times), "{what} was timed {times} times");
    }
}
