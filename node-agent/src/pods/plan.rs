//! What has to be done for a pod now: a pure function of what is wanted, what is there, and the time.
//!
//! Promise: the same situation gives the same steps; nothing is read or written. Carrying the steps out and asking
//! again ends in an empty plan, so a worker that dies half way continues where it stopped. There is never a second
//! container of a name while one may still run. Order of containers: upstream's `computePodActions` and KEP-753.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;

use super::observed::{Backoff, Memory, Observed, ObservedContainer, RESTART_BACKOFF, Waiting};
use crate::runtime::RunState;

/// Grace of a container that the deadline has passed for, in seconds. Upstream's minimum.
const MINIMUM_GRACE: i64 = 2;

/// Grace of a pod that says nothing, in seconds.
pub(crate) const DEFAULT_GRACE: i64 = 30;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    MountVolumes,
    /// Makes the pod's sandbox. `attempt` counts sandboxes of the pod; `changed`: there was one before.
    CreateSandbox {
        attempt: u32,
        changed: bool,
    },
    StartContainer {
        name: String,
        kind: ContainerKind,
        restart_count: i32,
    },
    /// Ends a container in the background; the worker hears of the end.
    StopContainer {
        id: String,
        name: String,
        kind: ContainerKind,
        grace_seconds: i64,
        why: String,
    },
    StopSandbox {
        id: String,
    },
    RemoveContainer {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
    /// Everything has ended: give back volumes, cgroups and mounts.
    TearDown,
    /// Nothing of the pod is left on the node: remove the object.
    DeleteObject,
    /// The object is gone too: remove logs and forget the pod.
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerKind {
    Init,
    /// An init container that runs along (restartPolicy Always).
    Sidecar,
    Main,
    Ephemeral,
}

/// The steps, in order, and when to ask again at the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub look_again: Option<Timestamp>,
    /// Containers that wait for their back-off, with what the API shows for them.
    pub backing_off: Vec<(String, Waiting)>,
}

/// What `plan` decides from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    /// `None`: the object is gone and was never seen (an orphan of an earlier run).
    pub pod: Option<&'a core::Pod>,
    /// The object is gone from the API.
    pub gone: bool,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    /// Hash of each container's spec, by name, to see changes.
    pub spec_hash: &'a dyn Hashes,
    pub now: Timestamp,
}

/// Hash of a container's spec; a seam so that tests of the plan need no hashing.
pub(crate) trait Hashes: std::fmt::Debug {
    fn of(&self, container: &core::Container) -> u64;
}

/// The decision.
pub(super) fn plan(situation: &Situation<'_>) -> Plan {
    let mut planner = Planner { at: *situation, plan: Plan::default() };
    match situation.pod {
        _ if situation.gone => planner.end(),
        None => planner.end(),
        Some(pod) if is_deleting(pod) => planner.end(),
        Some(_) if situation.memory.verdict.is_some() => planner.finish(),
        Some(pod) if is_finished(pod) => planner.finish(),
        Some(pod) => planner.run(pod),
    }
    planner.plan
}

pub(super) fn is_deleting(pod: &core::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_finished(pod: &core::Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// True when the container is started again after an end with this code.
pub(super) fn restarts(spec: &core::PodSpec, container: &core::Container, exit_code: i32) -> bool {
    let policy = container.restart_policy.as_deref().or(spec.restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        _ => true,
    }
}

pub(crate) fn is_sidecar(container: &core::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// All regular containers have ended and none is started again.
pub(super) fn all_done(spec: &core::PodSpec, observed: &Observed) -> bool {
    spec.containers.iter().all(|container| {
        observed
            .latest(&container.name)
            .is_some_and(|latest| latest.is_exited() && !restarts(spec, container, latest.detail.exit_code))
    })
}

/// An init container failed for good.
pub(super) fn init_failed(spec: &core::PodSpec, observed: &Observed) -> bool {
    spec.init_containers.iter().flatten().any(|container| {
        let Some(latest) = observed.latest(&container.name) else { return false };
        let never = spec.restart_policy.as_deref() == Some("Never");
        !is_sidecar(container) && never && latest.is_exited() && latest.detail.exit_code != 0
    })
}

struct Planner<'a> {
    at: Situation<'a>,
    plan: Plan,
}

impl Planner<'_> {
    /// The pod shall run.
    fn run(&mut self, pod: &core::Pod) {
        let Some(spec) = &pod.spec else { return };
        let observed = self.at.observed;
        if all_done(spec, observed) || init_failed(spec, observed) {
            return self.finish();
        }
        if observed.ready_sandbox().is_none() {
            return self.new_sandbox(spec);
        }
        if !self.at.memory.volumes_mounted {
            // After a restart of the agent: the mounts are there or are made again.
            if self.too_early() {
                return;
            }
            self.step(Step::MountVolumes);
        }
        self.run_containers(spec);
        self.remove_surplus(spec);
    }

    fn new_sandbox(&mut self, spec: &core::PodSpec) {
        let observed = self.at.observed;
        let last = observed.newest_sandbox();
        // A pod that must not restart containers has no use for a second sandbox once they have run.
        let never = spec.restart_policy.as_deref() == Some("Never");
        let has_run = spec
            .containers
            .iter()
            .any(|c| observed.latest(&c.name).is_some_and(ObservedContainer::is_exited));
        if never && has_run && observed.alive().next().is_none() {
            return self.finish();
        }
        // Containers of a dead sandbox cannot be kept: they lost their network.
        if observed.alive().next().is_some() {
            return self.stop_alive("Pod sandbox changed, it will be killed and re-created.");
        }
        for sandbox in observed.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            self.step(Step::StopSandbox { id: sandbox.id.clone() });
        }
        if self.too_early() {
            return;
        }
        if !self.at.memory.volumes_mounted {
            self.step(Step::MountVolumes);
        }
        let attempt = last.map_or(0, |sandbox| sandbox.attempt + 1);
        self.step(Step::CreateSandbox { attempt, changed: last.is_some() });
    }

    fn run_containers(&mut self, spec: &core::PodSpec) {
        // Once a regular container was made in this sandbox, initialization is over.
        let initialized =
            spec.containers.iter().any(|container| self.at.observed.current(&container.name).is_some());
        for container in spec.init_containers.iter().flatten() {
            let proceed = if is_sidecar(container) {
                self.run_sidecar(spec, container)
            } else {
                initialized || self.run_init(spec, container)
            };
            if !proceed && !initialized {
                return;
            }
        }
        for container in ephemeral(spec) {
            if self.at.observed.latest(&container.name).is_none() && self.may_start(&container.name) {
                self.start(&container.name, ContainerKind::Ephemeral, 0);
            }
        }
        for container in &spec.containers {
            self.keep(spec, container, ContainerKind::Main);
        }
    }

    /// True when the next container may follow.
    fn run_init(&mut self, spec: &core::PodSpec, container: &core::Container) -> bool {
        match self.at.observed.current(&container.name) {
            Some(current) if current.succeeded() => true,
            Some(current) if current.is_running() => {
                self.stop_if_unhealthy(container, current, ContainerKind::Init);
                false
            }
            _ => {
                self.keep(spec, container, ContainerKind::Init);
                false
            }
        }
    }

    /// True when the next container may follow: the sidecar has started.
    fn run_sidecar(&mut self, spec: &core::PodSpec, container: &core::Container) -> bool {
        self.keep(spec, container, ContainerKind::Sidecar);
        self.at.observed.current(&container.name).is_some_and(|current| {
            let health = self.at.memory.health.get(&current.container.id);
            current.is_running() && (container.startup_probe.is_none() || health.is_some_and(|h| h.started))
        })
    }

    /// Starts a container that is missing or has ended, stops one that is not as it should be.
    fn keep(&mut self, spec: &core::PodSpec, container: &core::Container, kind: ContainerKind) {
        let name = &container.name;
        let Some(latest) = self.at.observed.latest(name) else {
            if self.may_start(name) {
                self.start(name, kind, self.restarts_by_status(name));
            }
            return;
        };
        let in_sandbox = self.at.observed.current(name).is_some();
        match latest.container.state {
            RunState::Running if in_sandbox => self.stop_if_unhealthy(container, latest, kind),
            RunState::Running | RunState::Unknown => {
                let why = format!("Container {name} is in an unknown state, try killing it before restart");
                self.stop(latest, kind, MINIMUM_GRACE, why);
            }
            // Made, but never started: an agent died in between.
            RunState::Created => {
                self.step(Step::RemoveContainer { id: latest.container.id.clone() });
                if self.may_start(name) {
                    self.start(name, kind, latest.container.restart_count);
                }
            }
            RunState::Exited => {
                let again = match kind {
                    ContainerKind::Sidecar => true,
                    // Init containers run again in a new sandbox even after success.
                    ContainerKind::Init => !in_sandbox || spec.restart_policy.as_deref() != Some("Never"),
                    _ => restarts(spec, container, latest.detail.exit_code),
                };
                if again {
                    self.restart(latest, kind);
                }
            }
        }
    }

    fn restart(&mut self, latest: &ObservedContainer, kind: ContainerKind) {
        let name = &latest.container.name;
        let ended = latest.detail.finished.unwrap_or(latest.container.created);
        if let Some(backoff) = self.at.memory.restarts.get(name)
            && !backoff.expired(ended, RESTART_BACKOFF)
            && self.at.now < backoff.until(ended)
        {
            self.look_again(backoff.until(ended));
            self.plan.backing_off.push((name.clone(), self.crash_loop(name, *backoff)));
            return;
        }
        if self.may_start(name) {
            self.start(name, kind, latest.container.restart_count + 1);
        }
    }

    fn crash_loop(&self, name: &str, backoff: Backoff) -> Waiting {
        let metadata = self.at.pod.map(|pod| super::record::reference(&pod.metadata)).unwrap_or_default();
        let pause = go_duration(backoff.pause.as_secs());
        Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: format!(
                "back-off {pause} restarting failed container={name} pod={}_{}({})",
                metadata.name, metadata.namespace, metadata.uid
            ),
        }
    }

    fn stop_if_unhealthy(
        &mut self,
        container: &core::Container,
        running: &ObservedContainer,
        kind: ContainerKind,
    ) {
        let name = &container.name;
        let grace = self.default_grace();
        let hash = running.container.spec_hash;
        if hash != 0 && hash != self.at.spec_hash.of(container) {
            self.stop(
                running,
                kind,
                grace,
                format!("Container {name} definition changed, will be restarted"),
            );
        } else if let Some(failed) =
            self.at.memory.health.get(&running.container.id).and_then(|health| health.failed.as_ref())
        {
            let grace = failed.grace_seconds.unwrap_or(grace);
            let why = format!("Container {name} failed {} probe, will be restarted", failed.kind);
            self.stop(running, kind, grace, why);
        }
    }

    /// Dead containers beyond the newest and the one before it, and dead sandboxes without containers.
    fn remove_surplus(&mut self, spec: &core::PodSpec) {
        let observed = self.at.observed;
        let names = all_names(spec);
        let mut removed = Vec::new();
        for name in names {
            let dead = observed.containers.iter().filter(|o| o.container.name == name && o.is_exited());
            let keep = usize::from(observed.latest(&name).is_some_and(ObservedContainer::is_exited)) + 1;
            for surplus in dead.skip(keep) {
                removed.push(surplus.container.id.clone());
                self.step(Step::RemoveContainer { id: surplus.container.id.clone() });
            }
        }
        for sandbox in observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
            let of_it = |o: &&ObservedContainer| o.container.sandbox == sandbox.id;
            if observed.containers.iter().filter(of_it).all(|o| removed.contains(&o.container.id)) {
                self.step(Step::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
    }

    /// The pod has reached its end by itself: nothing may run any more, but everything stays readable.
    fn finish(&mut self) {
        if self.stop_in_order("") {
            return;
        }
        if !self.at.memory.torn_down {
            self.step(Step::TearDown);
        }
    }

    /// The pod has to go.
    fn end(&mut self) {
        if self.stop_in_order("") {
            return;
        }
        if !self.at.memory.torn_down {
            self.step(Step::TearDown);
            if !self.at.gone && self.at.pod.is_some() {
                self.step(Step::DeleteObject);
            }
            return;
        }
        if !self.at.gone && self.at.pod.is_some() {
            // The object is not gone yet: a finalizer, or the deletion failed. Try again later.
            if self.at.memory.retry_at.is_none_or(|at| at <= self.at.now) {
                self.step(Step::DeleteObject);
            }
            self.plan.look_again = self.at.memory.retry_at;
            return;
        }
        for observed in &self.at.observed.containers {
            self.step(Step::RemoveContainer { id: observed.container.id.clone() });
        }
        for sandbox in &self.at.observed.sandboxes {
            self.step(Step::RemoveSandbox { id: sandbox.id.clone() });
        }
        self.step(Step::Forget);
    }

    /// Stops what runs: first the regular containers, then sidecars from the last to the first, then sandboxes.
    /// True while something still runs or is being stopped.
    fn stop_in_order(&mut self, why: &str) -> bool {
        let observed = self.at.observed;
        if observed.alive().next().is_some() {
            self.stop_alive(why);
            return true;
        }
        let ready: Vec<_> = observed.sandboxes.iter().filter(|sandbox| sandbox.ready).collect();
        for sandbox in &ready {
            self.step(Step::StopSandbox { id: sandbox.id.clone() });
        }
        !ready.is_empty()
    }

    fn stop_alive(&mut self, why: &str) {
        let sidecars: Vec<&str> = self
            .at
            .pod
            .and_then(|pod| pod.spec.as_ref())
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(|container| is_sidecar(container))
            .map(|container| container.name.as_str())
            .collect();
        let alive: Vec<&ObservedContainer> = self.at.observed.alive().collect();
        let (along, regular): (Vec<&ObservedContainer>, Vec<&ObservedContainer>) =
            alive.into_iter().partition(|observed| sidecars.contains(&observed.container.name.as_str()));
        let grace = self.remaining_grace();
        if regular.is_empty() {
            let last =
                sidecars.iter().rev().find_map(|name| along.iter().find(|o| o.container.name == *name));
            if let Some(last) = last {
                self.stop(last, ContainerKind::Sidecar, grace, message_or(why, last));
            }
            return;
        }
        for observed in regular {
            self.stop(observed, ContainerKind::Main, grace, message_or(why, observed));
        }
    }

    /// Plans a stop, unless one that is at least as quick is under way.
    fn stop(&mut self, observed: &ObservedContainer, kind: ContainerKind, grace_seconds: i64, why: String) {
        let deadline = self.at.now + SignedDuration::from_secs(grace_seconds);
        let slack = SignedDuration::from_secs(1);
        if let Some(under_way) = self.at.memory.stopping.get(&observed.container.id)
            && *under_way <= deadline + slack
        {
            return;
        }
        self.step(Step::StopContainer {
            id: observed.container.id.clone(),
            name: observed.container.name.clone(),
            kind,
            grace_seconds,
            why,
        });
    }

    fn start(&mut self, name: &str, kind: ContainerKind, restart_count: i32) {
        self.step(Step::StartContainer { name: name.to_owned(), kind, restart_count });
    }

    /// False while the last try of this container holds the next one back.
    fn may_start(&mut self, name: &str) -> bool {
        if !self.at.memory.waiting.contains_key(name) {
            return true;
        }
        let until = match (self.at.memory.pulls.get(name), self.at.memory.retry_at) {
            (Some(backoff), _) => backoff.until(backoff.since),
            (None, Some(retry_at)) => retry_at,
            (None, None) => return true,
        };
        if until <= self.at.now {
            return true;
        }
        self.look_again(until);
        false
    }

    /// True while a failure of the whole pod (volumes, sandbox) holds the next try back.
    fn too_early(&mut self) -> bool {
        match self.at.memory.retry_at {
            Some(retry_at) if retry_at > self.at.now => {
                self.look_again(retry_at);
                true
            }
            _ => false,
        }
    }

    /// How often the API says the container was started, when the runtime has forgotten it.
    fn restarts_by_status(&self, name: &str) -> i32 {
        let statuses = self.at.pod.and_then(|pod| pod.status.as_ref()).into_iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        let mut started = statuses.filter(|status| status.name == name && status.container_id.is_some());
        started.next().map_or(0, |status| status.restart_count + 1)
    }

    fn default_grace(&self) -> i64 {
        let spec = self.at.pod.and_then(|pod| pod.spec.as_ref());
        spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE)
    }

    fn remaining_grace(&self) -> i64 {
        match self.at.memory.deadline {
            Some(deadline) => deadline.duration_since(self.at.now).as_secs().max(MINIMUM_GRACE),
            None if self.at.pod.is_none() => MINIMUM_GRACE,
            None => self.default_grace(),
        }
    }

    fn look_again(&mut self, at: Timestamp) {
        self.plan.look_again = Some(self.plan.look_again.map_or(at, |sooner| sooner.min(at)));
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }
}

fn message_or(why: &str, observed: &ObservedContainer) -> String {
    if why.is_empty() { format!("Stopping container {}", observed.container.name) } else { why.to_owned() }
}

/// Ephemeral containers as regular ones; their extra field is read where they are started.
pub(super) fn ephemeral(spec: &core::PodSpec) -> impl Iterator<Item = &core::EphemeralContainer> {
    spec.ephemeral_containers.iter().flatten()
}

fn all_names(spec: &core::PodSpec) -> Vec<String> {
    let inits = spec.init_containers.iter().flatten();
    inits.chain(&spec.containers).map(|container| container.name.clone()).collect()
}

/// Whole seconds as Go prints a duration: `10s`, `2m40s`.
fn go_duration(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
