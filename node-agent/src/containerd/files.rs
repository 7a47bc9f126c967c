//! The files of the private containerd: configuration, CNI network list, pid file.
//!
//! Promise: `write` gives the same files for the same arguments; nothing else below the directory is touched.
//! A pid counts as running only while its command line names our configuration file, so a recycled pid is
//! never taken for containerd.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ContainerdError, pause};
use crate::masquerade;

/// Where Debian's containernetworking-plugins puts its programs.
pub(super) const CNI_PROGRAMS: &str = "/usr/lib/cni";

/// A unix socket's path has room for 107 bytes; containerd appends `.ttrpc` to it for a second one.
const SOCKET_PATH_BYTES: usize = 100;

/// Bytes of the log that an error message shows.
const LOG_TAIL_BYTES: usize = 2000;

/// Number of CAP_SYS_RESOURCE in the capability sets: without it `oom_score_adj` cannot be lowered.
const CAP_SYS_RESOURCE: u32 = 24;

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
    pub(super) pause_archive: PathBuf,
    pid: PathBuf,
    cni: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let near = dir.join("containerd.sock");
        let socket = if near.as_os_str().len() <= SOCKET_PATH_BYTES {
            near
        } else {
            PathBuf::from(format!("/run/steersman/{}/containerd.sock", short_hash(&dir)))
        };
        Self {
            config: dir.join("containerd.toml"),
            log: dir.join("containerd.log"),
            pid: dir.join("containerd.pid"),
            cni: dir.join("cni"),
            pause_archive: dir.join("pause.tar"),
            socket,
            dir,
        }
    }

    pub(super) fn write(&self, pod_cidr: &str, bridge: &str) -> Result<(), ContainerdError> {
        for dir in [&self.dir, &self.cni, &self.dir.join("root"), &self.dir.join("state")] {
            create_dir(dir)?;
        }
        if let Some(parent) = self.socket.parent() {
            create_dir(parent)?;
        }
        write(&self.config, &self.containerd_config())?;
        write(&self.cni.join("10-steersman.conflist"), &self.network_list(pod_cidr, bridge))
    }

    /// The pid of our containerd, if it runs.
    pub(super) fn running_pid(&self) -> Option<i32> {
        let pid: i32 = std::fs::read_to_string(&self.pid).ok()?.trim().parse().ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.config.as_os_str().as_encoded_bytes();
        command.split(|byte| *byte == 0).any(|argument| argument == config).then_some(pid)
    }

    pub(super) fn remember_pid(&self, pid: u32) -> Result<(), ContainerdError> {
        write(&self.pid, &pid.to_string())
    }

    pub(super) fn forget_pid(&self) {
        // A left-over file is harmless: `running_pid` looks at the process.
        let _ = std::fs::remove_file(&self.pid);
    }

    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    fn containerd_config(&self) -> String {
        let dir = self.dir.display();
        // overlayfs on most machines; where the kernel lacks it, plain copies.
        let snapshotter = if kernel_has_overlay() { "overlayfs" } else { "native" };
        format!(
            r#"# Written at each start: changes are lost.
version = 2
root = "{dir}/root"
state = "{dir}/state"

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = {restrict}
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{cni}"
"#,
            socket = self.socket.display(),
            image = pause::REFERENCE,
            restrict = !has_capability(CAP_SYS_RESOURCE),
            cni = self.cni.display(),
        )
    }

    fn network_list(&self, pod_cidr: &str, bridge: &str) -> String {
        let everywhere = if pod_cidr.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let list = serde_json::json!({
            "cniVersion": "0.4.0",
            "name": "steersman",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": bridge,
                    "isGateway": true,
                    // The plugin runs iptables for it, and only where the agent cannot do it. Without that program
                    // pods still reach each other.
                    "ipMasq": !masquerade::is_possible() && program("iptables").is_some(),
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{ "subnet": pod_cidr }]],
                        "routes": [{ "dst": everywhere }],
                        "dataDir": self.dir.join("ipam"),
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        format!("{list:#}\n")
    }
}

/// One bridge a directory: interface names have room for 15 bytes.
pub(super) fn bridge_name(dir: &Path) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    format!("steer{}", &short_hash(&dir)[..8])
}

/// Where `PATH` has a program.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn short_hash(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kernel_has_overlay() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay"))
}

fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> number & 1 == 1)
}

fn create_dir(path: &Path) -> Result<(), ContainerdError> {
    std::fs::create_dir_all(path).map_err(|source| ContainerdError::Write { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), ContainerdError> {
    std::fs::write(path, text).map_err(|source| ContainerdError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_taken_for_containerd() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        assert_eq!(files.running_pid(), None);
        files.remember_pid(std::process::id()).unwrap();
        assert_eq!(files.running_pid(), None);
    }

    #[test]
    fn a_long_directory_gets_a_short_socket() {
        let long = Path::new("/tmp").join("x".repeat(120));
        assert!(Files::new(&long).socket.as_os_str().len() <= SOCKET_PATH_BYTES);
        assert!(Files::new(Path::new("/tmp/a")).socket.starts_with("/tmp/a"));
        assert!(bridge_name(&long).len() <= 15);
    }

    #[test]
    fn network_list_is_json_with_the_pod_cidr() {
        let list = Files::new(Path::new("/tmp/a")).network_list("10.1.0.0/24", "br0");
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.1.0.0/24");
    }
}
