//! Sandboxes: what a pod is to the runtime.
//!
//! Promise: as `messages`: only the fields that the agent sets or reads.

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    pub(in crate::cri) servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::cri) searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(in crate::cri) options: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PortMapping {
    #[prost(int32, tag = "1")]
    pub(in crate::cri) protocol: i32,
    #[prost(int32, tag = "2")]
    pub(in crate::cri) container_port: i32,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) host_port: i32,
    #[prost(string, tag = "4")]
    pub(in crate::cri) host_ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct NamespaceOption {
    #[prost(int32, tag = "1")]
    pub(in crate::cri) network: i32,
    #[prost(int32, tag = "2")]
    pub(in crate::cri) pid: i32,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) ipc: i32,
    #[prost(string, tag = "4")]
    pub(in crate::cri) target_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Int64Value {
    #[prost(int64, tag = "1")]
    pub(in crate::cri) value: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct SecurityProfile {
    #[prost(int32, tag = "1")]
    pub(in crate::cri) profile_type: i32,
    #[prost(string, tag = "2")]
    pub(in crate::cri) localhost_ref: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct SelinuxOption {
    #[prost(string, tag = "1")]
    pub(in crate::cri) user: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) role: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) kind: String,
    #[prost(string, tag = "4")]
    pub(in crate::cri) level: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) namespace_options: Option<NamespaceOption>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) selinux_options: Option<SelinuxOption>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) run_as_user: Option<Int64Value>,
    #[prost(message, optional, tag = "8")]
    pub(in crate::cri) run_as_group: Option<Int64Value>,
    #[prost(bool, tag = "4")]
    pub(in crate::cri) readonly_rootfs: bool,
    #[prost(int64, repeated, tag = "5")]
    pub(in crate::cri) supplemental_groups: Vec<i64>,
    #[prost(bool, tag = "6")]
    pub(in crate::cri) privileged: bool,
    #[prost(message, optional, tag = "9")]
    pub(in crate::cri) seccomp: Option<SecurityProfile>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    pub(in crate::cri) cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) security_context: Option<LinuxSandboxSecurityContext>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(in crate::cri) sysctls: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub(in crate::cri) name: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) uid: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(in crate::cri) attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    pub(in crate::cri) hostname: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) log_directory: String,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) dns_config: Option<DnsConfig>,
    #[prost(message, repeated, tag = "5")]
    pub(in crate::cri) port_mappings: Vec<PortMapping>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(in crate::cri) linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) config: Option<PodSandboxConfig>,
    #[prost(string, tag = "2")]
    pub(in crate::cri) runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pub(in crate::cri) pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxIdRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodIp {
    #[prost(string, tag = "1")]
    pub(in crate::cri) ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    pub(in crate::cri) ip: String,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::cri) additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxStatus {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) metadata: Option<PodSandboxMetadata>,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) state: i32,
    #[prost(int64, tag = "4")]
    pub(in crate::cri) created_at: i64,
    #[prost(message, optional, tag = "5")]
    pub(in crate::cri) network: Option<PodSandboxNetworkStatus>,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "8")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) status: Option<PodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(in crate::cri) info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandboxFilter {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(in crate::cri) label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) metadata: Option<PodSandboxMetadata>,
    #[prost(int32, tag = "3")]
    pub(in crate::cri) state: i32,
    #[prost(int64, tag = "4")]
    pub(in crate::cri) created_at: i64,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct UrlResponse {
    #[prost(string, tag = "1")]
    pub(in crate::cri) url: String,
}
