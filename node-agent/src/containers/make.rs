//! A container as the runtime is told.
//!
//! Promise: pure: everything that had to be looked up (environment, mounts, image) is passed in. An error is text
//! for CreateContainerConfigError.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1 as core;

use super::env::expand_all;
use super::{SpecHash, labels, resources, sandbox, security};
use crate::pods::{Hashes, reference};
use crate::runtime::Image;
use crate::runtime::config::{ContainerConfig, Mount, Propagation};

/// Default file of the termination message.
pub(crate) const TERMINATION_MESSAGE: &str = "/dev/termination-log";

/// What was looked up for a container.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub restart_count: i32,
    pub image: &'a Image,
    pub env: Vec<(String, String)>,
    /// Where each volume is on the node, by volume name.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    /// `/etc/hosts` on the node, if the agent manages it.
    pub hosts_file: Option<PathBuf>,
    /// File on the node behind the termination message path.
    pub termination_file: Option<PathBuf>,
    pub root_dir: &'a Path,
    pub node_memory: i64,
    /// Container id whose process namespace an ephemeral container joins.
    pub target: Option<String>,
}

pub(crate) fn config(
    pod: &core::Pod,
    container: &core::Container,
    parts: Parts<'_>,
) -> Result<ContainerConfig, String> {
    let spec = pod.spec.as_ref().ok_or("pod has no spec")?;
    let of = reference(&pod.metadata);
    let pod_text = format!("{}_{}({})", of.name, of.namespace, of.uid);
    security::verify_non_root(spec, container, parts.image, &pod_text)?;
    let command = expand_all(container.command.as_ref(), &parts.env);
    let args = expand_all(container.args.as_ref(), &parts.env);
    let termination_path = container.termination_message_path.as_deref().unwrap_or(TERMINATION_MESSAGE);

    let mut mounts = volume_mounts(container, &parts)?;
    if let Some(hosts) = &parts.hosts_file
        && !mounts.iter().any(|mount| mount.container_path == "/etc/hosts")
    {
        mounts.push(file_mount("/etc/hosts", hosts, container));
    }
    if let Some(file) = &parts.termination_file {
        mounts.push(file_mount(termination_path, file, container));
    }
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: parts.restart_count as u32,
        image: parts.image.id.clone(),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts,
        labels: sandbox::pod_labels(&of)
            .into_iter()
            .chain([(labels::CONTAINER_NAME.to_owned(), container.name.clone())])
            .collect(),
        annotations: annotations(spec, container, &parts, termination_path),
        log_path: format!("{}/{}.log", container.name, parts.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        resources: resources::cgroup_values(spec, container, parts.node_memory),
        security: security::container(spec, container, parts.image, parts.root_dir),
        namespaces: sandbox::namespaces(spec),
        target: parts.target,
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.as_deref())
            .map_or(0, signal_number),
        env: parts.env,
    })
}

fn annotations(
    spec: &core::PodSpec,
    container: &core::Container,
    parts: &Parts<'_>,
    termination_path: &str,
) -> BTreeMap<String, String> {
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let grace = spec.termination_grace_period_seconds.unwrap_or(crate::pods::DEFAULT_GRACE);
    let mut annotations: BTreeMap<String, String> = [
        (labels::CONTAINER_HASH, format!("{:x}", SpecHash.of(container))),
        (labels::RESTART_COUNT, parts.restart_count.to_string()),
        (labels::TERMINATION_MESSAGE_PATH, termination_path.to_owned()),
        (labels::TERMINATION_MESSAGE_POLICY, policy.to_owned()),
        (labels::POD_GRACE_PERIOD, grace.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Some(file) = &parts.termination_file {
        annotations.insert(labels::TERMINATION_MESSAGE_HOST_FILE.to_owned(), file.display().to_string());
    }
    annotations
}

fn volume_mounts(container: &core::Container, parts: &Parts<'_>) -> Result<Vec<Mount>, String> {
    container.volume_mounts.iter().flatten().map(|mount| volume_mount(mount, parts)).collect()
}

fn volume_mount(mount: &core::VolumeMount, parts: &Parts<'_>) -> Result<Mount, String> {
    let volume =
        parts.volumes.get(&mount.name).ok_or_else(|| format!("volume {} is not mounted", mount.name))?;
    let sub_path = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expression), _) if !expression.is_empty() => {
            expand_all(Some(&vec![expression.clone()]), &parts.env).remove(0)
        }
        (_, Some(path)) => path.clone(),
        _ => String::new(),
    };
    let inside = Path::new(&sub_path);
    if inside.is_absolute() || inside.components().any(|part| part == Component::ParentDir) {
        return Err(format!("subPath \"{sub_path}\" must be a relative path without '..'"));
    }
    Ok(Mount {
        container_path: mount.mount_path.clone(),
        host_path: if sub_path.is_empty() { volume.clone() } else { volume.join(inside) },
        read_only: mount.read_only.unwrap_or(false),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
    })
}

fn file_mount(container_path: &str, host_path: &Path, container: &core::Container) -> Mount {
    let read_only_root = container.security_context.as_ref().and_then(|own| own.read_only_root_filesystem);
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_owned(),
        // Upstream makes the hosts file read-only with the root file system; a termination message must stay writable.
        read_only: read_only_root == Some(true) && container_path == "/etc/hosts",
        propagation: Propagation::Private,
    }
}

/// CRI's number of a signal's name: the names in alphabetical order, as the API's `stopSignal` lists them.
fn signal_number(name: &str) -> i32 {
    const NAMES: [&str; 65] = [
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGRTMIN",
        "SIGRTMIN+1",
        "SIGRTMIN+2",
        "SIGRTMIN+3",
        "SIGRTMIN+4",
        "SIGRTMIN+5",
        "SIGRTMIN+6",
        "SIGRTMIN+7",
        "SIGRTMIN+8",
        "SIGRTMIN+9",
        "SIGRTMIN+10",
        "SIGRTMIN+11",
        "SIGRTMIN+12",
        "SIGRTMIN+13",
        "SIGRTMIN+14",
        "SIGRTMIN+15",
        "SIGRTMAX-14",
        "SIGRTMAX-13",
        "SIGRTMAX-12",
        "SIGRTMAX-11",
        "SIGRTMAX-10",
        "SIGRTMAX-9",
        "SIGRTMAX-8",
        "SIGRTMAX-7",
        "SIGRTMAX-6",
        "SIGRTMAX-5",
        "SIGRTMAX-4",
        "SIGRTMAX-3",
        "SIGRTMAX-2",
        "SIGRTMAX-1",
        "SIGRTMAX",
    ];
    NAMES.iter().position(|known| *known == name).map_or(0, |at| at as i32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(container: serde_json::Value) -> Result<ContainerConfig, String> {
        let pod: core::Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container]},
        }))
        .unwrap();
        let volumes = [("data".to_owned(), PathBuf::from("/vol/data"))].into();
        let image = Image { id: "sha256:1".into(), ..Default::default() };
        let parts = Parts {
            restart_count: 2,
            image: &image,
            env: vec![("DIR".into(), "sub".into())],
            volumes: &volumes,
            hosts_file: Some("/hosts".into()),
            termination_file: None,
            root_dir: Path::new("/root"),
            node_memory: 1 << 30,
            target: None,
        };
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        config(&pod, &container, parts)
    }

    #[test]
    fn a_container_is_told_in_full() {
        let made = made(json!({"name": "c", "command": ["run", "$(DIR)"], "volumeMounts": [
            {"name": "data", "mountPath": "/d", "subPathExpr": "$(DIR)", "readOnly": true}],
            "lifecycle": {"stopSignal": "SIGUSR1"}}))
        .unwrap();
        assert_eq!(
            (made.command, made.log_path, made.attempt),
            (vec!["run".into(), "sub".into()], "c/2.log".into(), 2)
        );
        assert_eq!(made.mounts[0].host_path, PathBuf::from("/vol/data/sub"));
        assert!(made.mounts[0].read_only);
        assert_eq!(made.mounts[1].container_path, "/etc/hosts");
        assert_eq!(made.stop_signal, 29);
        assert_eq!(made.labels[labels::POD_UID], "u");
    }

    #[test]
    fn a_sub_path_cannot_leave_its_volume() {
        let mount = |sub_path| json!({"name": "c", "volumeMounts": [{"name": "data", "mountPath": "/d", "subPath": sub_path}]});
        assert!(made(mount("../../etc")).is_err());
        assert!(made(mount("/etc")).is_err());
        assert!(made(json!({"name": "c", "volumeMounts": [{"name": "none", "mountPath": "/d"}]})).is_err());
    }
}
