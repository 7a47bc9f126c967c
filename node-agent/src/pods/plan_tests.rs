//! Tables on the plan: a situation, and the steps that follow from it.

use serde_json::json;

use super::*;
use crate::pods::observed::{FailedProbe, Health};
use crate::runtime::{Container, ContainerDetail, PodRef, Sandbox, TerminationMessage};

#[derive(Debug)]
struct NoHash;

impl Hashes for NoHash {
    fn of(&self, container: &core::Container) -> u64 {
        container.image.as_deref().map_or(1, |image| image.len() as u64)
    }
}

/// A pod, what is there of it, what is remembered: changed step by step.
#[derive(Debug)]
struct Case {
    pod: Option<core::Pod>,
    gone: bool,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
}

impl Case {
    fn new(spec: serde_json::Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        Self {
            pod: Some(serde_json::from_value(pod).unwrap()),
            gone: false,
            observed: Observed::default(),
            memory: Memory { volumes_mounted: true, ..Default::default() },
            now: Timestamp::from_second(1000).unwrap(),
        }
    }

    fn sandbox(mut self, attempt: u32, ready: bool) -> Self {
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let sandbox = Sandbox { id: format!("s{attempt}"), pod, attempt, ready, created: self.now };
        self.observed.sandboxes.insert(0, sandbox);
        self
    }

    /// Adds a container to the newest sandbox; `exit`: its code and how long ago it ended.
    fn container(mut self, name: &str, state: RunState, exit: Option<(i32, i64)>) -> Self {
        let sandbox = self.observed.sandboxes[0].id.clone();
        let restart_count =
            self.observed.containers.iter().filter(|o| o.container.name == name).count() as i32;
        let finished = exit.map(|(_, ago)| self.now - SignedDuration::from_secs(ago));
        self.observed.containers.insert(
            0,
            ObservedContainer {
                container: Container {
                    id: format!("{name}{restart_count}"),
                    sandbox,
                    pod_uid: "u".into(),
                    name: name.into(),
                    state,
                    created: self.now,
                    spec_hash: 1,
                    restart_count,
                    termination_message: TerminationMessage::default(),
                },
                detail: ContainerDetail {
                    finished,
                    exit_code: exit.map_or(0, |(code, _)| code),
                    ..Default::default()
                },
            },
        );
        self
    }

    fn running(self, name: &str) -> Self {
        self.container(name, RunState::Running, None)
    }

    fn exited(self, name: &str, code: i32) -> Self {
        self.container(name, RunState::Exited, Some((code, 1)))
    }

    fn deleting(mut self, grace: i64) -> Self {
        let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now);
        self.pod.as_mut().unwrap().metadata.deletion_timestamp = Some(at);
        self.memory.deadline = Some(self.now + SignedDuration::from_secs(grace));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn plan(&self) -> Plan {
        plan(&Situation {
            pod: self.pod.as_ref(),
            gone: self.gone,
            observed: &self.observed,
            memory: &self.memory,
            spec_hash: &NoHash,
            now: self.now,
        })
    }

    /// The steps in short: `start c`, `stop c 30`...
    fn steps(&self) -> Vec<String> {
        let short = |step: Step| match step {
            Step::MountVolumes => "mount".to_owned(),
            Step::CreateSandbox { attempt, .. } => format!("sandbox {attempt}"),
            Step::StartContainer { name, restart_count: 0, .. } => format!("start {name}"),
            Step::StartContainer { name, restart_count, .. } => format!("start {name} {restart_count}"),
            Step::StopContainer { name, grace_seconds, .. } => format!("stop {name} {grace_seconds}"),
            Step::StopSandbox { id } => format!("stop {id}"),
            Step::RemoveContainer { id } => format!("remove {id}"),
            Step::RemoveSandbox { id } => format!("remove {id}"),
            Step::TearDown => "tear down".to_owned(),
            Step::DeleteObject => "delete".to_owned(),
            Step::Forget => "forget".to_owned(),
        };
        self.plan().steps.into_iter().map(short).collect()
    }
}

fn one() -> serde_json::Value {
    json!({"containers": [{"name": "c"}], "terminationGracePeriodSeconds": 30})
}

fn with_sidecar() -> serde_json::Value {
    json!({
        "initContainers": [
            {"name": "i1"},
            {"name": "s1", "restartPolicy": "Always", "startupProbe": {}},
            {"name": "s2", "restartPolicy": "Always"},
            {"name": "i2"},
        ],
        "containers": [{"name": "c"}, {"name": "d"}],
    })
}

#[test]
fn a_new_pod_gets_volumes_sandbox_and_containers() {
    let case = Case::new(one()).with(|case| case.memory.volumes_mounted = false);
    assert_eq!(case.steps(), ["mount", "sandbox 0"]);
    assert_eq!(Case::new(one()).sandbox(0, true).steps(), ["start c"]);
    assert_eq!(Case::new(one()).sandbox(0, true).running("c").plan(), Plan::default());
}

#[test]
fn a_failed_sandbox_waits_for_its_retry() {
    let case =
        Case::new(one()).with(|case| case.memory.retry_at = Some(case.now + SignedDuration::from_secs(5)));
    assert_eq!(case.steps(), Vec::<String>::new());
    assert_eq!(case.plan().look_again, case.memory.retry_at);
}

#[test]
fn a_dead_sandbox_is_replaced_and_its_containers_start_anew() {
    let case = Case::new(one()).sandbox(0, false).exited("c", 137);
    assert_eq!(case.steps(), ["sandbox 1"]);
    assert_eq!(case.sandbox(1, true).steps(), ["start c 1"]);
    let orphaned = Case::new(one()).sandbox(0, false).running("c");
    assert_eq!(orphaned.steps(), ["stop c 30"]);
}

#[test]
fn init_containers_run_one_by_one_and_sidecars_along() {
    let up = || Case::new(with_sidecar()).sandbox(0, true);
    assert_eq!(up().steps(), ["start i1"]);
    assert_eq!(up().running("i1").steps(), Vec::<String>::new());
    assert_eq!(up().exited("i1", 0).steps(), ["start s1"]);
    let waiting = || up().exited("i1", 0).running("s1");
    assert_eq!(waiting().steps(), Vec::<String>::new(), "the startup probe has not passed");
    let started = |case: &mut Case| {
        case.memory.health.insert("s10".into(), Health { started: true, ready: true, failed: None });
    };
    assert_eq!(waiting().with(started).steps(), ["start s2"]);
    let along = || waiting().with(started).running("s2");
    assert_eq!(along().steps(), ["start i2"]);
    assert_eq!(along().exited("i2", 0).steps(), ["start c", "start d"]);
    let all = || along().exited("i2", 0).running("c").running("d");
    assert_eq!(all().steps(), Vec::<String>::new());
    let broken = all().with(|case| {
        let sidecar = case.observed.containers.iter_mut().find(|o| o.container.name == "s2").unwrap();
        sidecar.container.state = RunState::Exited;
    });
    assert_eq!(broken.steps(), ["start s2 1"], "a sidecar is started again while the others run on");
}

#[test]
fn restart_policies() {
    let pod =
        |policy| Case::new(json!({"restartPolicy": policy, "containers": [{"name": "c"}]})).sandbox(0, true);
    assert_eq!(pod("Always").exited("c", 0).steps(), ["start c 1"]);
    assert_eq!(pod("OnFailure").exited("c", 1).steps(), ["start c 1"]);
    assert_eq!(pod("OnFailure").exited("c", 0).steps(), ["stop s0"], "the pod is done: nothing stays up");
    assert_eq!(pod("Never").exited("c", 1).steps(), ["stop s0"]);
    let init =
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    assert_eq!(Case::new(init).sandbox(0, true).exited("i", 1).steps(), ["stop s0"]);
}

#[test]
fn a_crashing_container_waits_for_its_back_off() {
    let crashed = || Case::new(one()).sandbox(0, true).exited("c", 1);
    let waiting = crashed().with(|case| {
        let backoff = Backoff { pause: std::time::Duration::from_secs(20), since: case.now };
        case.memory.restarts.insert("c".into(), backoff);
    });
    let plan = waiting.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.look_again, Some(waiting.now + SignedDuration::from_secs(19)));
    assert_eq!(plan.backing_off[0].1.message, "back-off 20s restarting failed container=c pod=p_n(u)");
    let over = waiting.with(|case| case.now += SignedDuration::from_secs(19));
    assert_eq!(over.steps(), ["start c 1"]);
}

#[test]
fn unhealthy_and_changed_containers_are_stopped_once() {
    let failed = |case: &mut Case| {
        let failed = Some(FailedProbe { kind: "liveness", grace_seconds: Some(5) });
        case.memory.health.insert("c0".into(), Health { started: true, ready: false, failed });
    };
    let case = Case::new(one()).sandbox(0, true).running("c").with(failed);
    assert_eq!(case.steps(), ["stop c 5"]);
    let under_way = case.with(|case| {
        case.memory.stopping.insert("c0".into(), case.now + SignedDuration::from_secs(5));
    });
    assert_eq!(under_way.steps(), Vec::<String>::new());
    let changed = json!({"containers": [{"name": "c", "image": "other"}]});
    assert_eq!(Case::new(changed).sandbox(0, true).running("c").steps(), ["stop c 30"]);
}

#[test]
fn a_created_container_of_a_dead_agent_is_made_anew() {
    let case = Case::new(one()).sandbox(0, true).container("c", RunState::Created, None);
    assert_eq!(case.steps(), ["remove c0", "start c"]);
}

#[test]
fn deletion_goes_in_order_to_the_last_trace() {
    let up = || {
        Case::new(with_sidecar())
            .sandbox(0, true)
            .running("s1")
            .running("s2")
            .running("c")
            .running("d")
            .deleting(10)
    };
    let mut steps = up().steps();
    steps.sort();
    assert_eq!(steps, ["stop c 10", "stop d 10"]);
    let sidecars = Case::new(with_sidecar()).sandbox(0, true).running("s1").running("s2").exited("c", 0);
    assert_eq!(sidecars.deleting(10).steps(), ["stop s2 10"], "the last sidecar goes first");
    let ended = || Case::new(one()).sandbox(0, true).exited("c", 0).deleting(10);
    assert_eq!(ended().steps(), ["stop s0"]);
    let down = || Case::new(one()).sandbox(0, false).exited("c", 0).deleting(10);
    assert_eq!(down().steps(), ["tear down", "delete"]);
    let torn = |case: &mut Case| case.memory.torn_down = true;
    let held =
        down().with(torn).with(|case| case.memory.retry_at = Some(case.now + SignedDuration::from_secs(1)));
    assert_eq!(held.steps(), Vec::<String>::new(), "a finalizer keeps the object: ask again later");
    assert_eq!(held.plan().look_again, held.memory.retry_at);
    let gone = down().with(torn).with(|case| case.gone = true);
    assert_eq!(gone.steps(), ["remove c0", "remove s0", "forget"]);
}

#[test]
fn a_shorter_grace_overtakes_a_longer_one() {
    let stopping = |left| {
        Case::new(one()).sandbox(0, true).running("c").deleting(left).with(|case| {
            case.memory.stopping.insert("c0".into(), case.now + SignedDuration::from_secs(25));
        })
    };
    assert_eq!(stopping(25).steps(), Vec::<String>::new());
    assert_eq!(stopping(0).steps(), ["stop c 2"]);
}

#[test]
fn an_orphan_is_removed_without_an_object() {
    let orphan = |case: &mut Case| {
        case.pod = None;
        case.gone = true;
    };
    let up = Case::new(one()).sandbox(0, true).running("c").with(orphan);
    assert_eq!(up.steps(), ["stop c 2"]);
    let down = Case::new(one()).sandbox(0, false).exited("c", 0).with(orphan);
    assert_eq!(down.steps(), ["tear down"]);
}

#[test]
fn old_containers_are_removed_but_for_the_last_two() {
    let crashes = Case::new(one()).sandbox(0, true).exited("c", 1).exited("c", 1).exited("c", 1).running("c");
    assert_eq!(crashes.steps(), ["remove c1", "remove c0"]);
}

#[test]
fn every_plan_ends() {
    // Following the plan of a fresh pod, and then of its deletion, ends in an empty one.
    let mut case = Case::new(with_sidecar());
    let mut passes = 0;
    while !follow(&mut case) {
        passes += 1;
        assert!(passes < 30, "the plan never ends: {:?}", case.plan());
    }
    assert_eq!(case.observed.alive().count(), 4);
    case = case.deleting(0);
    while !follow(&mut case) {
        passes += 1;
        assert!(passes < 60, "the plan never ends: {:?}", case.plan());
    }
    assert!(case.observed.containers.is_empty() && case.observed.sandboxes.is_empty());
}

/// Does what the plan says in an ideal world. True when there is nothing to do.
fn follow(case: &mut Case) -> bool {
    let steps = case.plan().steps;
    if steps.is_empty() {
        return true;
    }
    for step in steps {
        let taken = std::mem::replace(case, Case::new(json!({"containers": []})));
        *case = match step {
            Step::CreateSandbox { attempt, .. } => taken.sandbox(attempt, true),
            Step::StartContainer { name, kind, .. } => {
                assert_eq!(
                    taken.observed.alive().filter(|o| o.container.name == name).count(),
                    0,
                    "two of {name}"
                );
                let state = if kind == ContainerKind::Init { RunState::Exited } else { RunState::Running };
                taken.container(&name, state, Some((0, 0))).with(|case| {
                    let health = Health { started: true, ready: true, failed: None };
                    case.memory.health.insert(format!("{name}0"), health);
                })
            }
            Step::StopContainer { id, .. } => taken.with(|case| {
                let stopped = case.observed.containers.iter_mut().find(|o| o.container.id == id).unwrap();
                stopped.container.state = RunState::Exited;
            }),
            Step::StopSandbox { id } => taken.with(|case| {
                case.observed.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
            }),
            Step::RemoveContainer { id } => {
                taken.with(|case| case.observed.containers.retain(|o| o.container.id != id))
            }
            Step::RemoveSandbox { id } => taken.with(|case| case.observed.sandboxes.retain(|s| s.id != id)),
            Step::TearDown => taken.with(|case| case.memory.torn_down = true),
            Step::DeleteObject => taken.with(|case| case.gone = true),
            Step::Forget => return true,
            Step::MountVolumes => taken,
        };
    }
    false
}
