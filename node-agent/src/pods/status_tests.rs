//! Tables on the status: what the API shows for what is there.

use jiff::SignedDuration;

use super::*;
use crate::pods::observed::{Health, Verdict};
use crate::runtime::{Container, ContainerDetail, PodRef, Sandbox, TerminationMessage};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1000).unwrap() + SignedDuration::from_secs(seconds)
}

fn pod(spec: Value) -> core::Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}),
    )
    .unwrap()
}

fn observed(containers: &[(&str, RunState, i32)]) -> Observed {
    let sandbox = Sandbox { id: "s".into(), pod: PodRef::default(), attempt: 0, ready: true, created: at(0) };
    let container = |(index, (name, state, exit_code)): (usize, &(&str, RunState, i32))| ObservedContainer {
        container: Container {
            id: format!("{name}{index}"),
            sandbox: "s".into(),
            pod_uid: "u".into(),
            name: (*name).into(),
            state: *state,
            created: at(0),
            spec_hash: 0,
            restart_count: 0,
            termination_message: TerminationMessage::default(),
        },
        detail: ContainerDetail {
            started: Some(at(1)),
            finished: (*state == RunState::Exited).then(|| at(2)),
            exit_code: *exit_code,
            ..Default::default()
        },
    };
    Observed {
        sandboxes: vec![sandbox],
        containers: containers.iter().enumerate().map(container).collect(),
        addresses: vec![IpAddr::from([10, 0, 0, 5])],
    }
}

fn of(pod: &core::Pod, observed: &Observed, memory: &Memory, now: Timestamp) -> core::PodStatus {
    let node = [IpAddr::from([192, 168, 0, 1])];
    status(pod, Facts { node_addresses: &node, observed, memory, backing_off: &[], now })
}

fn condition(status: &core::PodStatus, kind: &str) -> (String, String, String) {
    let condition = objects::conditions::get(status.conditions.as_deref().unwrap(), kind).unwrap();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (condition.status.clone(), text(&condition.reason), text(&condition.message))
}

fn owned(parts: (&str, &str, &str)) -> (String, String, String) {
    (parts.0.into(), parts.1.into(), parts.2.into())
}

#[test]
fn phases_follow_the_containers() {
    use RunState::{Created, Exited, Running};
    type Containers = &'static [(&'static str, RunState, i32)];
    let cases: [(&str, Containers, &str); 8] = [
        ("Always", &[], "Pending"),
        ("Always", &[("c", Created, 0)], "Pending"),
        ("Always", &[("c", Running, 0)], "Running"),
        ("Always", &[("c", Exited, 1)], "Running"),
        ("Never", &[("c", Exited, 0)], "Succeeded"),
        ("Never", &[("c", Exited, 2)], "Failed"),
        ("OnFailure", &[("c", Exited, 2)], "Running"),
        ("OnFailure", &[("c", Exited, 0)], "Succeeded"),
    ];
    for (policy, containers, phase) in cases {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}));
        let status = of(&pod, &observed(containers), &Memory::default(), at(5));
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {containers:?}");
    }
}

#[test]
fn a_fresh_pod_waits_and_says_for_what() {
    let plain = pod(json!({"containers": [{"name": "c", "image": "i"}]}));
    let status = of(&plain, &Observed::default(), &Memory::default(), at(5));
    let waiting = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    let unready = owned(("False", "ContainersNotReady", "containers with unready status: [c]"));
    assert_eq!(condition(&status, "Ready"), unready);
    let with_init = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}));
    let status = of(&with_init, &Observed::default(), &Memory::default(), at(5));
    let incomplete = owned(("False", "ContainersNotInitialized", "containers with incomplete status: [i]"));
    assert_eq!(condition(&status, "Initialized"), incomplete);
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn readiness_needs_its_probe_and_its_gates() {
    let probed = pod(json!({"containers": [{"name": "c", "readinessProbe": {}}]}));
    let running = observed(&[("c", RunState::Running, 0)]);
    let mut memory = Memory::default();
    assert_eq!(condition(&of(&probed, &running, &memory, at(5)), "Ready").0, "False");
    memory.health.insert("c0".into(), Health { started: true, ready: true, failed: None });
    assert_eq!(condition(&of(&probed, &running, &memory, at(5)), "Ready").0, "True");
    let gated = pod(json!({"readinessGates": [{"conditionType": "x"}], "containers": [{"name": "c"}]}));
    let status = of(&gated, &running, &memory, at(5));
    assert_eq!(condition(&status, "ContainersReady").0, "True");
    let closed = "corresponding condition of pod readiness gate \"x\" does not exist.";
    assert_eq!(condition(&status, "Ready"), owned(("False", "ReadinessGatesNotReady", closed)));
}

#[test]
fn transition_times_stay_and_nothing_is_written_twice() {
    let mut pod = pod(json!({"containers": [{"name": "c"}]}));
    let running = observed(&[("c", RunState::Running, 0)]);
    let first = of(&pod, &running, &Memory::default(), at(5));
    assert_eq!(first.pod_ip.as_deref(), Some("10.0.0.5"));
    assert!(patch("u", None, &first).is_some());
    pod.status = Some(first.clone());
    let second = of(&pod, &running, &Memory::default(), at(500));
    assert_eq!(patch("u", Some(&first), &second), None);
}

#[test]
fn a_patch_replaces_addresses_and_clears_what_a_condition_lost() {
    let mut pod = pod(json!({"containers": [{"name": "c"}]}));
    let before = of(&pod, &Observed::default(), &Memory::default(), at(5));
    pod.status = Some(before.clone());
    let after = of(&pod, &observed(&[("c", RunState::Running, 0)]), &Memory::default(), at(9));
    let patch = patch("u", Some(&before), &after).unwrap();
    assert_eq!(patch["metadata"]["uid"], "u");
    assert_eq!(patch["status"]["podIPs"], json!([{"ip": "10.0.0.5"}, {"$patch": "replace"}]));
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!(
        (&ready["status"], &ready["reason"], &ready["message"]),
        (&json!("True"), &Value::Null, &Value::Null)
    );
    assert!(!conditions.iter().any(|condition| condition["type"] == "PodScheduled"), "not changed, not sent");
}

#[test]
fn a_refused_pod_has_failed_without_containers() {
    let pod = pod(json!({"containers": [{"name": "c"}]}));
    let verdict = Some(Verdict { reason: "OutOfcpu".into(), message: "m".into() });
    let status = of(&pod, &Observed::default(), &Memory { verdict, ..Default::default() }, at(5));
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
    assert_eq!(status.container_statuses, None);
}

#[test]
fn what_ran_and_is_forgotten_stays_told() {
    let mut pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "c"}]}));
    let done = of(&pod, &observed(&[("c", RunState::Exited, 3)]), &Memory::default(), at(5));
    pod.status = Some(done.clone());
    let later = of(&pod, &Observed::default(), &Memory::default(), at(50));
    assert_eq!(later.phase.as_deref(), Some("Failed"));
    assert_eq!(later.container_statuses, done.container_statuses);
}
