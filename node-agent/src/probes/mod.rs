//! Startup, liveness and readiness probes, and the handlers that hooks share with them.
//!
//! Promise: a running container with probes has one prober; its results go to the pod's slot, never anywhere else.
//! The startup probe comes first and alone. A single failure changes nothing: thresholds decide, as upstream. After a
//! restart of the agent a container starts with what the API says of it, so readiness does not flap.

mod handler;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::Type;
use k8s_openapi::api::core::v1 as core;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::pods::{FailedProbe, Health, Node, Observation, Pods, Slot, is_sidecar, reference};
use crate::runtime::PodRef;
use handler::Target;
pub(crate) use handler::hook;

/// Results in a row that a probe needs, when it does not say.
const FAILURE_THRESHOLD: i32 = 3;

/// The probers of one pod, by container id. Dropping one ends it.
#[derive(Debug, Default)]
pub(crate) struct Probers(HashMap<String, DropGuard>);

impl Probers {
    /// Starts probers for containers that run now, and ends those of containers that do not.
    pub(crate) fn follow(&mut self, pods: &Pods, pod: &core::Pod, observed: &dyn Observation, slot: &Slot) {
        let Some(spec) = &pod.spec else { return };
        let running = observed.running();
        self.0.retain(|id, _| running.iter().any(|(_, running)| running == id));
        crate::pods::keep_health(slot, |id| running.iter().any(|(_, running)| running == id));
        if pod.metadata.deletion_timestamp.is_some() || !pods.node().runtime.is_real() {
            self.assume(pod, spec, &running, slot);
            return;
        }
        let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
        for container in sidecars.chain(&spec.containers) {
            let has_probes =
                [&container.startup_probe, &container.liveness_probe, &container.readiness_probe]
                    .iter()
                    .any(|probe| probe.is_some());
            let Some((_, id)) = running.iter().find(|(name, _)| *name == container.name) else { continue };
            if !has_probes || self.0.contains_key(id) {
                continue;
            }
            let before = health_by_status(pod, container, id);
            crate::pods::set_health(slot, id, before.clone(), false);
            let token = CancellationToken::new();
            let prober = Prober {
                node: Arc::clone(pods.node()),
                of: reference(&pod.metadata),
                field: crate::pods::container_field(pod, &container.name),
                target: Target::new(id, pod, container, observed.addresses()),
                container: container.clone(),
                health: before,
                slot: Arc::clone(slot),
            };
            let ended = token.clone();
            pods.node().tasks.spawn_until_stopped("prober", async move {
                tokio::select! {
                    () = prober.run() => {}
                    () = ended.cancelled() => {}
                }
            });
            self.0.insert(id.clone(), token.drop_guard());
        }
    }

    /// Simulated containers pass every probe; those of an ending pod keep what they have.
    fn assume(&mut self, pod: &core::Pod, spec: &core::PodSpec, running: &[(String, String)], slot: &Slot) {
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let probed = container.startup_probe.is_some() || container.readiness_probe.is_some();
            if let Some((_, id)) = running.iter().find(|(name, _)| probed && *name == container.name) {
                crate::pods::set_health(slot, id, Health { started: true, ready: true, failed: None }, true);
            }
        }
    }
}

/// What the API says of this very container; otherwise the start values.
fn health_by_status(pod: &core::Pod, container: &core::Container, id: &str) -> Health {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let same = |status: &&core::ContainerStatus| {
        status.container_id.as_deref().is_some_and(|known| known.ends_with(id))
    };
    let known = all.into_iter().find(same);
    Health {
        started: container.startup_probe.is_none()
            || known.and_then(|status| status.started).unwrap_or(false),
        ready: container.readiness_probe.is_none() || known.is_some_and(|status| status.ready),
        failed: None,
    }
}

struct Prober {
    node: Arc<Node>,
    of: PodRef,
    field: String,
    target: Target,
    container: core::Container,
    health: Health,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

impl Prober {
    async fn run(mut self) {
        if let Some(probe) = self.container.startup_probe.clone().filter(|_| !self.health.started) {
            if !self.until_started(&probe).await {
                return;
            }
            self.health.started = true;
            self.publish();
        }
        let liveness = self.container.liveness_probe.clone();
        let readiness = self.container.readiness_probe.clone();
        let this = tokio::sync::Mutex::new(self);
        let live = async {
            match &liveness {
                Some(probe) => Self::watch(&this, probe, Kind::Liveness).await,
                None => std::future::pending().await,
            }
        };
        let ready = async {
            match &readiness {
                Some(probe) => Self::watch(&this, probe, Kind::Readiness).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(live, ready);
    }

    /// True when the container has started, false when it has to be killed.
    async fn until_started(&mut self, probe: &core::Probe) -> bool {
        let mut counter = Counter::new(probe, false);
        tokio::time::sleep(delay(probe)).await;
        loop {
            let outcome = self.target.probe(&self.node, probe).await;
            let passed = self.tell(Kind::Startup, outcome);
            match passed.and_then(|passed| counter.count(passed)) {
                Some(true) => return true,
                Some(false) => {
                    self.fail("startup", probe);
                    return false;
                }
                None => tokio::time::sleep(period(probe)).await,
            }
        }
    }

    /// Probes until the end of the container.
    async fn watch(this: &tokio::sync::Mutex<Self>, probe: &core::Probe, kind: Kind) {
        let initially = kind == Kind::Liveness || this.lock().await.health.ready;
        let mut counter = Counter::new(probe, initially);
        tokio::time::sleep(delay(probe)).await;
        let (node, target) = {
            let this = this.lock().await;
            (Arc::clone(&this.node), this.target.clone())
        };
        loop {
            let outcome = target.probe(&node, probe).await;
            let mut prober = this.lock().await;
            let passed = prober.tell(kind, outcome);
            match (kind, passed.and_then(|passed| counter.count(passed))) {
                (Kind::Liveness, Some(false)) => {
                    prober.fail("liveness", probe);
                    return;
                }
                (Kind::Readiness, Some(ready)) if prober.health.ready != ready => {
                    prober.health.ready = ready;
                    prober.publish();
                }
                _ => {}
            }
            drop(prober);
            tokio::time::sleep(period(probe)).await;
        }
    }

    /// Tells a failure as an event. `None`: the probe could not be run, which says nothing of the container.
    fn tell(&self, kind: Kind, outcome: Result<(), handler::ProbeError>) -> Option<bool> {
        let (passed, text) = match outcome {
            Ok(()) => return Some(true),
            Err(handler::ProbeError::Failed(text)) => {
                (Some(false), format!("{} probe failed: {text}", kind.name()))
            }
            Err(handler::ProbeError::Errored(text)) => {
                (None, format!("{} probe errored and resulted in unknown state: {text}", kind.name()))
            }
        };
        self.node.event(&self.of, Some(&self.field), Type::Warning, "Unhealthy", text);
        passed
    }

    fn fail(&mut self, kind: &'static str, probe: &core::Probe) {
        self.health.failed =
            Some(FailedProbe { kind, grace_seconds: probe.termination_grace_period_seconds });
        self.health.ready = false;
        self.publish();
    }

    fn publish(&self) {
        crate::pods::set_health(&self.slot, self.target.container(), self.health.clone(), true);
    }
}

/// Counts results in a row.
#[derive(Debug)]
struct Counter {
    success_threshold: i32,
    failure_threshold: i32,
    last: bool,
    run: i32,
}

impl Counter {
    fn new(probe: &core::Probe, initially: bool) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(FAILURE_THRESHOLD).max(1),
            last: initially,
            run: 0,
        }
    }

    /// The new state once enough results in a row say so.
    fn count(&mut self, passed: bool) -> Option<bool> {
        self.run = if passed == self.last { self.run + 1 } else { 1 };
        self.last = passed;
        let threshold = if passed { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold).then_some(passed)
    }
}

fn delay(probe: &core::Probe) -> Duration {
    Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).max(0) as u64)
}

fn period(probe: &core::Probe) -> Duration {
    Duration::from_secs(probe.period_seconds.unwrap_or(10).max(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_need_results_in_a_row() {
        let probe =
            core::Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Default::default() };
        let mut counter = Counter::new(&probe, false);
        let results = [true, false, false, true, true, true, false, false, false];
        let states: Vec<_> = results.map(|passed| counter.count(passed)).into();
        let expected = [None, None, None, None, Some(true), Some(true), None, None, Some(false)];
        assert_eq!(states, expected);
    }
}
