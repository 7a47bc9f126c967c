//! The messages of the CRI (API reference: `runtime.v1`, k8s.io/cri-api) that the agent sends or reads.
//!
//! Promise: field numbers are the protocol's; a field that the agent neither sets nor reads is left out, which
//! protobuf allows. Requests that carry nothing but one id share a struct, as their encodings are equal.
//! `SubscribeRequest` and `Envelope` belong to containerd's own events service.

mod containers;
mod images;
mod machine;
mod pods;

pub(super) use containers::*;
pub(super) use images::*;
pub(super) use machine::*;
pub(super) use pods::*;

/// `NamespaceMode`.
pub(super) const NAMESPACE_POD: i32 = 0;
pub(super) const NAMESPACE_CONTAINER: i32 = 1;
pub(super) const NAMESPACE_NODE: i32 = 2;
pub(super) const NAMESPACE_TARGET: i32 = 3;

/// `PodSandboxState`.
pub(super) const SANDBOX_READY: i32 = 0;

/// `ContainerState`.
pub(super) const CONTAINER_CREATED: i32 = 0;
pub(super) const CONTAINER_RUNNING: i32 = 1;
pub(super) const CONTAINER_EXITED: i32 = 2;

/// `SecurityProfile.ProfileType`.
pub(super) const PROFILE_RUNTIME_DEFAULT: i32 = 0;
pub(super) const PROFILE_UNCONFINED: i32 = 1;
pub(super) const PROFILE_LOCALHOST: i32 = 2;
