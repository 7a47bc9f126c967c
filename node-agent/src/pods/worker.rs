//! The worker of one pod: look, decide, act, tell; then sleep until there is news.
//!
//! Promise: one pass looks at everything anew and carries out one plan; passes follow each other until the plan is
//! empty. The status is written when it differs from the newest one known. A pod that has to end is noticed while an
//! image is being pulled. The worker ends when object, containers and files are gone.

use std::sync::Arc;
use std::time::Duration;

use component::events::Type;
use component::informers::revision;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::observed::{Memory, Observed, ObservedContainer, Verdict};
use super::plan::{Plan, Situation, Step, plan};
use super::record::AssignedPod;
use super::status::{self, Facts};
use super::{Inbox, Pods, Slot};
use crate::containers::SpecHash;
use crate::probes::Probers;
use crate::runtime::{PodRef, RunState, RuntimeError};

/// Passes in a row without a pause; a pod that needs more is looked at again a little later.
const PASSES: usize = 50;

/// Pause after something of the API or the runtime failed.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// How often a running pod is looked at without news: volumes that follow config maps and secrets.
const RESYNC: SignedDuration = SignedDuration::from_secs(60);

/// Longest termination message, from a file and from logs, in bytes. Upstream's limits.
const MESSAGE_FILE_BYTES: usize = 4096;
const MESSAGE_LOG_BYTES: usize = 2048;
const MESSAGE_LOG_LINES: usize = 80;

/// The worker's state between passes.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pods: Pods,
    pub(super) uid: String,
    pub(super) slot: Slot,
    inbox: watch::Receiver<Inbox>,
    pub(super) observed: Observed,
    pub(super) memory: Memory,
    probers: Probers,
    /// The object as our own last write left it, if the watch has not shown it yet.
    written: Option<Arc<AssignedPod>>,
    /// The last BackOff event of each container, so that it is told once a restart.
    told_back_off: Vec<(String, i32)>,
    resync_at: Option<Timestamp>,
    /// Grace that was last seen on the object, in seconds.
    grace_seen: Option<i64>,
    first_pass: bool,
}

/// What comes after a pass.
enum Next {
    Again,
    Wait(Option<Timestamp>),
    Finished,
}

impl Worker {
    pub(super) fn new(pods: Pods, uid: String, slot: Slot) -> Self {
        let mut inbox = slot.subscribe();
        inbox.mark_changed();
        Self {
            pods,
            uid,
            slot,
            inbox,
            observed: Observed::default(),
            memory: Memory::default(),
            probers: Probers::default(),
            written: None,
            told_back_off: Vec::new(),
            resync_at: None,
            grace_seen: None,
            first_pass: true,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            // Boxed: a pass has a large state, a sleeping worker shall not.
            let next = Box::pin(self.passes()).await;
            let wake = match next {
                Next::Finished if self.pods.finished(&self.uid, &self.inbox) => return,
                Next::Finished | Next::Again => continue,
                Next::Wait(wake) => wake,
            };
            let clock = self.pods.node().clock.clone();
            let sleep = async move {
                match wake {
                    Some(wake) => clock.sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.inbox.changed() => if changed.is_err() { return },
                () = sleep => {}
            }
        }
    }

    async fn passes(&mut self) -> Next {
        for _ in 0..PASSES {
            match self.pass().await {
                Ok(Next::Again) => {}
                Ok(next) => return next,
                Err(error) => {
                    debug!(uid = self.uid, error = %error, "pass failed");
                    return Next::Wait(self.now().checked_add(RETRY).ok());
                }
            }
        }
        Next::Wait(self.now().checked_add(RETRY).ok())
    }

    async fn pass(&mut self) -> Result<Next, RuntimeError> {
        let (record, gone) = self.take_news();
        let pod = match record.as_ref().map(|record| record.decode()) {
            Some(Ok(pod)) => Some(pod),
            None => None,
            Some(Err(error)) => {
                warn!(uid = self.uid, error = %error, "pod cannot be decoded");
                return Ok(Next::Wait(None));
            }
        };
        self.observe(pod.as_ref()).await?;
        let now = self.now();
        if let Some(pod) = &pod {
            self.judge(pod, now);
        }
        if let Some(pod) = &pod {
            // Before anything is decided or told: a prober may bring over what was known of an adopted container.
            self.probers.follow(&self.pods, pod, &self.observed, &self.slot);
            self.memory.health.clone_from(&self.slot.borrow().health);
        }
        self.note_deadline(pod.as_ref(), gone, now);
        let plan = plan(&Situation {
            pod: pod.as_ref(),
            gone,
            observed: &self.observed,
            memory: &self.memory,
            spec_hash: &SpecHash,
            now,
        });
        if let Some(pod) = &pod {
            self.tell_back_offs(pod, &plan);
            // A simulated pod starts so soon that the state in between is not worth a write.
            let settled = plan.steps.is_empty() || self.pods.node().runtime.is_real();
            let only_end = plan.steps.iter().any(|step| matches!(step, Step::TearDown));
            if !gone && (settled || only_end) {
                self.tell_status(pod, &plan, now).await;
            }
        }
        self.first_pass = false;
        if plan.steps.is_empty() {
            self.refresh_volumes(pod.as_ref(), gone, now).await;
            return Ok(Next::Wait(self.wake_at(plan.look_again)));
        }
        if plan.steps.contains(&Step::Forget) {
            self.act(pod.as_ref(), plan.steps).await;
            return Ok(Next::Finished);
        }
        let waits = plan.steps.iter().all(|step| matches!(step, Step::StopContainer { .. }));
        self.act(pod.as_ref(), plan.steps).await;
        // Stops run in the background and wake the worker when they are done.
        Ok(if waits { Next::Wait(self.wake_at(plan.look_again)) } else { Next::Again })
    }

    /// Empties the slot.
    fn take_news(&mut self) -> (Option<Arc<AssignedPod>>, bool) {
        let (pod, gone, stopped) = {
            let inbox = self.inbox.borrow_and_update();
            (inbox.pod.clone(), inbox.gone, inbox.stopped.clone())
        };
        if !stopped.is_empty() {
            self.slot.send_if_modified(|inbox| {
                inbox.stopped.retain(|id| !stopped.contains(id));
                false
            });
            self.memory.stopping.retain(|id, _| !stopped.contains(id));
        }
        let version = |pod: &Arc<AssignedPod>| revision(pod.metadata.resource_version.as_deref());
        if let (Some(written), Some(pod)) = (&self.written, &pod)
            && version(pod) >= version(written)
        {
            self.written = None;
        }
        (self.written.clone().or(pod), gone)
    }

    /// Looks at the runtime. Details of containers that have not changed are kept.
    async fn observe(&mut self, pod: Option<&core::Pod>) -> Result<(), RuntimeError> {
        let runtime = Arc::clone(&self.pods.node().runtime);
        let listing = runtime.list(Some(&self.uid)).await?;
        let mut containers = Vec::with_capacity(listing.containers.len());
        for container in listing.containers {
            let known =
                self.observed.containers.iter().find(|known| {
                    known.container.id == container.id && known.container.state == container.state
                });
            let detail = match known {
                Some(known) => known.detail.clone(),
                None => match runtime.container_detail(&container.id).await {
                    Ok(mut detail) => {
                        if container.state == RunState::Exited {
                            add_message(&container, &mut detail);
                        }
                        detail
                    }
                    Err(RuntimeError::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                },
            };
            containers.push(ObservedContainer { container, detail });
        }
        let old = self.observed.ready_sandbox().map(|sandbox| sandbox.id.clone());
        let ready =
            listing.sandboxes.first().filter(|sandbox| sandbox.ready).map(|sandbox| sandbox.id.clone());
        let host_network =
            pod.and_then(|pod| pod.spec.as_ref()).is_some_and(|spec| spec.host_network == Some(true));
        if old != ready || self.observed.addresses.is_empty() {
            self.observed.addresses = match &ready {
                Some(id) if !host_network => runtime.sandbox_addresses(id).await?,
                _ => Vec::new(),
            };
        }
        self.observed.sandboxes = listing.sandboxes;
        self.observed.containers = containers;
        Ok(())
    }

    /// Admission and the active deadline.
    fn judge(&mut self, pod: &core::Pod, now: Timestamp) {
        let Some(spec) = &pod.spec else { return };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) || self.memory.verdict.is_some() {
            self.pods.admitted.release(&self.uid);
            return;
        }
        let of = super::reference(&pod.metadata);
        if !self.memory.admitted && pod.metadata.deletion_timestamp.is_none() {
            let node = self.pods.node();
            let certain = phase == Some("Running") || !self.observed.containers.is_empty();
            let labels = node.labels.lock().clone();
            let capacity = &node.capacity;
            match self.pods.admitted.admit(&self.uid, spec, &labels, &node.name, capacity, certain) {
                Ok(()) => self.memory.admitted = true,
                Err(verdict) => {
                    let message = verdict.message.trim_start_matches("Pod was rejected: ").to_owned();
                    node.event(&of, None, Type::Warning, &verdict.reason, message);
                    self.memory.verdict = Some(verdict);
                    return;
                }
            }
        }
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        if let (Some(seconds), Some(started)) = (spec.active_deadline_seconds, started) {
            let deadline =
                started.0.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
            if deadline <= now {
                let message = "Pod was active on the node longer than the specified deadline";
                self.pods.node().event(&of, None, Type::Normal, "DeadlineExceeded", message);
                self.memory.verdict =
                    Some(Verdict { reason: "DeadlineExceeded".to_owned(), message: message.to_owned() });
            } else {
                self.resync_at = Some(self.resync_at.map_or(deadline, |at| at.min(deadline)));
            }
        }
    }

    /// The grace of a deletion counts from when this node sees it: clocks may differ.
    fn note_deadline(&mut self, pod: Option<&core::Pod>, gone: bool, now: Timestamp) {
        let deleting = pod.is_some_and(super::plan::is_deleting);
        let grace = match (gone, deleting) {
            (true, _) => Some(0),
            (false, true) => pod.and_then(|pod| pod.metadata.deletion_grace_period_seconds).or(Some(0)),
            (false, false) => None,
        };
        if grace != self.grace_seen
            && let Some(grace) = grace
        {
            let deadline = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
            self.memory.deadline = Some(self.memory.deadline.map_or(deadline, |old| old.min(deadline)));
        }
        self.grace_seen = grace;
    }

    fn tell_back_offs(&mut self, pod: &core::Pod, plan: &Plan) {
        let of = super::reference(&pod.metadata);
        for (name, _) in &plan.backing_off {
            let restarts = self.observed.latest(name).map_or(0, |latest| latest.container.restart_count);
            if self.told_back_off.iter().any(|told| told.0 == *name && told.1 == restarts) {
                continue;
            }
            self.told_back_off.retain(|told| told.0 != *name);
            self.told_back_off.push((name.clone(), restarts));
            let text = format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                of.name, of.namespace, of.uid
            );
            self.pods.node().event(&of, Some(&field_path(pod, name)), Type::Warning, "BackOff", text);
        }
    }

    /// Writes the status if it differs. A failure is tried again with the next pass.
    async fn tell_status(&mut self, pod: &core::Pod, plan: &Plan, now: Timestamp) {
        let node = Arc::clone(self.pods.node());
        let facts = Facts {
            node_addresses: &node.addresses,
            observed: &self.observed,
            memory: &self.memory,
            backing_off: &plan.backing_off,
            now,
        };
        let new = status::status(pod, facts);
        let Some(patch) = status::patch(&self.uid, pod.status.as_ref(), &new) else { return };
        let of = super::reference(&pod.metadata);
        let api: Api<AssignedPod> = Api::namespaced(node.client.clone(), &of.namespace);
        match api.patch_status(&of.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(record) => {
                debug!(namespace = of.namespace, name = of.name, phase = new.phase, "pod status written");
                self.written = Some(Arc::new(record));
            }
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                // Gone, or another pod of that name: the watch will say so.
                debug!(
                    namespace = of.namespace,
                    name = of.name,
                    reason = status.reason,
                    "pod status not written"
                );
            }
            Err(error) => {
                warn!(namespace = of.namespace, name = of.name, error = %error, "cannot write pod status");
                self.resync_at = now.checked_add(RETRY).ok();
            }
        }
    }

    /// Brings config maps, secrets and tokens of a running pod up to date.
    async fn refresh_volumes(&mut self, pod: Option<&core::Pod>, gone: bool, now: Timestamp) {
        let node = Arc::clone(self.pods.node());
        let Some(pod) = pod.filter(|pod| !gone && !super::plan::is_deleting(pod)) else { return };
        let due = self.resync_at.is_none_or(|at| at <= now);
        if !due {
            return;
        }
        let changing = pod.spec.as_ref().is_some_and(crate::volumes::may_change);
        if node.runtime.is_real() && self.memory.volumes_mounted && changing {
            if let Err(error) = node.volumes.mount(pod, &self.context()).await {
                debug!(uid = self.uid, error = %error, "cannot refresh volumes");
            }
            self.resync_at = now.checked_add(RESYNC).ok();
        } else {
            self.resync_at = None;
        }
    }

    /// When to look again without news.
    fn wake_at(&self, plan: Option<Timestamp>) -> Option<Timestamp> {
        [plan, self.resync_at].into_iter().flatten().min()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.pods.node().clock.now()
    }

    pub(super) fn pod_ref(&self, pod: Option<&core::Pod>) -> PodRef {
        let from_runtime = || self.observed.newest_sandbox().map(|sandbox| sandbox.pod.clone());
        pod.map(|pod| super::reference(&pod.metadata))
            .or_else(from_runtime)
            .unwrap_or_else(|| PodRef { uid: self.uid.clone(), ..Default::default() })
    }

    /// Resolves when the pod has to end; for things that take long.
    pub(super) async fn must_end(&self) {
        let mut inbox = self.slot.subscribe();
        let ends = |inbox: &Inbox| {
            inbox.gone || inbox.pod.as_ref().is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        };
        // The sender is ours, so waiting cannot fail.
        let _ = inbox.wait_for(ends).await;
    }
}

/// `spec.containers{NAME}`, `spec.initContainers{NAME}` or `spec.ephemeralContainers{NAME}`.
pub(super) fn field_path(pod: &core::Pod, name: &str) -> String {
    let spec = pod.spec.as_ref();
    let init = spec.is_some_and(|spec| spec.init_containers.iter().flatten().any(|c| c.name == name));
    let ephemeral =
        spec.is_some_and(|spec| spec.ephemeral_containers.iter().flatten().any(|c| c.name == name));
    let list = match (init, ephemeral) {
        (true, _) => "initContainers",
        (_, true) => "ephemeralContainers",
        _ => "containers",
    };
    format!("spec.{list}{{{name}}}")
}

/// The last message of a container: its file, or the end of its log.
fn add_message(container: &crate::runtime::Container, detail: &mut crate::runtime::ContainerDetail) {
    let wanted = &container.termination_message;
    let from_file = wanted.host_file.as_ref().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    let cut = &from_file[..from_file.len().min(MESSAGE_FILE_BYTES)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if text.is_empty() && wanted.fall_back_to_logs && detail.exit_code != 0 {
        text = crate::serve::logs::tail(
            std::path::Path::new(&detail.log_path),
            MESSAGE_LOG_LINES,
            MESSAGE_LOG_BYTES,
        );
    }
    if !text.is_empty() {
        detail.message = text;
    }
}

/// A pause as a timestamp from now.
pub(super) fn after(now: Timestamp, pause: Duration) -> Timestamp {
    SignedDuration::try_from(pause)
        .ok()
        .and_then(|pause| now.checked_add(pause).ok())
        .unwrap_or(Timestamp::MAX)
}
