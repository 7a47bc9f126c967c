//! What pods use: `/stats/summary` and `/metrics`.
//!
//! Promise: figures are read when they are asked for, nothing is sampled in between. The summary has upstream's shape
//! (`stats.k8s.io` Summary), as far as the runtime gives figures.

use std::collections::BTreeMap;

use http::{Response, header};
use serde_json::{Value, json};

use super::{Body, json as json_answer, text};
use crate::node::disk;
use crate::pods::Pods;
use crate::runtime::{ContainerStats, PodRef, RunState};

pub(super) async fn summary(nodes: &[Pods]) -> Response<Body> {
    let Some(first) = nodes.first().map(Pods::node) else { return json_answer(&json!({})) };
    let stats = first.runtime.stats().await.unwrap_or_default();
    let now = first.clock.now();
    let mut pods: BTreeMap<&PodRef, Vec<&ContainerStats>> = BTreeMap::new();
    for one in &stats {
        pods.entry(&one.pod).or_default().push(one);
    }
    let (size, free) = disk(&first.config.root_dir);
    let (image_bytes, image_inodes) = first.runtime.image_filesystem().await.unwrap_or_default();
    let pods: Vec<Value> = pods.into_iter().map(|(pod, containers)| pod_summary(pod, &containers)).collect();
    json_answer(&json!({
        "node": {
            "nodeName": first.name,
            "startTime": now,
            "cpu": { "time": now, "usageCoreNanoSeconds": cpu_nanoseconds() },
            "memory": { "time": now, "workingSetBytes": stats.iter().map(|one| one.working_set_bytes).sum::<u64>() },
            "fs": { "time": now, "capacityBytes": size, "availableBytes": free, "usedBytes": size - free },
            "runtime": { "imageFs": {
                "time": now, "capacityBytes": size, "availableBytes": free,
                "usedBytes": image_bytes, "inodesUsed": image_inodes,
            } },
        },
        "pods": pods,
    }))
}

fn pod_summary(pod: &PodRef, containers: &[&ContainerStats]) -> Value {
    let sum = |of: fn(&ContainerStats) -> u64| containers.iter().map(|one| of(one)).sum::<u64>();
    let at = containers.iter().map(|one| one.at).max().unwrap_or_default();
    let container = |one: &&ContainerStats| {
        json!({
            "name": one.container,
            "cpu": { "time": one.at, "usageCoreNanoSeconds": one.cpu_nanoseconds },
            "memory": { "time": one.at, "workingSetBytes": one.working_set_bytes, "usageBytes": one.memory_bytes },
            "rootfs": { "time": one.at, "usedBytes": one.rootfs_bytes, "inodesUsed": one.rootfs_inodes },
        })
    };
    json!({
        "podRef": { "name": pod.name, "namespace": pod.namespace, "uid": pod.uid },
        "containers": containers.iter().map(container).collect::<Vec<_>>(),
        "cpu": { "time": at, "usageCoreNanoSeconds": sum(|one| one.cpu_nanoseconds) },
        "memory": { "time": at, "workingSetBytes": sum(|one| one.working_set_bytes) },
    })
}

/// Upstream's names of the gauges that dashboards read.
pub(super) async fn metrics(nodes: &[Pods]) -> Response<Body> {
    let registry = component::metrics::Registry::new();
    let (mut sandboxes, mut running) = (0, 0);
    for pods in nodes {
        let listing = pods.node().runtime.list(None).await.unwrap_or_default();
        sandboxes += listing.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
        running += listing.containers.iter().filter(|container| container.state == RunState::Running).count();
    }
    let gauge = |name: &str, help: &str, value: usize| registry.gauge(name, help).set(value as i64);
    gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", sandboxes);
    gauge("kubelet_running_containers", "Number of containers currently running", running);
    gauge(
        "kubelet_desired_pods",
        "The number of pods the kubelet is being instructed to run",
        nodes.iter().map(|pods| pods.uids().len()).sum(),
    );
    let mut answer = text(http::StatusCode::OK, registry.encode());
    let kind = http::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// CPU time of the whole machine since its start.
fn cpu_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        first.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // The fourth and fifth are idle time; a tick is 10 ms everywhere today.
    let busy: u64 =
        fields.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    busy * 10_000_000
}
