//! Starting one container: image, configuration, create, start, postStart hook.
//!
//! Promise: what keeps a container from starting is remembered as its waiting state with upstream's reason, told as
//! an event, and tried again after a pause. A container is never created while another of its name may run: the plan
//! looked just before.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use component::events::Type;
use component::informers::Key;
use k8s_openapi::api::core::v1 as core;

use super::act::{Failed, RETRY};
use super::images::ImageFailure;
use super::observed::{Backoff, RESTART_BACKOFF, Waiting};
use super::plan::ContainerKind;
use super::worker::{Worker, after, field_path};
use crate::containers::{env, make, network};
use crate::runtime::Image;

impl Worker {
    pub(super) async fn start_container(
        &mut self,
        pod: &core::Pod,
        name: &str,
        kind: ContainerKind,
        restart_count: i32,
    ) -> Result<(), Failed> {
        let Some((container, target)) = find(pod, name, kind) else { return Err(Failed) };
        let Some(sandbox) = self.observed.ready_sandbox().cloned() else { return Err(Failed) };
        self.guarded(pod).await?;
        let image = match self.image(pod, &container).await {
            Ok(image) => image,
            Err(ImageFailure::Ending) => return Err(Failed),
            Err(ImageFailure::Waiting(waiting)) => {
                // The second failure in a row shows as a back-off.
                self.memory.waiting.insert(name.to_owned(), waiting);
                if !self.memory.pulls.contains_key(name) {
                    self.memory.retry_at = Some(after(self.now(), RETRY));
                } else {
                    self.note_pull_back_off(pod, &container);
                }
                // Other containers may start meanwhile.
                return Ok(());
            }
        };
        let sandbox_config = self.sandbox_config(pod, sandbox.attempt);
        let config = match self.container_config(pod, &container, &image, restart_count, target).await {
            Ok(config) => config,
            Err(text) => return self.refused(pod, name, "CreateContainerConfigError", text),
        };
        let node = Arc::clone(self.pods.node());
        let of = self.pod_ref(Some(pod));
        let field = field_path(pod, name);
        if let Some(previous) = self.observed.latest(name) {
            let ended = previous.detail.finished.unwrap_or(previous.container.created);
            let backoff = Backoff::next(self.memory.restarts.get(name).copied(), ended, RESTART_BACKOFF);
            self.memory.restarts.insert(name.to_owned(), backoff);
        }
        let id = match node.runtime.create_container(&sandbox.id, &config, &sandbox_config).await {
            Ok(id) => id,
            Err(error) => return self.refused(pod, name, "CreateContainerError", error.to_string()),
        };
        node.event(&of, Some(&field), Type::Normal, "Created", "Container created");
        if let Err(error) = node.runtime.start_container(&id).await {
            return self.refused(pod, name, "RunContainerError", error.to_string());
        }
        node.event(&of, Some(&field), Type::Normal, "Started", "Container started");
        self.memory.waiting.remove(name);
        self.memory.retry_at = None;
        if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) {
            self.post_start(pod, &container, &id, hook).await;
        }
        Ok(())
    }

    /// Waits until network policies are in force for the pod's addresses.
    async fn guarded(&mut self, pod: &core::Pod) -> Result<(), Failed> {
        let node = Arc::clone(self.pods.node());
        let own_network = pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true));
        let Some(guard) = node.config.guard.as_ref().filter(|_| own_network) else { return Ok(()) };
        let (key, uid) = (Key::of(pod), self.uid.clone());
        let waited = tokio::select! {
            waited = guard.wait(key, uid, self.observed.addresses.clone()) => waited,
            () = self.must_end() => return Err(Failed),
        };
        waited.map_err(|error| {
            let of = self.pod_ref(Some(pod));
            node.event(&of, None, Type::Warning, "FailedStart", error.to_string());
            self.retry_later();
            Failed
        })
    }

    /// Remembers and tells why a container does not start.
    fn refused(&mut self, pod: &core::Pod, name: &str, reason: &str, text: String) -> Result<(), Failed> {
        let of = self.pod_ref(Some(pod));
        let event =
            if reason == "CreateContainerConfigError" { text.clone() } else { format!("Error: {text}") };
        let event = if event.starts_with("Error: ") { event } else { format!("Error: {event}") };
        self.pods.node().event(&of, Some(&field_path(pod, name)), Type::Warning, "Failed", event);
        let waiting = Waiting { reason: reason.to_owned(), message: text };
        self.memory.waiting.insert(name.to_owned(), waiting);
        self.retry_later();
        Ok(())
    }

    async fn container_config(
        &self,
        pod: &core::Pod,
        container: &core::Container,
        image: &Image,
        restart_count: i32,
        target: Option<String>,
    ) -> Result<crate::runtime::ContainerConfig, String> {
        let node = self.pods.node();
        let env = if node.runtime.is_real() { self.environment(pod, container).await? } else { Vec::new() };
        let volumes = node.volumes.paths(pod);
        let (hosts_file, termination_file) = if node.runtime.is_real() {
            let files = self.write_files(pod, container, restart_count);
            let (hosts, termination) =
                files.map_err(|error| format!("cannot write files of the container: {error}"))?;
            (hosts, Some(termination))
        } else {
            (None, None)
        };
        let target = target.and_then(|name| self.observed.current(&name).map(|o| o.container.id.clone()));
        let parts = make::Parts {
            restart_count,
            image,
            env,
            volumes: &volumes,
            hosts_file,
            termination_file,
            root_dir: &node.config.root_dir,
            node_memory: node.capacity.memory,
            target,
        };
        let config = make::config(pod, container, parts)?;
        if node.runtime.is_real() {
            make_sub_paths(&config, &node.config.root_dir);
        }
        Ok(config)
    }

    async fn environment(
        &self,
        pod: &core::Pod,
        container: &core::Container,
    ) -> Result<Vec<(String, String)>, String> {
        let node = self.pods.node();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let needed = env::needed(container);
        let mut sources = env::Sources::default();
        let objects = node.volumes.objects();
        for name in needed.config_maps {
            let map = objects.config_map(namespace, &name).await?;
            sources.config_maps.insert(name, map);
        }
        for name in needed.secrets {
            let secret = objects.secret(namespace, &name).await?;
            sources.secrets.insert(name, secret);
        }
        env::environment(pod, container, self.service_variables(pod).await, &sources, &self.context())
    }

    /// Variables of the services that the pod sees.
    async fn service_variables(&self, pod: &core::Pod) -> Vec<(String, String)> {
        let Some(services) = &self.pods.node().services else { return Vec::new() };
        services.synced().await;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        let own = if links { services.in_namespace(namespace) } else { Vec::new() };
        let api = services.get(&component::informers::Key::new("default", "kubernetes"));
        let seen: Vec<_> = own
            .into_iter()
            .chain(api.filter(|_| !links || namespace != "default"))
            .map(|service| (service.metadata.name.clone().unwrap_or_default(), service.spec.clone()))
            .collect();
        env::service_variables(seen.iter().map(|(name, spec)| (name.as_str(), spec)))
    }

    /// Writes `/etc/hosts` of the pod and an empty termination message.
    fn write_files(
        &self,
        pod: &core::Pod,
        container: &core::Container,
        restart_count: i32,
    ) -> std::io::Result<(Option<PathBuf>, PathBuf)> {
        let node = self.pods.node();
        let dir = node.volumes.pod_dir(&self.uid);
        let own = dir.join("containers").join(&container.name);
        std::fs::create_dir_all(&own)?;
        let termination = own.join(format!("termination-{restart_count}"));
        std::fs::write(&termination, b"")?;
        // A process of any user may leave its last words.
        std::fs::set_permissions(&termination, std::fs::Permissions::from_mode(0o666))?;
        let host_network = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        let text = if host_network {
            network::host_network_hosts_file(pod, &std::fs::read_to_string("/etc/hosts").unwrap_or_default())
        } else {
            network::hosts_file(pod, &self.observed.addresses, &node.config.cluster_domain)
        };
        let hosts = dir.join("etc-hosts");
        std::fs::write(&hosts, text)?;
        Ok((Some(hosts), termination))
    }

    async fn post_start(
        &mut self,
        pod: &core::Pod,
        container: &core::Container,
        id: &str,
        hook: &core::LifecycleHandler,
    ) {
        let node = Arc::clone(self.pods.node());
        let result = tokio::select! {
            result = crate::probes::hook(&node, id, container, hook, &self.observed.addresses) => result,
            () = self.must_end() => return,
        };
        if let Err(text) = result {
            let of = self.pod_ref(Some(pod));
            let field = field_path(pod, &container.name);
            node.event(
                &of,
                Some(&field),
                Type::Warning,
                "FailedPostStartHook",
                format!("PostStartHook failed: {text}"),
            );
            let name = container.name.clone();
            let why = "FailedPostStartHook".to_owned();
            self.stop_container(
                Some(pod),
                id.to_owned(),
                name,
                ContainerKind::Main,
                super::DEFAULT_GRACE,
                why,
            );
        }
    }
}

/// The container's spec, and for ephemeral ones the container they look at.
fn find(pod: &core::Pod, name: &str, kind: ContainerKind) -> Option<(core::Container, Option<String>)> {
    let spec = pod.spec.as_ref()?;
    match kind {
        ContainerKind::Init | ContainerKind::Sidecar => {
            let found = spec.init_containers.iter().flatten().find(|container| container.name == name);
            found.map(|container| (container.clone(), None))
        }
        ContainerKind::Main => {
            let found = spec.containers.iter().find(|container| container.name == name);
            found.map(|container| (container.clone(), None))
        }
        ContainerKind::Ephemeral => {
            let found =
                spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
            // Its fields are those of a container, and one more.
            let same = serde_json::from_value(serde_json::to_value(found).ok()?).ok()?;
            Some((same, found.target_container_name.clone()))
        }
    }
}

/// A sub path that does not exist yet is made as a directory, inside volumes of ours only.
fn make_sub_paths(config: &crate::runtime::ContainerConfig, root_dir: &std::path::Path) {
    for mount in &config.mounts {
        if mount.host_path.starts_with(root_dir) && !mount.host_path.exists() {
            // The runtime names the path if it is missing in the end.
            let _ = std::fs::create_dir_all(&mount.host_path);
        }
    }
}
