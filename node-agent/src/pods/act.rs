//! Carrying out the steps of a plan.
//!
//! Promise: steps are done in order; the first failure ends the pass, is told as an event and remembered, so that the
//! next try comes after a pause. Nothing here decides what has to be done.

use std::sync::Arc;
use std::time::Duration;

use component::events::Type;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tracing::{debug, warn};

use super::plan::Step;
use super::record::AssignedPod;
use super::worker::{Worker, after};
use crate::containers::downward::Context;
use crate::containers::resolv_conf::{self, Names};
use crate::containers::{cgroups, qos, resources, sandbox};

/// Pause after a sandbox or a volume failed.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A step that failed; it was told and noted already.
pub(super) struct Failed;

impl Worker {
    pub(super) async fn act(&mut self, pod: Option<&core::Pod>, steps: Vec<Step>) {
        for step in steps {
            debug!(uid = self.uid, step = ?step, "step");
            if self.step(pod, step).await.is_err() {
                return;
            }
        }
    }

    async fn step(&mut self, pod: Option<&core::Pod>, step: Step) -> Result<(), Failed> {
        let node = Arc::clone(self.pods.node());
        match (step, pod) {
            (Step::MountVolumes, Some(pod)) => self.mount_volumes(pod).await,
            (Step::CreateSandbox { attempt, changed }, Some(pod)) => {
                self.create_sandbox(pod, attempt, changed).await
            }
            (Step::StartContainer { name, kind, restart_count }, Some(pod)) => {
                self.start_container(pod, &name, kind, restart_count).await
            }
            (Step::DeleteObject, Some(pod)) => self.delete_object(pod).await,
            (Step::StopContainer { id, name, kind, grace_seconds, why }, pod) => {
                self.stop_container(pod, id, name, kind, grace_seconds, why);
                Ok(())
            }
            (Step::StopSandbox { id }, _) => self.noted(node.runtime.stop_sandbox(&id).await),
            (Step::RemoveContainer { id }, _) => self.noted(node.runtime.remove_container(&id).await),
            (Step::RemoveSandbox { id }, _) => self.noted(node.runtime.remove_sandbox(&id).await),
            (Step::TearDown, pod) => self.tear_down(pod),
            (Step::Forget, pod) => {
                self.remove_logs(pod);
                Ok(())
            }
            (step, None) => {
                warn!(uid = self.uid, step = ?step, "step without a pod");
                Err(Failed)
            }
        }
    }

    fn noted(&mut self, result: Result<(), crate::runtime::RuntimeError>) -> Result<(), Failed> {
        result.map_err(|error| {
            warn!(uid = self.uid, error = %error, "runtime call failed");
            self.retry_later();
            Failed
        })
    }

    pub(super) fn retry_later(&mut self) {
        self.memory.retry_at = Some(after(self.now(), RETRY));
    }

    async fn mount_volumes(&mut self, pod: &core::Pod) -> Result<(), Failed> {
        let node = Arc::clone(self.pods.node());
        if !node.runtime.is_real() {
            self.memory.volumes_mounted = true;
            return Ok(());
        }
        let context = self.context();
        let result = tokio::select! {
            result = node.volumes.mount(pod, &context) => result,
            () = self.must_end() => return Err(Failed),
        };
        match result {
            Ok(_) => {
                self.memory.volumes_mounted = true;
                Ok(())
            }
            Err(error) => {
                let of = self.pod_ref(Some(pod));
                node.event(&of, None, Type::Warning, "FailedMount", error.to_string());
                self.retry_later();
                Err(Failed)
            }
        }
    }

    async fn create_sandbox(&mut self, pod: &core::Pod, attempt: u32, changed: bool) -> Result<(), Failed> {
        let node = Arc::clone(self.pods.node());
        let of = self.pod_ref(Some(pod));
        if changed {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            node.event(&of, None, Type::Normal, "SandboxChanged", message);
        }
        let mut config = self.sandbox_config(pod, attempt);
        if node.runtime.is_real() {
            for warning in resolv_conf::resolve(pod, &self.names()).warnings {
                node.event(&of, None, Type::Warning, warning.reason, warning.message);
            }
        }
        match self.runtime_handler(pod).await {
            Ok(handler) => config.handler = handler,
            Err(text) => {
                let message = format!("Failed to create pod sandbox: {text}");
                node.event(&of, None, Type::Warning, "FailedCreatePodSandBox", message);
                self.retry_later();
                return Err(Failed);
            }
        }
        if node.runtime.is_real()
            && let Some(spec) = &pod.spec
        {
            cgroups::create(&config.cgroup_parent, &resources::pod_cgroup_values(spec));
            if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
                warn!(path = %config.log_directory.display(), error = %error, "cannot make log directory");
            }
        }
        match node.runtime.run_sandbox(&config).await {
            Ok(_) => {
                self.memory.retry_at = None;
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                node.event(&of, None, Type::Warning, "FailedCreatePodSandBox", message);
                self.retry_later();
                Err(Failed)
            }
        }
    }

    /// The runtime's name for the pod's RuntimeClass; empty is its default.
    async fn runtime_handler(&self, pod: &core::Pod) -> Result<String, String> {
        let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_ref());
        let Some(class) = class.filter(|class| !class.is_empty()) else { return Ok(String::new()) };
        let api: Api<RuntimeClass> = Api::all(self.pods.node().client.clone());
        match api.get_opt(class).await {
            Ok(Some(found)) => Ok(found.handler),
            Ok(None) => Err(format!("failed to get sandbox runtime: RuntimeClass \"{class}\" not found")),
            Err(error) => Err(format!("failed to get sandbox runtime: {error}")),
        }
    }

    /// What is said about names now: the node's resolver may have changed, as on a machine that joins another network.
    fn names(&self) -> Names {
        let node = self.pods.node();
        let mut names = node.names.clone();
        if node.runtime.is_real() {
            names.node = crate::node::resolver(&node.config.resolv_conf);
        }
        names
    }

    pub(super) fn sandbox_config(&self, pod: &core::Pod, attempt: u32) -> crate::runtime::SandboxConfig {
        let (node, names) = (self.pods.node(), self.names());
        let place = sandbox::Place {
            root_dir: &node.config.root_dir,
            logs_dir: &node.config.pod_logs_dir,
            cgroup_root: &node.config.cgroup_root,
            names: &names,
        };
        sandbox::config(pod, attempt, place)
    }

    /// What the downward API may tell.
    pub(super) fn context(&self) -> Context {
        let node = self.pods.node();
        Context {
            pod_addresses: self.observed.addresses.clone(),
            node_addresses: node.addresses.clone(),
            node_milli_cpu: node.capacity.milli_cpu,
            node_memory: node.capacity.memory,
        }
    }

    fn tear_down(&mut self, pod: Option<&core::Pod>) -> Result<(), Failed> {
        let node = Arc::clone(self.pods.node());
        self.pods.admitted.release(&self.uid);
        if node.runtime.is_real() {
            if let Err(error) = node.volumes.tear_down(&self.uid) {
                warn!(uid = self.uid, error = %error, "cannot remove volumes");
                self.retry_later();
                return Err(Failed);
            }
            let classes = match pod.and_then(|pod| pod.spec.as_ref()) {
                Some(spec) => vec![qos::class(spec)],
                // An orphan: it may be in any.
                None => vec![qos::GUARANTEED, qos::BURSTABLE, qos::BEST_EFFORT],
            };
            for class in classes {
                cgroups::remove(&cgroups::path(&node.config.cgroup_root, class, &self.uid));
            }
        }
        self.memory.torn_down = true;
        Ok(())
    }

    /// Removes the object for good. That it is gone is believed when the watch says so.
    async fn delete_object(&mut self, pod: &core::Pod) -> Result<(), Failed> {
        let of = self.pod_ref(Some(pod));
        let api: Api<AssignedPod> = Api::namespaced(self.pods.node().client.clone(), &of.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(of.uid.clone()), resource_version: None }),
            ..Default::default()
        };
        self.retry_later();
        match api.delete(&of.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                self.slot.send_modify(|inbox| inbox.gone = true);
                Ok(())
            }
            Err(error) => {
                warn!(namespace = of.namespace, name = of.name, error = %error, "cannot delete pod");
                Err(Failed)
            }
        }
    }

    fn remove_logs(&self, pod: Option<&core::Pod>) {
        let node = self.pods.node();
        if !node.runtime.is_real() {
            return;
        }
        let of = self.pod_ref(pod);
        let dir = sandbox::log_directory(&node.config.pod_logs_dir, &of);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(path = %dir.display(), error = %error, "cannot remove logs");
        }
    }
}
