//! `node.status` from the machine's facts, the runtime's state and what is short.
//!
//! Promise: upstream's conditions, reasons and messages; transition times stay while a condition stays. `same` ignores
//! heartbeats, so that a quiet node is written rarely.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use objects::declared_features;

use super::facts::{Capacity, Machine, Pressure};
use super::whole_seconds;
use crate::pods::Node;

/// Images that the status names at most. Upstream's `nodeStatusMaxImages`.
const IMAGES: usize = 50;

/// What this agent calls itself. The minor version is the API level that it follows.
const VERSION: &str = concat!("v1.36.2+steersman-", env!("CARGO_PKG_VERSION"));

pub(super) async fn status(
    node: &Node,
    machine: &Machine,
    port: u16,
    old: &[core::NodeCondition],
) -> core::NodeStatus {
    let version = node.runtime.version().await.unwrap_or_default();
    let real = node.runtime.is_real();
    let problems = match node.runtime.problems().await {
        Ok(problems) => problems,
        Err(error) => vec![format!("container runtime is down: {error}")],
    };
    let pressure = if real { Pressure::read(&node.config.root_dir) } else { Pressure::default() };
    let images = if real { images(node).await } else { None };
    core::NodeStatus {
        addresses: Some(addresses(node)),
        capacity: Some(quantities(&machine.capacity)),
        allocatable: Some(quantities(&machine.allocatable)),
        conditions: Some(conditions(node, pressure, &problems, old)),
        daemon_endpoints: Some(core::NodeDaemonEndpoints {
            kubelet_endpoint: Some(core::DaemonEndpoint { port: port.into() }),
        }),
        images,
        declared_features: real.then(|| vec![declared_features::WEBSOCKETS.to_owned()]),
        node_info: Some(core::NodeSystemInfo {
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64".to_owned(),
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!(
                "{}://{}",
                version.name,
                version.version.split('~').next().unwrap_or("")
            ),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Equal but for heartbeats.
pub(super) fn same(a: &core::NodeStatus, b: &core::NodeStatus) -> bool {
    let still = |status: &core::NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        status
    };
    still(a) == still(b)
}

fn addresses(node: &Node) -> Vec<core::NodeAddress> {
    let internal = node.addresses.iter().map(|ip| ("InternalIP", ip.to_string()));
    let all = internal.chain([("Hostname", node.name.clone())]);
    all.map(|(kind, address)| core::NodeAddress { type_: kind.to_owned(), address }).collect()
}

fn quantities(capacity: &Capacity) -> BTreeMap<String, Quantity> {
    let cpu = match capacity.milli_cpu {
        milli if milli % 1000 == 0 => (milli / 1000).to_string(),
        milli => format!("{milli}m"),
    };
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", capacity.memory >> 10)),
        ("ephemeral-storage", format!("{}Ki", capacity.ephemeral >> 10)),
        ("pods", capacity.pods.to_string()),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), Quantity(text)))
    .collect()
}

fn conditions(
    node: &Node,
    pressure: Pressure,
    problems: &[String],
    old: &[core::NodeCondition],
) -> Vec<core::NodeCondition> {
    let now = Time(whole_seconds(node.clock.now()));
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let before = old.iter().find(|old| old.type_ == kind && old.status == status);
        core::NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before
                .and_then(|old| old.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
        }
    };
    let either = |kind: &str, bad: bool, good_words: (&str, &str), bad_words: (&str, &str)| {
        let (reason, message) = if bad { bad_words } else { good_words };
        condition(kind, bad, reason, message)
    };
    vec![
        either(
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ),
        either(
            "DiskPressure",
            pressure.disk,
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ),
        either(
            "PIDPressure",
            pressure.pid,
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ),
        if problems.is_empty() {
            condition("Ready", true, "KubeletReady", "kubelet is posting ready status")
        } else {
            condition("Ready", false, "KubeletNotReady", &format!("[{}]", problems.join(", ")))
        },
    ]
}

async fn images(node: &Node) -> Option<Vec<core::ContainerImage>> {
    let mut images = node.runtime.images().await.ok()?;
    images.sort_by(|a, b| (b.bytes, &a.names).cmp(&(a.bytes, &b.names)));
    let image = |image: crate::runtime::Image| core::ContainerImage {
        names: Some(image.names),
        size_bytes: Some(image.bytes as i64),
    };
    Some(images.into_iter().take(IMAGES).map(image).collect())
}
