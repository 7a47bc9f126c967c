//! The runtime itself: version, state, figures, events.
//!
//! Promise: as `messages`: only the fields that the agent sets or reads.

use std::collections::BTreeMap;

use super::ContainerMetadata;

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct VersionRequest {
    #[prost(string, tag = "1")]
    pub(in crate::cri) version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct VersionResponse {
    #[prost(string, tag = "1")]
    pub(in crate::cri) version: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) runtime_version: String,
    #[prost(string, tag = "4")]
    pub(in crate::cri) runtime_api_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct NetworkConfig {
    #[prost(string, tag = "1")]
    pub(in crate::cri) pod_cidr: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct RuntimeConfig {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) network_config: Option<NetworkConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct UpdateRuntimeConfigRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) runtime_config: Option<RuntimeConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct RuntimeCondition {
    #[prost(string, tag = "1")]
    pub(in crate::cri) kind: String,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) status: bool,
    #[prost(string, tag = "3")]
    pub(in crate::cri) reason: String,
    #[prost(string, tag = "4")]
    pub(in crate::cri) message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct StatusRequest {
    #[prost(bool, tag = "1")]
    pub(in crate::cri) verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(in crate::cri) info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct UInt64Value {
    #[prost(uint64, tag = "1")]
    pub(in crate::cri) value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListContainerStatsRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) filter: Option<ContainerStatsFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerStatsFilter {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) pod_sandbox_id: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(in crate::cri) label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerAttributes {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) metadata: Option<ContainerMetadata>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(in crate::cri) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct CpuUsage {
    #[prost(int64, tag = "1")]
    pub(in crate::cri) timestamp: i64,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) usage_core_nano_seconds: Option<UInt64Value>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) usage_nano_cores: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct MemoryUsage {
    #[prost(int64, tag = "1")]
    pub(in crate::cri) timestamp: i64,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) working_set_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) available_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) usage_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = "5")]
    pub(in crate::cri) rss_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = "6")]
    pub(in crate::cri) page_faults: Option<UInt64Value>,
    #[prost(message, optional, tag = "7")]
    pub(in crate::cri) major_page_faults: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct FilesystemIdentifier {
    #[prost(string, tag = "1")]
    pub(in crate::cri) mountpoint: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct FilesystemUsage {
    #[prost(int64, tag = "1")]
    pub(in crate::cri) timestamp: i64,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) fs_id: Option<FilesystemIdentifier>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) used_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) inodes_used: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerStats {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) attributes: Option<ContainerAttributes>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) cpu: Option<CpuUsage>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) memory: Option<MemoryUsage>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::cri) writable_layer: Option<FilesystemUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListContainerStatsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) stats: Vec<ContainerStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) image_filesystems: Vec<FilesystemUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ContainerEvent {
    #[prost(string, tag = "1")]
    pub(in crate::cri) container_id: String,
    #[prost(int32, tag = "2")]
    pub(in crate::cri) container_event_type: i32,
    #[prost(int64, tag = "3")]
    pub(in crate::cri) created_at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    pub(in crate::cri) filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Envelope {
    #[prost(string, tag = "2")]
    pub(in crate::cri) namespace: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) topic: String,
}
