//! Images and how they are pulled.
//!
//! Promise: as `messages`: only the fields that the agent sets or reads.

use std::collections::BTreeMap;

use super::{Int64Value, PodSandboxConfig};

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ImageSpec {
    #[prost(string, tag = "1")]
    pub(in crate::cri) image: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(in crate::cri) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct Image {
    #[prost(string, tag = "1")]
    pub(in crate::cri) id: String,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::cri) repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(in crate::cri) repo_digests: Vec<String>,
    #[prost(uint64, tag = "4")]
    pub(in crate::cri) size: u64,
    #[prost(message, optional, tag = "5")]
    pub(in crate::cri) uid: Option<Int64Value>,
    #[prost(string, tag = "6")]
    pub(in crate::cri) username: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ImageFilter {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListImagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) filter: Option<ImageFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::cri) images: Vec<Image>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) image: Option<ImageSpec>,
    #[prost(bool, tag = "2")]
    pub(in crate::cri) verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) image: Option<Image>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct AuthConfig {
    #[prost(string, tag = "1")]
    pub(in crate::cri) username: String,
    #[prost(string, tag = "2")]
    pub(in crate::cri) password: String,
    #[prost(string, tag = "3")]
    pub(in crate::cri) auth: String,
    #[prost(string, tag = "4")]
    pub(in crate::cri) server_address: String,
    #[prost(string, tag = "5")]
    pub(in crate::cri) identity_token: String,
    #[prost(string, tag = "6")]
    pub(in crate::cri) registry_token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::cri) image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::cri) auth: Option<AuthConfig>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::cri) sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::cri) struct PullImageResponse {
    #[prost(string, tag = "1")]
    pub(in crate::cri) image_ref: String,
}
