//! The cgroup of a pod, below which the runtime makes those of its containers.
//!
//! Promise: `kubepods[/burstable|/besteffort]/pod<uid>`, upstream's cgroupfs layout, with the pod's CPU weight and
//! limits; works on v1 hierarchies and on v2. Writes only below the cgroup file system; a controller that is not
//! there is left out. Removing needs no process to be left.

use std::path::{Path, PathBuf};

use super::qos;
use crate::runtime::config::Resources;

const MOUNT: &str = "/sys/fs/cgroup";

/// Path of a pod's cgroup below each hierarchy.
pub(crate) fn path(root: &str, class: &str, uid: &str) -> String {
    let root = root.trim_end_matches('/');
    match class {
        qos::GUARANTEED => format!("{root}/kubepods/pod{uid}"),
        class => format!("{root}/kubepods/{}/pod{uid}", class.to_ascii_lowercase()),
    }
}

/// Makes a pod's cgroup and sets its values. Best effort: without it the containers' own limits still hold.
pub(crate) fn create(path: &str, values: &Resources) {
    let path = path.trim_start_matches('/');
    if is_unified() {
        create_v2(path, values);
        return;
    }
    write(&["cpu", "cpu,cpuacct"], path, "cpu.shares", values.cpu_shares.to_string());
    if let Some(quota) = values.cpu_quota {
        write(&["cpu", "cpu,cpuacct"], path, "cpu.cfs_period_us", values.cpu_period.to_string());
        write(&["cpu", "cpu,cpuacct"], path, "cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(bytes) = values.memory_bytes {
        write(&["memory"], path, "memory.limit_in_bytes", bytes.to_string());
    }
}

/// Removes a pod's cgroup from every hierarchy, with what the runtime left in it.
pub(crate) fn remove(path: &str) {
    let path = path.trim_start_matches('/');
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(path));
    }
}

fn create_v2(path: &str, values: &Resources) {
    let mut dir = PathBuf::from(MOUNT);
    for part in path.split('/') {
        // Controllers have to be handed down level by level.
        let _ = std::fs::write(dir.join("cgroup.subtree_control"), "+cpu +memory +pids");
        dir.push(part);
        if std::fs::create_dir_all(&dir).is_err() {
            return;
        }
    }
    // The formula of runc: shares 2..262144 to weight 1..10000.
    let weight = 1 + (values.cpu_shares - 2) * 9999 / 262_142;
    let _ = std::fs::write(dir.join("cpu.weight"), weight.to_string());
    if let Some(quota) = values.cpu_quota {
        let _ = std::fs::write(dir.join("cpu.max"), format!("{quota} {}", values.cpu_period));
    }
    if let Some(bytes) = values.memory_bytes {
        let _ = std::fs::write(dir.join("memory.max"), bytes.to_string());
    }
}

fn write(controllers: &[&str], path: &str, file: &str, value: String) {
    let Some(hierarchy) = controllers.iter().map(|name| Path::new(MOUNT).join(name)).find(|dir| dir.is_dir())
    else {
        return;
    };
    let dir = hierarchy.join(path);
    if let Err(error) = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join(file), value)) {
        tracing::debug!(cgroup = %dir.display(), file, error = %error, "cannot set cgroup value");
    }
}

fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

fn hierarchies() -> Vec<PathBuf> {
    if is_unified() {
        return vec![PathBuf::from(MOUNT)];
    }
    let entries = std::fs::read_dir(MOUNT).into_iter().flatten().flatten();
    // Links such as cpu -> cpu,cpuacct name the same hierarchy twice.
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Fails while a process is left, and where it does not exist: both are fine.
    let _ = std::fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_upstreams() {
        assert_eq!(path("/", qos::GUARANTEED, "u"), "/kubepods/podu");
        assert_eq!(path("/x", qos::BEST_EFFORT, "u"), "/x/kubepods/besteffort/podu");
    }
}
