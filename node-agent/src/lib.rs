//! The node agent: the kubelet's counterpart. It makes the pods that the cluster assigned to this node real.
//!
//! Promise: everything it learns comes from the standard API and from the container runtime, so it runs against any
//! API server; what runs is what the runtime says, never what the agent remembers, so it may be killed at any moment.
//! It writes its Node, its Lease, the status of its pods and events, and deletes pods that are really gone.

mod addresses;
mod agent;
mod alone;
mod args;
mod config;
pub mod containerd;
mod containers;
mod cri;
mod masquerade;
pub mod netlink;
mod nftables;
mod node;
mod pace;
mod pods;
pub mod policy;
mod probes;
pub mod proxy;
mod routes;
mod runtime;
mod serve;
mod services;
mod volumes;

pub use agent::{AgentError, run};
pub use args::{Args, Part, command, host_name};
pub use config::{
    CertificateAndKey, Config, KUBELET_PORT, MAX_PODS, PodNetwork, ResolvConf, RuntimeChoice, Serving,
};
pub use cri::CriError;
pub use runtime::RuntimeError;
pub use serve::ServeError;
