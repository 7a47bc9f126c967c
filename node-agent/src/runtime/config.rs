//! What a sandbox and a container are to be: the runtime's input, made by `containers` from a pod.
//!
//! Promise: plain data, complete: a runtime needs nothing else from the pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Which pod something belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SandboxConfig {
    pub pod: PodRef,
    pub attempt: u32,
    /// Empty with the host's network.
    pub hostname: String,
    /// Log files are named relative to it.
    pub log_directory: PathBuf,
    pub dns: Dns,
    pub ports: Vec<PortMapping>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Cgroup below which the pod's containers run.
    pub cgroup_parent: String,
    pub namespaces: Namespaces,
    pub sysctls: BTreeMap<String, String>,
    pub security: Security,
    /// RuntimeClass handler; empty is the default one.
    pub handler: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerConfig {
    pub name: String,
    /// How often the name was used in this pod before.
    pub attempt: u32,
    /// Image id or name, as the image store knows it.
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub working_dir: String,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Relative to the sandbox's log directory.
    pub log_path: String,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub resources: Resources,
    pub security: Security,
    pub namespaces: Namespaces,
    /// Container id whose PID namespace is shared (ephemeral containers).
    pub target: Option<String>,
    /// CRI's number of `lifecycle.stopSignal`; 0 is the image's.
    pub stop_signal: i32,
}

/// `resolv.conf` of a pod; empty means the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortMapping {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_port: u16,
    pub host_ip: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Which namespaces are the node's; `shared_pid`: the pod's containers share one PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    pub shared_pid: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub container_path: String,
    pub host_path: PathBuf,
    pub read_only: bool,
    pub propagation: Propagation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// Cgroup values; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// cgroup v1 scale (1024 is one CPU); runc translates for v2.
    pub cpu_shares: i64,
    /// Microseconds of CPU in `cpu_period`.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: i64,
    pub memory_bytes: Option<i64>,
    pub oom_score_adj: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub privileged: bool,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_user_name: Option<String>,
    pub supplemental_groups: Vec<i64>,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub seccomp: Seccomp,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seccomp {
    RuntimeDefault,
    #[default]
    Unconfined,
    /// Profile file on the node.
    Localhost(String),
}
