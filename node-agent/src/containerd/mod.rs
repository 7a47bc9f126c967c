//! A private containerd: its files, its process, our sandbox image in it.
//!
//! Promise: after `Containerd::start` the returned endpoint answers CRI calls and runs pods without a registry.
//! The process outlives ours (kill -9 of the control plane leaves every container running) and the next start
//! adopts it; it is started again when it dies; `stop` ends every pod, every shim and the process itself, and
//! keeps images and state so that a later start finds them. Everything lives under one directory, but for the
//! socket when the directory's name is too long for one.

mod addresses;
mod bridge;
mod files;
pub mod pause;

pub use addresses::{keep_pod_cidr, pod_cidr};

use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use component::tasks::Tasks;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{info, warn};

use crate::addresses::Cidr;
use crate::cri::{CriError, CriRuntime};
use crate::runtime::{Runtime, RuntimeError};

/// How long containerd may take to answer after its start. It needs 0.1 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long an adopted process may take to answer before it is killed and replaced.
const ADOPT_LIMIT: Duration = Duration::from_secs(5);

/// How long containerd may take to end after SIGTERM before it gets SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two looks at a starting or ending process.
const POLL: Duration = Duration::from_millis(20);

/// Pause between two looks at a running process.
const WATCH: Duration = Duration::from_secs(2);

/// What the private containerd is to be like.
#[derive(Clone, Debug)]
pub struct ContainerdConfig {
    /// Everything is kept below it.
    pub dir: PathBuf,
    /// Addresses of pods, e.g. `10.244.0.0/24`.
    pub pod_cidr: String,
    /// Name of the bridge that pods are joined by; made from `dir` when absent. It takes `pod_cidr`'s first address.
    pub bridge: Option<String>,
}

/// A running private containerd. Cheap to clone; `stop` is for the one that owns the machine's pods.
#[derive(Clone, Debug)]
pub struct Containerd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: files::Files,
    bridge: String,
    /// Set by `stop`: the process is not started again.
    stopped: AtomicBool,
}

/// Why the private containerd does not run.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    #[error("program {program} is not installed: apt-get install -y {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("running containers needs root: start as root, or use --simulated-nodes")]
    NotRoot,
    #[error("no sandbox program for machine type {0}")]
    Machine(&'static str),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot start containerd")]
    Spawn(#[source] std::io::Error),
    #[error("containerd does not answer on {socket}; its last words, from {log}:\n{tail}")]
    Silent { socket: PathBuf, log: PathBuf, tail: String },
    #[error("not an address of containerd")]
    Endpoint(#[from] CriError),
    #[error("containerd refuses a call")]
    Call(#[from] RuntimeError),
    #[error("cannot make the pods' bridge {bridge}")]
    Bridge { bridge: String, source: crate::netlink::Error },
    #[error("{0:?} is no range of pod addresses")]
    PodCidr(String),
    #[error("cannot import image archive {archive}: {output}")]
    Import { archive: PathBuf, output: String },
}

impl Containerd {
    /// Writes the files, starts or adopts the process, imports the sandbox image, keeps the process alive until
    /// `tasks` stops. Stopping the tasks leaves containerd and its pods running; see [`Containerd::stop`].
    pub async fn start(config: ContainerdConfig, tasks: &Tasks) -> Result<Self, ContainerdError> {
        check_machine()?;
        let bridge = config.bridge.clone().unwrap_or_else(|| files::bridge_name(&config.dir));
        let files = files::Files::new(&config.dir);
        files.write(&config.pod_cidr, &bridge)?;
        make_bridge(&bridge, &config.pod_cidr)?;
        let this = Self { inner: Arc::new(Inner { files, bridge, stopped: AtomicBool::new(false) }) };
        if !this.adopt().await {
            this.spawn().await?;
        }
        this.provide_pause_image().await?;
        let keeper = this.clone();
        let stopping = tasks.clone();
        tasks.spawn("containerd", async move {
            tokio::select! {
                () = keeper.keep_alive() => {}
                () = stopping.stopping() => {}
            }
        });
        Ok(this)
    }

    /// Where the agent finds it: `unix:///...`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.inner.files.socket.display())
    }

    /// Loads a docker or OCI archive into the image store, as `ctr images import` does.
    pub async fn import(&self, archive: &Path) -> Result<(), ContainerdError> {
        let output = tokio::process::Command::new("ctr")
            .arg("--address")
            .arg(&self.inner.files.socket)
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(ContainerdError::Spawn)?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ContainerdError::Import { archive: archive.to_owned(), output })
    }

    /// Ends every pod of this containerd, then containerd, then takes its bridge away.
    pub async fn stop(&self) -> Result<(), ContainerdError> {
        self.inner.stopped.store(true, Ordering::Relaxed);
        let cri = CriRuntime::connect(&self.endpoint())?;
        for sandbox in cri.list(None).await?.sandboxes {
            if let Err(error) = cri.stop_sandbox(&sandbox.id).await {
                warn!(sandbox = sandbox.id, error = %error, "cannot stop sandbox");
            }
        }
        let Some(pid) = self.inner.files.running_pid() else { return Ok(()) };
        let pid = Pid::from_raw(pid);
        // Only a process that is gone already refuses the signal.
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        while self.inner.files.running_pid().is_some() {
            if tokio::time::Instant::now() > deadline {
                let _ = kill(pid, Signal::SIGKILL);
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        self.inner.files.forget_pid();
        if let Err(error) = bridge::remove(&self.inner.bridge) {
            // A bridge without ports is of no use; a failure only leaves it behind.
            warn!(bridge = self.inner.bridge, error = %error, "cannot remove bridge");
        }
        info!("containerd stopped");
        Ok(())
    }

    /// True when a process that an earlier run started still serves.
    async fn adopt(&self) -> bool {
        let Some(pid) = self.inner.files.running_pid() else { return false };
        if self.answers_within(ADOPT_LIMIT).await {
            info!(pid, "adopted the running containerd");
            return true;
        }
        warn!(pid, "containerd runs but does not answer; it is replaced");
        // Its shims and containers stay; the new process finds them in its state directory.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        while self.inner.files.running_pid().is_some() {
            tokio::time::sleep(POLL).await;
        }
        false
    }

    async fn spawn(&self) -> Result<(), ContainerdError> {
        let files = &self.inner.files;
        let log = open_log(&files.log)?;
        let stderr = log.try_clone().map_err(ContainerdError::Spawn)?;
        let mut command = std::process::Command::new("containerd");
        command.arg("--config").arg(&files.config).stdin(Stdio::null()).stdout(log).stderr(stderr);
        // Its own process group: ctrl-C in our terminal is for us, we decide what becomes of the pods.
        command.process_group(0);
        let mut child = command.spawn().map_err(ContainerdError::Spawn)?;
        files.remember_pid(child.id())?;
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            if self.answers_within(POLL).await {
                info!(pid = child.id(), "containerd started");
                // Somebody has to collect its exit status; the thread sleeps in waitpid.
                std::thread::spawn(move || child.wait());
                return Ok(());
            }
            let ended = matches!(child.try_wait(), Ok(Some(_)));
            if ended || tokio::time::Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ContainerdError::Silent {
                    socket: files.socket.clone(),
                    log: files.log.clone(),
                    tail: files.log_tail(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn answers_within(&self, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Ok(cri) = CriRuntime::connect(&self.endpoint())
                && let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), cri.version()).await
            {
                return true;
            }
            if tokio::time::Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn keep_alive(&self) {
        let mut wait = WATCH;
        loop {
            tokio::time::sleep(wait).await;
            if self.inner.stopped.load(Ordering::Relaxed) {
                return;
            }
            if self.inner.files.running_pid().is_some() {
                wait = WATCH;
                continue;
            }
            warn!("containerd ended; starting it again");
            wait = match self.spawn().await {
                Ok(()) => WATCH,
                Err(error) => {
                    warn!(error = %error, "containerd does not start");
                    (wait * 2).min(Duration::from_secs(60))
                }
            };
        }
    }

    async fn provide_pause_image(&self) -> Result<(), ContainerdError> {
        let cri = CriRuntime::connect(&self.endpoint())?;
        if cri.image(pause::REFERENCE).await?.is_some() {
            return Ok(());
        }
        let machine = pause::Machine::this().ok_or(ContainerdError::Machine(std::env::consts::ARCH))?;
        let path = self.inner.files.pause_archive.clone();
        pause::archive(machine)
            .and_then(|bytes| std::fs::write(&path, bytes))
            .map_err(|source| ContainerdError::Write { path: path.clone(), source })?;
        self.import(&path).await?;
        // The CRI plugin learns of the image by an event.
        for _ in 0..250 {
            if cri.image(pause::REFERENCE).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(ContainerdError::Import {
            archive: path,
            output: "the image does not appear in the store".into(),
        })
    }
}

fn check_machine() -> Result<(), ContainerdError> {
    for (program, package) in [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc")] {
        if files::program(program).is_none() {
            return Err(ContainerdError::Missing { program, package });
        }
    }
    if !Path::new(files::CNI_PROGRAMS).join("bridge").exists() {
        return Err(ContainerdError::Missing {
            program: "bridge (CNI)",
            package: "containernetworking-plugins",
        });
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(ContainerdError::NotRoot);
    }
    Ok(())
}

fn open_log(path: &Path) -> Result<File, ContainerdError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| ContainerdError::Write { path: path.to_owned(), source })
}

fn make_bridge(name: &str, pod_cidr: &str) -> Result<(), ContainerdError> {
    let range: Option<Cidr> = pod_cidr.parse().ok();
    let (Some(range), Some(address)) = (range, gateway(pod_cidr)) else {
        return Err(ContainerdError::PodCidr(pod_cidr.to_owned()));
    };
    bridge::make(name, address, range.prefix())
        .map_err(|source| ContainerdError::Bridge { bridge: name.to_owned(), source })
}

/// The first address of a pod CIDR, which the bridge takes: pods reach the node by it.
pub fn gateway(pod_cidr: &str) -> Option<IpAddr> {
    let (address, _) = pod_cidr.split_once('/')?;
    match address.parse().ok()? {
        IpAddr::V4(v4) => Some(IpAddr::V4((u32::from(v4) + 1).into())),
        IpAddr::V6(v6) => Some(IpAddr::V6((u128::from(v6) + 1).into())),
    }
}
