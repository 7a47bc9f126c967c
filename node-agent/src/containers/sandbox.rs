//! The sandbox of a pod as the runtime is told.
//!
//! Promise: pure. Labels and annotations are the pod's with upstream's own added.

use std::path::Path;

use k8s_openapi::api::core::v1 as core;

use super::resolv_conf::{self, Names};
use super::{cgroups, labels, network, qos, security};
use crate::pods::reference;
use crate::runtime::PodRef;
use crate::runtime::config::{Namespaces, PortMapping, Protocol, SandboxConfig};

/// Where things of pods are kept, and what the node says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub root_dir: &'a Path,
    pub logs_dir: &'a Path,
    pub cgroup_root: &'a str,
    pub names: &'a Names,
}

pub(crate) fn config(pod: &core::Pod, attempt: u32, place: Place<'_>) -> SandboxConfig {
    let of = reference(&pod.metadata);
    let Some(spec) = &pod.spec else { return SandboxConfig { pod: of, attempt, ..Default::default() } };
    let namespaces = namespaces(spec);
    let hostname = if namespaces.host_network {
        String::new()
    } else {
        network::host_name(pod, &place.names.cluster_domain).0
    };
    let mut all_labels = pod.metadata.labels.clone().unwrap_or_default();
    all_labels.extend(pod_labels(&of));
    SandboxConfig {
        attempt,
        hostname,
        log_directory: log_directory(place.logs_dir, &of),
        dns: resolv_conf::resolve(pod, place.names).dns,
        ports: if namespaces.host_network { Vec::new() } else { host_ports(spec) },
        labels: all_labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        cgroup_parent: cgroups::path(place.cgroup_root, qos::class(spec), &of.uid),
        namespaces,
        sysctls: sysctls(spec),
        security: security::sandbox(spec, place.root_dir),
        // The handler of a RuntimeClass has to be looked up: whoever makes the sandbox does.
        handler: String::new(),
        pod: of,
    }
}

pub(crate) fn namespaces(spec: &core::PodSpec) -> Namespaces {
    Namespaces {
        host_network: spec.host_network == Some(true),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        shared_pid: spec.share_process_namespace == Some(true),
    }
}

/// `<logs>/<namespace>_<name>_<uid>`
pub(crate) fn log_directory(logs_dir: &Path, pod: &PodRef) -> std::path::PathBuf {
    logs_dir.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
}

pub(crate) fn pod_labels(pod: &PodRef) -> [(String, String); 3] {
    [
        (labels::POD_NAME.to_owned(), pod.name.clone()),
        (labels::POD_NAMESPACE.to_owned(), pod.namespace.clone()),
        (labels::POD_UID.to_owned(), pod.uid.clone()),
    ]
}

fn host_ports(spec: &core::PodSpec) -> Vec<PortMapping> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    let mapping = |port: &core::ContainerPort| {
        let host_port = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
        Some(PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            container_port: u16::try_from(port.container_port).ok()?,
            host_port,
            host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
        })
    };
    ports.filter_map(mapping).collect()
}

fn sysctls(spec: &core::PodSpec) -> std::collections::BTreeMap<String, String> {
    let context = spec.security_context.as_ref();
    let sysctls = context.into_iter().flat_map(|context| context.sysctls.iter().flatten());
    sysctls.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect()
}
