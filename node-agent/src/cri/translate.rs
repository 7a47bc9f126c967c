//! From the agent's configurations to CRI messages, and from CRI lists to the agent's types.
//!
//! Promise: pure; nothing is decided here. What upstream's kubelet writes into labels and annotations of sandboxes
//! and containers is read back from them, so that pods which another run started are recognised.

use jiff::Timestamp;

use super::messages as cri;
use crate::containers::labels;
use crate::runtime::config::{
    ContainerConfig, Namespaces, PodRef, Propagation, Protocol, SandboxConfig, Seccomp, Security,
};
use crate::runtime::{
    Container, ContainerDetail, ContainerStats, Image, ImageUser, RunState, Sandbox, TerminationMessage,
};

pub(super) fn sandbox_config(config: &SandboxConfig) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: config.pod.name.clone(),
            uid: config.pod.uid.clone(),
            namespace: config.pod.namespace.clone(),
            attempt: config.attempt,
        }),
        hostname: config.hostname.clone(),
        log_directory: config.log_directory.display().to_string(),
        dns_config: Some(cri::DnsConfig {
            servers: config.dns.servers.clone(),
            searches: config.dns.searches.clone(),
            options: config.dns.options.clone(),
        }),
        port_mappings: config.ports.iter().map(port_mapping).collect(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: config.cgroup_parent.clone(),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(config.namespaces, None)),
                run_as_user: int(config.security.run_as_user),
                run_as_group: int(config.security.run_as_group),
                supplemental_groups: config.security.supplemental_groups.clone(),
                privileged: config.security.privileged,
                seccomp: Some(seccomp(&config.security.seccomp)),
                ..Default::default()
            }),
            sysctls: config.sysctls.clone(),
        }),
    }
}

pub(super) fn container_config(config: &ContainerConfig) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: config.name.clone(), attempt: config.attempt }),
        image: Some(cri::ImageSpec { image: config.image.clone(), ..Default::default() }),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone(),
        envs: config
            .env
            .iter()
            .map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone().into_bytes() })
            .collect(),
        mounts: config
            .mounts
            .iter()
            .map(|mount| cri::Mount {
                container_path: mount.container_path.clone(),
                host_path: mount.host_path.display().to_string(),
                readonly: mount.read_only,
                propagation: match mount.propagation {
                    Propagation::Private => 0,
                    Propagation::HostToContainer => 1,
                    Propagation::Bidirectional => 2,
                },
            })
            .collect(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        log_path: config.log_path.clone(),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(cri::LinuxContainerResources {
                cpu_period: config.resources.cpu_period,
                cpu_quota: config.resources.cpu_quota.unwrap_or(0),
                cpu_shares: config.resources.cpu_shares,
                memory_limit_in_bytes: config.resources.memory_bytes.unwrap_or(0),
                oom_score_adj: config.resources.oom_score_adj,
            }),
            security_context: Some(container_security(config)),
        }),
        stop_signal: config.stop_signal,
    }
}

fn container_security(config: &ContainerConfig) -> cri::LinuxContainerSecurityContext {
    let security = &config.security;
    let Security { add_capabilities, drop_capabilities, .. } = security;
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: add_capabilities.clone(),
            drop_capabilities: drop_capabilities.clone(),
        }),
        privileged: security.privileged,
        namespace_options: Some(namespaces(config.namespaces, config.target.as_deref())),
        run_as_user: int(security.run_as_user),
        run_as_group: int(security.run_as_group),
        run_as_username: security.run_as_user_name.clone().unwrap_or_default(),
        readonly_rootfs: security.read_only_root,
        supplemental_groups: security.supplemental_groups.clone(),
        no_new_privs: security.no_new_privileges,
        masked_paths: security.masked_paths.clone(),
        readonly_paths: security.readonly_paths.clone(),
        seccomp: Some(seccomp(&security.seccomp)),
        ..Default::default()
    }
}

fn namespaces(of: Namespaces, target: Option<&str>) -> cri::NamespaceOption {
    let node_or = |host: bool, other: i32| if host { cri::NAMESPACE_NODE } else { other };
    let own_pid = if of.shared_pid { cri::NAMESPACE_POD } else { cri::NAMESPACE_CONTAINER };
    cri::NamespaceOption {
        network: node_or(of.host_network, cri::NAMESPACE_POD),
        pid: match target {
            Some(_) => cri::NAMESPACE_TARGET,
            None => node_or(of.host_pid, own_pid),
        },
        ipc: node_or(of.host_ipc, cri::NAMESPACE_POD),
        target_id: target.unwrap_or_default().to_owned(),
    }
}

fn seccomp(profile: &Seccomp) -> cri::SecurityProfile {
    match profile {
        Seccomp::RuntimeDefault => {
            cri::SecurityProfile { profile_type: cri::PROFILE_RUNTIME_DEFAULT, ..Default::default() }
        }
        Seccomp::Unconfined => {
            cri::SecurityProfile { profile_type: cri::PROFILE_UNCONFINED, ..Default::default() }
        }
        Seccomp::Localhost(file) => {
            cri::SecurityProfile { profile_type: cri::PROFILE_LOCALHOST, localhost_ref: file.clone() }
        }
    }
}

fn port_mapping(port: &crate::runtime::config::PortMapping) -> cri::PortMapping {
    cri::PortMapping {
        protocol: match port.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 1,
            Protocol::Sctp => 2,
        },
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

fn int(value: Option<i64>) -> Option<cri::Int64Value> {
    value.map(|value| cri::Int64Value { value })
}

pub(super) fn sandbox(from: cri::PodSandbox) -> Sandbox {
    let metadata = from.metadata.unwrap_or_default();
    Sandbox {
        id: from.id,
        pod: PodRef { namespace: metadata.namespace, name: metadata.name, uid: metadata.uid },
        attempt: metadata.attempt,
        ready: from.state == cri::SANDBOX_READY,
        created: nanoseconds(from.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

pub(super) fn container(mut from: cri::Container) -> Container {
    let metadata = from.metadata.unwrap_or_default();
    let annotation = |name: &str| from.annotations.get(name).map(String::as_str);
    let spec_hash = annotation(labels::CONTAINER_HASH).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let restart_count = annotation(labels::RESTART_COUNT).and_then(|text| text.parse().ok());
    let fall_back = annotation(labels::TERMINATION_MESSAGE_POLICY) == Some("FallbackToLogsOnError");
    let host_file = from.annotations.remove(labels::TERMINATION_MESSAGE_HOST_FILE);
    Container {
        id: from.id,
        sandbox: from.pod_sandbox_id,
        pod_uid: from.labels.remove(labels::POD_UID).unwrap_or_default(),
        name: metadata.name,
        state: match from.state {
            cri::CONTAINER_CREATED => RunState::Created,
            cri::CONTAINER_RUNNING => RunState::Running,
            cri::CONTAINER_EXITED => RunState::Exited,
            _ => RunState::Unknown,
        },
        created: nanoseconds(from.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        spec_hash: spec_hash.unwrap_or(0),
        restart_count: restart_count.unwrap_or(metadata.attempt as i32),
        termination_message: TerminationMessage { host_file, fall_back_to_logs: fall_back },
    }
}

pub(super) fn detail(from: cri::ContainerStatus) -> ContainerDetail {
    ContainerDetail {
        started: nanoseconds(from.started_at),
        finished: nanoseconds(from.finished_at),
        exit_code: from.exit_code,
        reason: from.reason,
        message: from.message,
        image: from.image.unwrap_or_default().image,
        image_id: from.image_ref,
        log_path: from.log_path,
    }
}

pub(super) fn image(from: cri::Image) -> Image {
    Image {
        id: from.id,
        names: from.repo_tags.into_iter().chain(from.repo_digests).collect(),
        bytes: from.size,
        user: match (from.uid, from.username.is_empty()) {
            (Some(uid), _) => ImageUser::Number(uid.value),
            (None, false) => ImageUser::Name(from.username),
            (None, true) => ImageUser::Unset,
        },
    }
}

pub(super) fn stats(from: cri::ContainerStats) -> Option<ContainerStats> {
    let attributes = from.attributes?;
    let label = |name: &str| attributes.labels.get(name).cloned().unwrap_or_default();
    // A container that has ended has no figures.
    let (cpu, memory) = (from.cpu?, from.memory.unwrap_or_default());
    let disk = from.writable_layer.unwrap_or_default();
    let number = |value: Option<cri::UInt64Value>| value.unwrap_or_default().value;
    let working_set_bytes = number(memory.working_set_bytes);
    Some(ContainerStats {
        pod: PodRef {
            namespace: label(labels::POD_NAMESPACE),
            name: label(labels::POD_NAME),
            uid: label(labels::POD_UID),
        },
        container: attributes.metadata.unwrap_or_default().name,
        at: nanoseconds(cpu.timestamp).unwrap_or(Timestamp::UNIX_EPOCH),
        cpu_nanoseconds: number(cpu.usage_core_nano_seconds),
        working_set_bytes,
        memory_bytes: number(memory.usage_bytes).max(working_set_bytes),
        rootfs_bytes: number(disk.used_bytes),
        rootfs_inodes: number(disk.inodes_used),
    })
}

/// Zero stands for "not yet".
fn nanoseconds(value: i64) -> Option<Timestamp> {
    (value > 0).then(|| Timestamp::from_nanosecond(value.into()).ok()).flatten()
}
