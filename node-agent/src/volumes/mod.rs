//! Volumes of pods on this node.
//!
//! Promise: `mount` makes every volume of a pod be there with its right content and may be called again at any time
//! (it brings config maps, secrets, downward fields and tokens up to date); `tear_down` takes all of it away, with
//! mounts that an earlier run made. Everything lies below `<root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>`,
//! upstream's layout. Secrets and tokens lie in memory (tmpfs). Reads the API, writes files.

mod atomic;
mod content;
mod objects;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use component::clock::Clock;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::containers::downward::Context;
use crate::pods::reference;
use atomic::Files;
pub(crate) use objects::Objects;

/// Why a volume is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    SetUp { volume: String, reason: String },
}

/// The node's volumes.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    objects: Arc<Objects>,
    clock: Clock,
}

impl Volumes {
    pub(crate) fn new(root: &Path, client: Client, clock: Clock) -> Self {
        let objects = Arc::new(Objects::new(client, clock.clone()));
        Self { root: root.to_owned(), objects, clock }
    }

    /// What the API holds, as volumes and environments see it.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Directory of one pod's things.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// Makes all volumes of a pod be there; gives where, by name.
    pub(crate) async fn mount(
        &self,
        pod: &core::Pod,
        context: &Context,
    ) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
        let Some(spec) = &pod.spec else { return Ok(BTreeMap::new()) };
        let group = spec.security_context.as_ref().and_then(|security| security.fs_group);
        let mut paths = BTreeMap::new();
        for volume in spec.volumes.iter().flatten() {
            let path = self.mount_one(pod, volume, group, context).await;
            let failed = |reason| VolumeError::SetUp { volume: volume.name.clone(), reason };
            paths.insert(volume.name.clone(), path.map_err(failed)?);
        }
        Ok(paths)
    }

    /// Where the volumes of a pod are, without touching them.
    pub(crate) fn paths(&self, pod: &core::Pod) -> BTreeMap<String, PathBuf> {
        let uid = reference(&pod.metadata).uid;
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.map(|volume| (volume.name.clone(), self.path(&uid, volume))).collect()
    }

    /// Unmounts and removes everything of a pod.
    pub(crate) fn tear_down(&self, uid: &str) -> std::io::Result<()> {
        let dir = self.pod_dir(uid);
        for mounted in mounts_below(&dir) {
            if let Err(error) = umount2(&mounted, MntFlags::MNT_DETACH) {
                tracing::warn!(path = %mounted.display(), error = %error, "cannot unmount");
            }
        }
        self.objects.forget(uid);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Uids of pods that have something on disk.
    pub(crate) fn known_pods(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("pods")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn path(&self, uid: &str, volume: &core::Volume) -> PathBuf {
        match &volume.host_path {
            Some(host) => PathBuf::from(&host.path),
            None => {
                let plugin = format!("kubernetes.io~{}", plugin(volume));
                self.pod_dir(uid).join("volumes").join(plugin).join(&volume.name)
            }
        }
    }

    async fn mount_one(
        &self,
        pod: &core::Pod,
        volume: &core::Volume,
        group: Option<i64>,
        context: &Context,
    ) -> Result<PathBuf, String> {
        let of = reference(&pod.metadata);
        let path = self.path(&of.uid, volume);
        if let Some(host) = &volume.host_path {
            host_path(Path::new(&host.path), host.type_.as_deref().unwrap_or_default())?;
            return Ok(path);
        }
        if let Some(empty) = &volume.empty_dir {
            empty_dir(&path, empty, group).map_err(|error| error.to_string())?;
            return Ok(path);
        }
        let in_memory = volume.secret.is_some() || volume.projected.is_some();
        let files = self.files(pod, volume, context).await?;
        if in_memory {
            ensure_tmpfs(&path, None).map_err(|error| error.to_string())?;
        }
        atomic::write(&path, &files, self.clock.now()).map_err(|error| error.to_string())?;
        if let Some(group) = group {
            give_to_group(&path, group).map_err(|error| error.to_string())?;
        }
        Ok(path)
    }

    /// The content of a volume that shows API data.
    async fn files(
        &self,
        pod: &core::Pod,
        volume: &core::Volume,
        context: &Context,
    ) -> Result<Files, String> {
        let of = reference(&pod.metadata);
        if let Some(source) = &volume.config_map {
            let optional = source.optional == Some(true);
            return self
                .config_map(&of.namespace, &source.name, source.items.as_ref(), source.default_mode, optional)
                .await;
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let optional = source.optional == Some(true);
            return self
                .secret(&of.namespace, name, source.items.as_ref(), source.default_mode, optional)
                .await;
        }
        if let Some(source) = &volume.downward_api {
            return content::downward(pod, source.items.as_ref(), source.default_mode, context);
        }
        if let Some(source) = &volume.projected {
            return self.projected(pod, source, context).await;
        }
        Err(format!("no volume plugin matched for {}", plugin(volume)))
    }

    async fn projected(
        &self,
        pod: &core::Pod,
        volume: &core::ProjectedVolumeSource,
        context: &Context,
    ) -> Result<Files, String> {
        let of = reference(&pod.metadata);
        let mode = volume.default_mode;
        let mut files = Files::new();
        for source in volume.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                files.extend(
                    self.config_map(&of.namespace, &map.name, map.items.as_ref(), mode, optional).await?,
                );
            }
            if let Some(secret) = &source.secret {
                let optional = secret.optional == Some(true);
                files.extend(
                    self.secret(&of.namespace, &secret.name, secret.items.as_ref(), mode, optional).await?,
                );
            }
            if let Some(downward) = &source.downward_api {
                files.extend(content::downward(pod, downward.items.as_ref(), mode, context)?);
            }
            if let Some(token) = &source.service_account_token
                && let Some(text) = self.objects.token(pod, token).await?
            {
                // Upstream: readable by the group when the pod has one, else by the owner only.
                let mode = mode.unwrap_or(0o644) as u32;
                files.insert(token.path.clone(), atomic::Payload { bytes: text.into_bytes(), mode });
            }
        }
        Ok(files)
    }

    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        items: Option<&Vec<core::KeyToPath>>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let map = self.objects.config_map(namespace, name).await?;
        let data = map.as_ref().map(content::config_map_data);
        content::keys(data.as_ref(), items, mode, optional, &format!("configmap \"{name}\""))
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
        items: Option<&Vec<core::KeyToPath>>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let secret = self.objects.secret(namespace, name).await?;
        let data = secret.as_ref().map(content::secret_data);
        content::keys(data.as_ref(), items, mode, optional, &format!("secret \"{name}\""))
    }
}

/// True when the content of a pod's volumes may change while it runs.
pub(crate) fn may_change(spec: &core::PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
    })
}

/// Upstream's name of the volume's plugin.
fn plugin(volume: &core::Volume) -> &'static str {
    if volume.empty_dir.is_some() {
        "empty-dir"
    } else if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.projected.is_some() {
        "projected"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else if volume.persistent_volume_claim.is_some() {
        "persistent-volume-claim"
    } else {
        "unsupported"
    }
}

fn empty_dir(path: &Path, source: &core::EmptyDirVolumeSource, group: Option<i64>) -> std::io::Result<()> {
    if source.medium.as_deref() == Some("Memory") {
        let limit = source
            .size_limit
            .as_ref()
            .and_then(|limit| limit.0.parse::<::objects::quantity::Quantity>().ok());
        ensure_tmpfs(path, limit.map(::objects::quantity::Quantity::value))?;
    }
    std::fs::create_dir_all(path)?;
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    match group {
        Some(group) => chown(path, None, Some(group as u32)),
        None => Ok(()),
    }
}

/// Checks, or makes, what a hostPath's type asks for.
fn host_path(path: &Path, kind: &str) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let made = match kind {
        "DirectoryOrCreate" => std::fs::create_dir_all(path),
        "FileOrCreate" if !path.exists() => std::fs::write(path, b""),
        _ => Ok(()),
    };
    made.map_err(|error| error.to_string())?;
    let is =
        |test: fn(&std::fs::FileType) -> bool| std::fs::metadata(path).is_ok_and(|m| test(&m.file_type()));
    let (fits, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(std::fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(std::fs::FileType::is_file), "file"),
        "Socket" => (is(FileTypeExt::is_socket), "socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "block device"),
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {what}", path.display())) }
}

/// Mounts a tmpfs at `path` unless one is there.
fn ensure_tmpfs(path: &Path, bytes: Option<i64>) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    let path = path.canonicalize()?;
    if mounts_below(&path).contains(&path) {
        return Ok(());
    }
    let options = bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("size={bytes}"));
    mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), options.as_deref())
        .map_err(std::io::Error::from)
}

/// fsGroup: the group owns the files and may read them.
fn give_to_group(path: &Path, group: i64) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    chown(path, None, Some(group as u32))?;
    let mode = metadata.permissions().mode();
    let wanted = if metadata.is_dir() { mode | 0o2070 } else { mode | 0o040 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted & 0o7777))?;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to_group(&entry?.path(), group)?;
        }
    }
    Ok(())
}

/// Mount points at or below a directory, the deepest first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<PathBuf> = points
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(&dir))
        .collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_are_checked_by_type() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        assert!(host_path(&file, "File").is_err());
        assert!(host_path(&file, "").is_ok());
        host_path(&file, "FileOrCreate").unwrap();
        assert!(host_path(&file, "Directory").unwrap_err().contains("is not a directory"));
        host_path(&dir.path().join("a/b"), "DirectoryOrCreate").unwrap();
        assert!(dir.path().join("a/b").is_dir());
    }
}
