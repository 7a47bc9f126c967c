//! Containers: their configuration, state and processes.
//!
//! Promise: as `messages`: only the fields that the agent sets or reads.

use std::collections::BTreeMap;

use super::{ImageSpec, Int64Value, NamespaceOption, PodSandboxConfig, SecurityProfile, SelinuxOption};

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Mount {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_path: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) host_path: String,
    #[prost(bool, tag = "3")]
    pub(in crate::cri) readonly: bool,
    #[prost(int32, tag = "5")]
    pub(in crate::cri) propagation: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(in crate::cri) key: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(in crate::cri) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct LinuxContainerResources {
    #[prost(int64, tag = "1")]
    pub(in crate::cri) cpu_period: i64,
    #[prost(int64, tag = "2")]
    pub(in crate::cri) cpu_quota: i64,
    #[prost(int64, tag = "3")]
    pub(in crate::cri) cpu_shares: i64,
    #[prost(int64, tag = "4")]
    pub(in crate::cri) memory_limit_in_bytes: i64,
    #[prost(int64, tag = "5")]
    pub(in crate::cri) oom_score_adj: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Capability {
    #[prost(string, repeated, tag = "1")]
    pub(in crate::cri) add_capabilities: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::cri) drop_capabilities: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct LinuxContainerSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) capabilities: Option<Capability>,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) privileged: bool,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) namespace_options: Option<NamespaceOption>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) selinux_options: Option<SelinuxOption>,
    #[prost(message, optional, tag = "5")]
    pub(in crate::cri) run_as_user: Option<Int64Value>,
    #[prost(message, optional, tag = "12")]
    pub(in crate::cri) run_as_group: Option<Int64Value>,
    #[prost(string, tag = "6")]
    pub(in crate::cri) run_as_username: String,
    #[prost(bool, tag = "7")]
    pub(in crate::cri) readonly_rootfs: bool,
    #[prost(int64, repeated, tag = "8")]
    pub(in crate::cri) supplemental_groups: Vec<i64>,
    #[prost(bool, tag = "11")]
    pub(in crate::cri) no_new_privs: bool,
    #[prost(string, repeated, tag = "13")]
    pub(in crate::cri) masked_paths: Vec<String>,
    #[prost(string, repeated, tag = "14")]
    pub(in crate::cri) readonly_paths: Vec<String>,
    #[prost(message, optional, tag = "15")]
    pub(in crate::cri) seccomp: Option<SecurityProfile>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct LinuxContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) resources: Option<LinuxContainerResources>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) security_context: Option<LinuxContainerSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(in crate::cri) name: String,
    #[prost(uint32, tag = "2")]
    pub(in crate::cri) attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    pub(in crate::cri) command: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(in crate::cri) args: Vec<String>,
    #[prost(string, tag = "5")]
    pub(in crate::cri) working_dir: String,
    #[prost(message, repeated, tag = "6")]
    pub(in crate::cri) envs: Vec<KeyValue>,
    #[prost(message, repeated, tag = "7")]
    pub(in crate::cri) mounts: Vec<Mount>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
    #[prost(string, tag = "11")]
    pub(in crate::cri) log_path: String,
    #[prost(bool, tag = "12")]
    pub(in crate::cri) stdin: bool,
    #[prost(bool, tag = "13")]
    pub(in crate::cri) stdin_once: bool,
    #[prost(bool, tag = "14")]
    pub(in crate::cri) tty: bool,
    #[prost(message, optional, tag = "15")]
    pub(in crate::cri) linux: Option<LinuxContainerConfig>,
    #[prost(int32, tag = "18")]
    pub(in crate::cri) stop_signal: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerIdRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct StopContainerRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(int64, tag = "2")]
    pub(in crate::cri) timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerFilter {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) pod_sandbox_id: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(in crate::cri) label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListContainersRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) filter: Option<ContainerFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Container {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    pub(in crate::cri) image_ref: String,
    #[prost(int32, tag = "6")]
    pub(in crate::cri) state: i32,
    #[prost(int64, tag = "7")]
    pub(in crate::cri) created_at: i64,
    #[prost(btree_map = "string, string", tag = "8")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) metadata: Option<ContainerMetadata>,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) state: i32,
    #[prost(int64, tag = "4")]
    pub(in crate::cri) created_at: i64,
    #[prost(int64, tag = "5")]
    pub(in crate::cri) started_at: i64,
    #[prost(int64, tag = "6")]
    pub(in crate::cri) finished_at: i64,
    #[prost(int32, tag = "7")]
    pub(in crate::cri) exit_code: i32,
    #[prost(message, optional, tag = "8")]
    pub(in crate::cri) image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    pub(in crate::cri) image_ref: String,
    #[prost(string, tag = "10")]
    pub(in crate::cri) reason: String,
    #[prost(string, tag = "11")]
    pub(in crate::cri) message: String,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "13")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
    #[prost(string, tag = "15")]
    pub(in crate::cri) log_path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) status: Option<ContainerStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(in crate::cri) info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::cri) cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    pub(in crate::cri) timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ExecSyncResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::cri) stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(in crate::cri) stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) exit_code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ExecRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::cri) cmd: Vec<String>,
    #[prost(bool, tag = "3")]
    pub(in crate::cri) tty: bool,
    #[prost(bool, tag = "4")]
    pub(in crate::cri) stdin: bool,
    #[prost(bool, tag = "5")]
    pub(in crate::cri) stdout: bool,
    #[prost(bool, tag = "6")]
    pub(in crate::cri) stderr: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct AttachRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) stdin: bool,
    #[prost(bool, tag = "3")]
    pub(in crate::cri) tty: bool,
    #[prost(bool, tag = "4")]
    pub(in crate::cri) stdout: bool,
    #[prost(bool, tag = "5")]
    pub(in crate::cri) stderr: bool,
}
