//! From a pod's spec to what the runtime is told: sandbox and container configurations.
//!
//! Promise: pure but for what is passed in (values of config maps and secrets, paths of mounted volumes), so each
//! rule of the API reference is a table in a test.

pub(crate) mod cgroups;
pub(crate) mod downward;
pub(crate) mod env;
mod expand;
pub(crate) mod labels;
pub(crate) mod make;
pub(crate) mod network;
pub(crate) mod qos;
pub(crate) mod resolv_conf;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;

use k8s_openapi::api::core::v1 as core;
use rustc_hash::FxHasher;
use std::hash::Hasher;

use crate::pods::Hashes;

/// Hash of what a container was made from; a change means that it has to be made anew. Resource changes are
/// left out: they belong to in-place resize.
#[derive(Debug)]
pub(crate) struct SpecHash;

impl Hashes for SpecHash {
    fn of(&self, container: &core::Container) -> u64 {
        // Upstream hashes name and image only (k/k `HashContainer`, since 1.32): other fields cannot change.
        let mut hasher = FxHasher::default();
        hasher.write(container.name.as_bytes());
        hasher.write_u8(0);
        hasher.write(container.image.as_deref().unwrap_or_default().as_bytes());
        hasher.finish()
    }
}
