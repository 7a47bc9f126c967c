//! Stopping one container: preStop hook, stop signal, kill signal.
//!
//! Promise: runs beside the worker, which hears of the end through its slot; the grace counts from the start of the
//! hook. A quicker stop may be started while a slower one runs: the runtime then kills earlier.

use std::sync::Arc;
use std::time::Duration;

use component::events::Type;
use k8s_openapi::api::core::v1 as core;
use tracing::{debug, warn};

use super::plan::ContainerKind;
use super::worker::{Worker, after, field_path};

/// What a stop signal gets at least, after a hook that used up the grace. Upstream's minimum.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) fn stop_container(
        &mut self,
        pod: Option<&core::Pod>,
        id: String,
        name: String,
        kind: ContainerKind,
        grace_seconds: i64,
        why: String,
    ) {
        let node = Arc::clone(self.pods.node());
        let of = self.pod_ref(pod);
        let grace = Duration::from_secs(grace_seconds.max(0) as u64);
        let field = pod.map(|pod| field_path(pod, &name));
        let first = !self.memory.stopping.contains_key(&id);
        if first && pod.is_some() {
            node.event(&of, field.as_deref(), Type::Normal, "Killing", why);
        }
        self.memory.stopping.insert(id.clone(), after(self.now(), grace));
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        let container = spec.and_then(|spec| {
            let inits = spec.init_containers.iter().flatten().filter(|_| kind == ContainerKind::Sidecar);
            spec.containers.iter().chain(inits).find(|container| container.name == name).cloned()
        });
        // A container that is stopped a second time has had its hook.
        let container = container.filter(|_| first);
        let addresses = self.observed.addresses.clone();
        let slot = Arc::clone(&self.slot);
        let tasks = node.tasks.clone();
        tasks.spawn_until_stopped("stop-container", async move {
            let started = tokio::time::Instant::now();
            let hook = container
                .as_ref()
                .and_then(|c| c.lifecycle.as_ref()?.pre_stop.as_ref().map(|hook| (c, hook)));
            if let Some((container, hook)) = hook {
                let run = crate::probes::hook(&node, &id, container, hook, &addresses);
                match tokio::time::timeout(grace, run).await {
                    Ok(Ok(())) => {}
                    Ok(Err(text)) => {
                        let message = format!("PreStopHook failed: {text}");
                        node.event(&of, field.as_deref(), Type::Warning, "FailedPreStopHook", message);
                    }
                    Err(_) => debug!(container = id, "the preStop hook used up the grace"),
                }
            }
            let left = grace.saturating_sub(started.elapsed()).max(MINIMUM_GRACE.min(grace));
            if let Err(error) = node.runtime.stop_container(&id, left).await {
                warn!(container = id, error = %error, "cannot stop container");
            }
            slot.send_modify(|inbox| inbox.stopped.push(id));
        });
    }
}
