//! What the agent asks of a container runtime, in the agent's own words.
//!
//! Promise: pod workers know only this trait, so that the same workers run over the CRI (`cri`) and over the
//! simulated runtime (`simulated`). All calls may be dropped half way: what is true afterwards is what `list`
//! says. Ids are the runtime's; names, attempts and uids come back as they were given.

pub(crate) mod config;
pub(crate) mod simulated;

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::serve::session::{Session, StreamError};
pub(crate) use config::{ContainerConfig, PodRef, SandboxConfig};

/// The answer of a call.
pub(crate) type Reply<'a, T> = BoxFuture<'a, Result<T, RuntimeError>>;

/// A container runtime of one node.
pub(crate) trait Runtime: Send + Sync + Debug + 'static {
    /// Name and version for `node.status.nodeInfo`.
    fn version(&self) -> Reply<'_, RuntimeVersion>;
    /// What keeps the runtime from running pods; empty when it is ready.
    fn problems(&self) -> Reply<'_, Vec<String>>;
    /// Hands over the node's pod CIDR once the cluster has assigned one.
    fn set_pod_cidr<'a>(&'a self, cidr: &'a str) -> Reply<'a, ()>;
    /// False when there are no processes and files behind the containers: no volumes, no probes, no logs.
    fn is_real(&self) -> bool;

    /// Sandboxes and containers of one pod, or of all pods.
    fn list<'a>(&'a self, uid: Option<&'a str>) -> Reply<'a, Listing>;
    /// Tells when a look is worth while. The stream may end; the caller then looks periodically.
    fn hints(&self) -> BoxStream<'_, Hint>;
    /// True when `hints` misses nothing, so that periodic looks may be rare.
    fn hints_are_complete(&self) -> BoxFuture<'_, bool>;

    /// Makes and starts a sandbox; gives its id.
    fn run_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Reply<'a, String>;
    /// Addresses of a sandbox; empty with the host's network.
    fn sandbox_addresses<'a>(&'a self, id: &'a str) -> Reply<'a, Vec<IpAddr>>;
    /// Ends every container of the sandbox and releases its network. No error if it is gone.
    fn stop_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()>;
    /// Forgets the sandbox and its containers. No error if it is gone.
    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()>;

    /// Makes a container (not started) in a sandbox; gives its id.
    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
        sandbox_config: &'a SandboxConfig,
    ) -> Reply<'a, String>;
    fn start_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()>;
    /// Sends the stop signal, after `grace` the kill signal; answers when the process has ended.
    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> Reply<'a, ()>;
    fn remove_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()>;
    /// How a container ended or runs, with everything `list` leaves out.
    fn container_detail<'a>(&'a self, id: &'a str) -> Reply<'a, ContainerDetail>;

    /// Runs a program in a container and collects what it prints.
    fn exec_sync<'a>(&'a self, id: &'a str, command: &'a [String], limit: Duration) -> Reply<'a, Output>;
    /// Runs a program in a container with live streams; ends when the program ends.
    fn exec<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        session: Session,
    ) -> BoxFuture<'a, Result<(), StreamError>>;
    /// Joins the streams of a container's first process.
    fn attach<'a>(&'a self, id: &'a str, session: Session) -> BoxFuture<'a, Result<(), StreamError>>;
    /// The network namespace of a sandbox, as a path that can be entered; `None` is the host's.
    fn network_namespace<'a>(&'a self, sandbox: &'a str) -> Reply<'a, Option<std::path::PathBuf>>;

    /// An image in the local store, by any of its names.
    fn image<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Image>>;
    fn images(&self) -> Reply<'_, Vec<Image>>;
    /// Fetches an image; gives its id.
    fn pull<'a>(&'a self, name: &'a str, login: Option<&'a Login>) -> Reply<'a, String>;

    /// What running containers use.
    fn stats(&self) -> Reply<'_, Vec<ContainerStats>>;
    /// Size and use of the file system that holds images: (used bytes, used inodes).
    fn image_filesystem(&self) -> Reply<'_, (u64, u64)>;
}

/// Why a call failed. The text is the runtime's own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NotFound(String),
    #[error("the runtime does not offer {0}")]
    Unsupported(&'static str),
    #[error("the runtime does not answer: {0}")]
    Unavailable(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeVersion {
    pub name: String,
    pub version: String,
}

/// A reason to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Something of this pod (uid) changed.
    Pod(String),
    /// Something changed.
    Something,
}

/// What exists, newest first within a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sandbox {
    pub id: String,
    pub pod: PodRef,
    pub attempt: u32,
    pub ready: bool,
    pub created: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    pub id: String,
    pub sandbox: String,
    pub pod_uid: String,
    pub name: String,
    pub state: RunState,
    pub created: Timestamp,
    /// Hash of the container's spec when it was made; 0 when it is not ours.
    pub spec_hash: u64,
    /// How often a container of this name was started before this one.
    pub restart_count: i32,
    /// Where it writes its last message and what to do without one.
    pub termination_message: TerminationMessage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    Created,
    Running,
    Exited,
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TerminationMessage {
    /// File on the host, if one was mounted.
    pub host_file: Option<String>,
    pub fall_back_to_logs: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerDetail {
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub image: String,
    pub image_id: String,
    pub log_path: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub id: String,
    pub names: Vec<String>,
    pub bytes: u64,
    /// The user that the image runs as: number or name.
    pub user: ImageUser,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ImageUser {
    #[default]
    Unset,
    Number(i64),
    Name(String),
}

/// Credentials of a registry.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub user: String,
    pub password: String,
    pub server: String,
    pub identity_token: String,
}

impl Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("server", &self.server).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerStats {
    pub pod: PodRef,
    pub container: String,
    pub cpu_nanoseconds: u64,
    pub working_set_bytes: u64,
    pub memory_bytes: u64,
    pub rootfs_bytes: u64,
    pub rootfs_inodes: u64,
    pub at: Timestamp,
}
