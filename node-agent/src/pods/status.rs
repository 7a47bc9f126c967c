//! `pod.status` from what is wanted, what is there and what the worker remembers: a pure function.
//!
//! Promise: every field that the node owns is computed anew; transition times stay while a condition stays; what
//! others own (PodScheduled, DisruptionTarget, readiness gates, nominatedNodeName) is left alone. Texts are
//! upstream's (`pkg/kubelet/status/generate.go`, `kubelet_pods.go`).

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::observed::{Memory, Observed, ObservedContainer, Waiting};
use super::plan::{all_done, init_failed, is_sidecar};
use crate::containers::qos;
use crate::runtime::RunState;

/// Facts that a status needs beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub node_addresses: &'a [IpAddr],
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    /// Containers that wait for their back-off, from the plan.
    pub backing_off: &'a [(String, Waiting)],
    pub now: Timestamp,
}

/// The new status. What it does not compute is taken from the old one.
pub(super) fn status(pod: &core::Pod, facts: Facts<'_>) -> core::PodStatus {
    let Some(spec) = &pod.spec else { return core::PodStatus::default() };
    let old = pod.status.clone().unwrap_or_default();
    let maker = Maker { pod, spec, old: &old, facts };
    let phase = maker.phase();
    let statuses = |containers: Vec<(&str, &str, Role)>| -> Option<Vec<core::ContainerStatus>> {
        let all: Vec<_> = containers.iter().map(|c| maker.container(c.0, c.1, c.2, phase)).collect();
        (!all.is_empty()).then_some(all)
    };
    let main = spec.containers.iter().map(|c| (c.name.as_str(), image(c), Role::Main)).collect();
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| (c.name.as_str(), image(c), Role::of_init(c)))
        .collect();
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral
        .map(|c| (c.name.as_str(), c.image.as_deref().unwrap_or_default(), Role::Ephemeral))
        .collect();

    let mut status = core::PodStatus {
        phase: Some(phase.to_owned()),
        container_statuses: statuses(main),
        init_container_statuses: statuses(init),
        ephemeral_container_statuses: statuses(ephemeral),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos::class(spec).to_owned())),
        start_time: old.start_time.clone().or_else(|| Some(Time(whole_seconds(facts.now)))),
        observed_generation: pod.metadata.generation,
        reason: old.reason.clone().filter(|_| phase == "Failed"),
        message: old.message.clone().filter(|_| phase == "Failed"),
        ..old.clone()
    };
    if let Some(verdict) = &facts.memory.verdict {
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
        // A pod that was refused has no containers to tell of.
        if facts.observed.containers.is_empty() && old.container_statuses.is_none() {
            status.container_statuses = None;
            status.init_container_statuses = None;
        }
    }
    maker.set_addresses(&mut status);
    let conditions = maker.conditions(&status, phase);
    status.conditions = Some(conditions);
    status
}

/// The patch that turns `old` into `new`, as a strategic merge patch of the status subresource; `None` when equal.
pub(super) fn patch(uid: &str, old: Option<&core::PodStatus>, new: &core::PodStatus) -> Option<Value> {
    if old == Some(new) {
        return None;
    }
    let old = serde_json::to_value(old.cloned().unwrap_or_default()).ok()?;
    let new = serde_json::to_value(new).ok()?;
    let mut changes = serde_json::Map::new();
    for (key, value) in new.as_object()? {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match (key.as_str(), value) {
            // Lists that the patch strategy would merge by address; ours replaces them.
            ("podIPs" | "hostIPs", Value::Array(items)) => {
                let mut items = items.clone();
                items.push(json!({"$patch": "replace"}));
                Value::Array(items)
            }
            ("conditions", Value::Array(items)) => {
                let unchanged =
                    |item: &&Value| old["conditions"].as_array().is_some_and(|old| old.contains(item));
                Value::Array(items.iter().filter(|item| !unchanged(item)).map(in_full).collect())
            }
            _ => value.clone(),
        };
        changes.insert(key.clone(), value);
    }
    for key in old.as_object()?.keys().filter(|key| new.get(key.as_str()).is_none()) {
        changes.insert(key.clone(), Value::Null);
    }
    // The uid makes the patch fail on a new pod of the same name.
    (!changes.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changes}))
}

/// A condition is merged field by field: what it no longer has must be said.
fn in_full(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Some(fields) = condition.as_object_mut() {
        for name in ["reason", "message"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    condition
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Init,
    Sidecar,
    Main,
    Ephemeral,
}

impl Role {
    fn of_init(container: &core::Container) -> Self {
        if is_sidecar(container) { Self::Sidecar } else { Self::Init }
    }
}

struct Maker<'a> {
    pod: &'a core::Pod,
    spec: &'a core::PodSpec,
    old: &'a core::PodStatus,
    facts: Facts<'a>,
}

impl Maker<'_> {
    fn phase(&self) -> &'static str {
        let observed = self.facts.observed;
        match self.old.phase.as_deref() {
            // Terminal phases stay.
            Some("Failed") => return "Failed",
            Some("Succeeded") => return "Succeeded",
            _ if self.facts.memory.verdict.is_some() => return "Failed",
            _ => {}
        }
        if init_failed(self.spec, observed) {
            return "Failed";
        }
        let ended_well =
            |c: &core::Container| observed.latest(&c.name).is_some_and(ObservedContainer::succeeded);
        let main = &self.spec.containers;
        if all_done(self.spec, observed) && !main.is_empty() {
            return if main.iter().all(ended_well) { "Succeeded" } else { "Failed" };
        }
        // A pod that is being deleted ends as what its containers ended as.
        let exited = |c: &core::Container| observed.latest(&c.name).is_some_and(ObservedContainer::is_exited);
        if self.pod.metadata.deletion_timestamp.is_some()
            && main.iter().all(exited)
            && observed.alive().next().is_none()
            && observed.ready_sandbox().is_none()
        {
            return if main.iter().all(ended_well) { "Succeeded" } else { "Failed" };
        }
        let initialized = self.incomplete_inits().is_empty();
        let started = |c: &core::Container| {
            observed.latest(&c.name).is_some_and(|o| o.container.state != RunState::Created)
        };
        if initialized && main.iter().all(started) { "Running" } else { "Pending" }
    }

    /// Init containers that have not done their part.
    fn incomplete_inits(&self) -> Vec<&str> {
        let observed = self.facts.observed;
        let main_seen = self.spec.containers.iter().any(|c| observed.latest(&c.name).is_some());
        let inits = self.spec.init_containers.iter().flatten();
        let incomplete = inits.filter(|container| {
            let latest = observed.latest(&container.name);
            if is_sidecar(container) {
                !main_seen
                    && !latest.is_some_and(|l| {
                        l.is_running() && self.has_started(container.startup_probe.is_some(), l)
                    })
            } else {
                !main_seen && !latest.is_some_and(ObservedContainer::succeeded)
            }
        });
        incomplete.map(|container| container.name.as_str()).collect()
    }

    fn has_started(&self, has_startup_probe: bool, observed: &ObservedContainer) -> bool {
        let health = self.facts.memory.health.get(&observed.container.id);
        observed.is_running() && (!has_startup_probe || health.is_some_and(|health| health.started))
    }

    fn container(&self, name: &str, image: &str, role: Role, phase: &str) -> core::ContainerStatus {
        let observed = self.facts.observed;
        let latest = observed.latest(name);
        let old = self.old_container(name);
        let Some(latest) = latest else { return self.absent(name, image, old, phase) };
        let spec = self.container_spec(name);
        let started = match role {
            Role::Ephemeral => latest.is_running(),
            _ => self.has_started(spec.is_some_and(|c| c.startup_probe.is_some()), latest),
        };
        let health = self.facts.memory.health.get(&latest.container.id);
        let ready = match role {
            Role::Init => latest.succeeded(),
            Role::Ephemeral => false,
            _ if spec.is_some_and(|c| c.readiness_probe.is_some()) => {
                started && health.is_some_and(|health| health.ready)
            }
            _ => started,
        };
        let waiting = self.waiting(name);
        let (state, last_state) = match (latest.container.state, waiting) {
            (RunState::Running, _) => (running(latest), observed.previous(name).map(terminated)),
            (RunState::Exited, Some(waiting)) => (waiting_state(waiting), Some(terminated(latest))),
            (RunState::Exited, None) => (terminated(latest), observed.previous(name).map(terminated)),
            (RunState::Created, waiting) => {
                let waiting = waiting.unwrap_or_else(|| self.not_started());
                (waiting_state(waiting), observed.previous(name).map(terminated))
            }
            (RunState::Unknown, _) => (unknown(latest), None),
        };
        core::ContainerStatus {
            name: name.to_owned(),
            image: if latest.detail.image.is_empty() {
                image.to_owned()
            } else {
                latest.detail.image.clone()
            },
            image_id: latest.detail.image_id.clone(),
            container_id: Some(container_id(latest)),
            ready,
            started: Some(started),
            restart_count: latest.container.restart_count,
            state: Some(state),
            last_state: Some(
                last_state.or_else(|| old.and_then(|old| old.last_state.clone())).unwrap_or_default(),
            ),
            ..Default::default()
        }
    }

    /// The runtime has no container of this name.
    fn absent(
        &self,
        name: &str,
        image: &str,
        old: Option<&core::ContainerStatus>,
        phase: &str,
    ) -> core::ContainerStatus {
        let had_run = old.is_some_and(|old| old.container_id.is_some());
        let was_terminated =
            old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.terminated.is_some());
        if let Some(old) = old
            && (was_terminated || phase == "Failed" || phase == "Succeeded")
            && had_run
        {
            return old.clone();
        }
        let state = match self.waiting(name) {
            Some(waiting) => waiting_state(waiting),
            // It ran, and the runtime forgot it: upstream calls that ContainerStatusUnknown.
            None if had_run => lost(old),
            None => waiting_state(self.not_started()),
        };
        core::ContainerStatus {
            name: name.to_owned(),
            image: image.to_owned(),
            started: Some(false),
            restart_count: old.map_or(0, |old| old.restart_count),
            state: Some(state),
            last_state: Some(old.and_then(|old| old.last_state.clone()).unwrap_or_default()),
            ..Default::default()
        }
    }

    fn waiting(&self, name: &str) -> Option<Waiting> {
        let backing_off =
            self.facts.backing_off.iter().find(|(of, _)| of == name).map(|(_, waiting)| waiting);
        backing_off.or_else(|| self.facts.memory.waiting.get(name)).cloned()
    }

    fn not_started(&self) -> Waiting {
        let initializing = self.spec.init_containers.iter().flatten().next().is_some();
        let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
        Waiting { reason: reason.to_owned(), message: String::new() }
    }

    fn container_spec(&self, name: &str) -> Option<&core::Container> {
        let inits = self.spec.init_containers.iter().flatten();
        inits.chain(&self.spec.containers).find(|container| container.name == name)
    }

    fn old_container(&self, name: &str) -> Option<&core::ContainerStatus> {
        let lists = [
            &self.old.container_statuses,
            &self.old.init_container_statuses,
            &self.old.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|status| status.name == name)
    }

    fn set_addresses(&self, status: &mut core::PodStatus) {
        let host = self.facts.node_addresses;
        status.host_ip = host.first().map(ToString::to_string);
        let host_ips = host.iter().map(|ip| core::HostIP { ip: ip.to_string() }).collect::<Vec<_>>();
        status.host_ips = (!host_ips.is_empty()).then_some(host_ips);
        let observed = self.facts.observed;
        let own = if self.spec.host_network == Some(true) {
            if observed.newest_sandbox().is_some() { host } else { &[] }
        } else {
            &observed.addresses[..]
        };
        // The address of a pod that has ended stays readable.
        if let Some(first) = own.first() {
            status.pod_ip = Some(first.to_string());
            status.pod_ips = Some(own.iter().map(|ip| core::PodIP { ip: ip.to_string() }).collect());
        }
    }

    fn conditions(&self, status: &core::PodStatus, phase: &str) -> Vec<core::PodCondition> {
        let mut conditions = self.old.conditions.clone().unwrap_or_default();
        let done = phase == "Succeeded" || phase == "Failed";
        let sandbox_up = self.facts.observed.ready_sandbox().is_some()
            && (self.spec.host_network == Some(true) || !self.facts.observed.addresses.is_empty());
        self.set(&mut conditions, "PodReadyToStartContainers", sandbox_up, None);

        let incomplete = self.incomplete_inits();
        let initialized = incomplete.is_empty() || phase == "Succeeded";
        let why = match phase {
            "Succeeded" => Some(("PodCompleted", String::new())),
            _ if initialized => None,
            _ => Some((
                "ContainersNotInitialized",
                format!("containers with incomplete status: [{}]", incomplete.join(" ")),
            )),
        };
        self.set(&mut conditions, "Initialized", initialized, why);

        let all = status.container_statuses.iter().flatten();
        let unready: Vec<&str> = all.filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
        let sidecars = status
            .init_container_statuses
            .iter()
            .flatten()
            .filter(|c| self.container_spec(&c.name).is_some_and(is_sidecar));
        let unready: Vec<&str> =
            sidecars.filter(|c| !c.ready).map(|c| c.name.as_str()).chain(unready).collect();
        let containers_ready = unready.is_empty() && !done;
        let why = match phase {
            "Succeeded" => Some(("PodCompleted", String::new())),
            "Failed" => Some(("PodFailed", String::new())),
            _ if containers_ready => None,
            _ => Some((
                "ContainersNotReady",
                format!("containers with unready status: [{}]", unready.join(" ")),
            )),
        };
        self.set(&mut conditions, "ContainersReady", containers_ready, why.clone());

        let gates = self.closed_gates(&conditions);
        let ready = containers_ready && gates.is_empty();
        let why = if containers_ready && !gates.is_empty() {
            Some(("ReadinessGatesNotReady", gates.join(", ")))
        } else {
            why
        };
        self.set(&mut conditions, "Ready", ready, why);
        if objects::conditions::get(&conditions, "PodScheduled").is_none() {
            self.set(&mut conditions, "PodScheduled", true, None);
        }
        conditions
    }

    fn closed_gates(&self, conditions: &[core::PodCondition]) -> Vec<String> {
        let gates = self.spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
        let text = |gate: &str| match objects::conditions::get(conditions, gate) {
            None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => None,
        };
        gates.filter_map(text).collect()
    }

    fn set(
        &self,
        conditions: &mut Vec<core::PodCondition>,
        kind: &str,
        holds: bool,
        why: Option<(&str, String)>,
    ) {
        let (reason, message) = match why {
            Some((reason, message)) => {
                (Some(reason.to_owned()), Some(message).filter(|text| !text.is_empty()))
            }
            None => (None, None),
        };
        let status = if holds { "True" } else { "False" };
        let old = conditions.iter().position(|condition| condition.type_ == kind);
        let kept = old.map(|at| &conditions[at]).filter(|condition| condition.status == status);
        let since = kept.and_then(|condition| condition.last_transition_time.clone());
        let condition = core::PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            last_transition_time: since.or_else(|| Some(Time(whole_seconds(self.facts.now)))),
            observed_generation: self.pod.metadata.generation,
            last_probe_time: None,
        };
        match old {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
}

fn image(container: &core::Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

fn container_id(observed: &ObservedContainer) -> String {
    format!("containerd://{}", observed.container.id)
}

fn running(observed: &ObservedContainer) -> core::ContainerState {
    let started_at = observed.detail.started.map(|at| Time(whole_seconds(at)));
    core::ContainerState { running: Some(core::ContainerStateRunning { started_at }), ..Default::default() }
}

fn waiting_state(waiting: Waiting) -> core::ContainerState {
    let message = Some(waiting.message).filter(|message| !message.is_empty());
    let waiting = core::ContainerStateWaiting { reason: Some(waiting.reason), message };
    core::ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn terminated(observed: &ObservedContainer) -> core::ContainerState {
    let detail = &observed.detail;
    let reason = match (detail.reason.as_str(), detail.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    let terminated = core::ContainerStateTerminated {
        exit_code: detail.exit_code,
        reason: Some(reason.to_owned()),
        message: Some(detail.message.clone()).filter(|message| !message.is_empty()),
        started_at: detail.started.map(|at| Time(whole_seconds(at))),
        finished_at: detail.finished.map(|at| Time(whole_seconds(at))),
        container_id: Some(container_id(observed)),
        signal: None,
    };
    core::ContainerState { terminated: Some(terminated), ..Default::default() }
}

fn unknown(observed: &ObservedContainer) -> core::ContainerState {
    let mut state = terminated(observed);
    if let Some(terminated) = &mut state.terminated {
        terminated.exit_code = 137;
        terminated.reason = Some("ContainerStatusUnknown".to_owned());
        terminated.message =
            Some("The container could not be located when the pod was terminated".to_owned());
    }
    state
}

fn lost(old: Option<&core::ContainerStatus>) -> core::ContainerState {
    let terminated = core::ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        container_id: old.and_then(|old| old.container_id.clone()),
        ..Default::default()
    };
    core::ContainerState { terminated: Some(terminated), ..Default::default() }
}

/// `metav1.Time` has whole seconds; comparing anything finer would see changes where there are none.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
