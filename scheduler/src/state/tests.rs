//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::framework::{Profile, Target};
use crate::plugins;
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod beside;
mod extended;
mod timed;
mod waking;

/// A scheduler driven by hand: what it writes comes back to it as the watch would show it.
struct Driven {
    state: State,
    now: Timestamp,
    pods: BTreeMap<String, Value>,
    log: Vec<String>,
    /// Objects that pods refer to, by `Kind/name`.
    objects: BTreeMap<String, Value>,
}

impl Driven {
    fn new() -> Self {
        Self::measured(&component::metrics::Registry::new())
    }

    fn measured(registry: &component::metrics::Registry) -> Self {
        let profiles = Profiles::new(vec![Profile::new("default-scheduler", plugins::defaults())]);
        let state =
            State::new(Arc::new(profiles), Backoff::default(), Random::from_seed(1), Metrics::new(registry));
        Self {
            state,
            now: Timestamp::UNIX_EPOCH,
            pods: BTreeMap::new(),
            log: Vec::new(),
            objects: BTreeMap::new(),
        }
    }

    fn node(&mut self, name: &str, cpu: &str) {
        self.node_from(json!({
            "metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "32Gi", "pods": "110"}},
        }));
    }

    fn node_from(&mut self, node: Value) {
        self.state.apply(Event::Node(Arc::new(serde_json::from_value(node).unwrap())), self.now);
    }

    fn pod(&mut self, name: &str, priority: i32, cpu: &str) {
        self.pod_from(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        }));
    }

    fn pod_from(&mut self, pod: Value) {
        self.pods.insert(pod["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone());
        self.show(pod);
    }

    fn show(&mut self, pod: Value) {
        self.state.apply(Event::Pod(Arc::new(serde_json::from_value(pod).unwrap())), self.now);
    }

    /// Shows an object that pods refer to.
    fn object(&mut self, object: Value) {
        let name =
            format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        self.objects.insert(name, object.clone());
        self.state.apply(Event::Related(related(object)), self.now);
    }

    /// Patches such an object under a new version, and shows it.
    fn patch(&mut self, name: &str, patch: Value) -> Value {
        let mut object = self.objects[name].clone();
        let version: u64 =
            object["metadata"]["resourceVersion"].as_str().map_or(0, |text| text.parse().unwrap());
        merge(&mut object, patch);
        object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        self.object(object.clone());
        object
    }

    /// An object that pods refer to is gone, if it was there.
    fn gone(&mut self, name: &str) {
        if let Some(object) = self.objects.remove(name) {
            self.state.apply(Event::RelatedGone(related(object)), self.now);
        }
    }

    fn delete(&mut self, name: &str) {
        let pod = self.pods.remove(name).unwrap();
        self.state.apply(Event::PodGone(Arc::new(serde_json::from_value(pod).unwrap())), self.now);
    }

    /// Tries all pods that are ready; binds answer with `outcome`.
    fn run(&mut self, outcome: impl Fn(&PodInfo) -> Result<(), WriteError>) {
        while self.state.schedule_one(self.now) {
            let mut effects = self.state.take_effects();
            while !effects.is_empty() {
                effects.drain(..).for_each(|effect| self.carry_out(effect, &outcome));
                effects = self.state.take_effects();
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, outcome: &impl Fn(&PodInfo) -> Result<(), WriteError>) {
        match effect {
            Effect::Prepare { pod, writes } => {
                let mut wrote = Vec::new();
                for write in writes {
                    if let Target::NewDeviceClaim(key) = &write.target {
                        self.log.push(format!("{} makes a claim", pod.name()));
                        let mut made = write.patch;
                        made["kind"] = json!("ResourceClaim");
                        made["metadata"]["resourceVersion"] = json!("1");
                        self.object(made.clone());
                        assert_eq!(made["metadata"]["name"], key.name);
                        wrote.push(related(made));
                        continue;
                    }
                    if let Target::OldDeviceClaim(key) = &write.target {
                        self.log.push(format!("{} gives its claim up", pod.name()));
                        self.gone(&format!("ResourceClaim/{}", key.name));
                        continue;
                    }
                    if let Target::PodStatus(_) = &write.target {
                        self.log.push(format!("{} is told of it", pod.name()));
                        continue;
                    }
                    let name = match &write.target {
                        Target::Volume(name) => format!("PersistentVolume/{name}"),
                        Target::Claim(key) => format!("PersistentVolumeClaim/{}", key.name),
                        Target::DeviceClaim(key) | Target::DeviceClaimStatus(key) => {
                            format!("ResourceClaim/{}", key.name)
                        }
                        other => panic!("seen above: {other:?}"),
                    };
                    self.log.push(format!("{} writes {name}", pod.name()));
                    wrote.push(related(self.patch(&name, write.patch)));
                }
                self.state.apply(Event::Prepared { pod, wrote, outcome: Ok(()) }, self.now);
            }
            Effect::TakeBack { pod, writes } => {
                for write in writes {
                    let Target::OldDeviceClaim(key) = write.target else { panic!("{write:?}") };
                    self.log.push(format!("{}'s claim is taken back", pod.name()));
                    self.gone(&format!("ResourceClaim/{}", key.name));
                }
            }
            Effect::Bind { pod, node, .. } => {
                let outcome = outcome(&pod);
                let bound = outcome.is_ok();
                self.log.push(format!("{} -> {node}{}", pod.name(), if bound { "" } else { " failed" }));
                self.state.apply(Event::Bound { pod: pod.clone(), node: node.clone(), outcome }, self.now);
                if bound && let Some(object) = self.pods.get_mut(pod.name()) {
                    object["spec"]["nodeName"] = json!(&*node);
                    let object = object.clone();
                    self.show(object);
                }
            }
            Effect::Unplaced { pod, message, nomination, .. } => {
                self.log.push(format!("{}: {message} {nomination:?}", pod.name()));
            }
            Effect::Evict { victim, preemptor, .. } => {
                self.log.push(format!("{} goes for {}", victim.name(), preemptor.name()));
            }
            Effect::Unnominate { pod } => self.log.push(format!("{} is un-nominated", pod.name())),
            Effect::Extend { pod, .. } | Effect::ChooseVictims { pod, .. } => {
                panic!("no extender is there to ask about {pod}")
            }
            Effect::GroupScheduled { group, scheduled } => {
                let name = group.key().name;
                self.log
                    .push(format!("group {name}: {}", if scheduled { "scheduled" } else { "unschedulable" }));
            }
            Effect::Placed { .. } | Effect::Waits { .. } => {}
        }
    }

    fn all_well(&mut self) -> Vec<String> {
        self.run(|_| Ok(()));
        std::mem::take(&mut self.log)
    }

    fn wait(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
        self.state.tick(self.now);
    }
}

fn related(object: Value) -> Related {
    Related::from_json(object).expect("a known kind").unwrap()
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else { return *into = patch };
    for (key, value) in fields {
        merge(&mut into[key], value);
    }
}

#[test]
fn binds_what_fits_and_counts_it_at_once() {
    let mut driven = Driven::new();
    driven.node("n", "2");
    for name in ["a", "b", "c"] {
        driven.pod(name, 0, "1");
    }
    assert_eq!(
        driven.all_well(),
        [
            "a -> n",
            "b -> n",
            "c: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
             1 No preemption victims found for incoming pod. Keep"
        ]
    );
    driven.delete("a");
    assert_eq!(driven.all_well(), ["c -> n"]);
    assert_eq!(driven.state.counts(), Counts::default());
}

#[test]
fn a_node_that_is_uncordoned_wakes_who_waits() {
    let mut driven = Driven::new();
    let node = |cordoned: bool| {
        json!({
            "metadata": {"name": "n"}, "spec": {"unschedulable": cordoned},
            "status": {"allocatable": {"cpu": "2", "pods": "110"}},
        })
    };
    driven.pod("p", 0, "1");
    assert_eq!(driven.all_well(), ["p: no nodes available to schedule pods Keep"]);
    driven.node_from(node(true));
    assert_eq!(driven.all_well().len(), 1);
    assert_eq!(driven.state.counts().unschedulable, 1);
    driven.node_from(node(false));
    assert_eq!(driven.all_well(), ["p -> n"]);
}

#[test]
fn a_failed_bind_gives_the_room_back_and_is_tried_again() {
    let mut driven = Driven::new();
    driven.node("n", "1");
    driven.pod("p", 0, "1");
    let failing = || Err(WriteError::Api { code: 500, message: "etcd is away".into() });
    driven.run(|_| failing());
    assert_eq!(driven.log[0], "p -> n failed");
    assert!(driven.log[1].starts_with("p: running Bind plugin \"DefaultBinder\": "), "{:?}", driven.log);
    assert_eq!(driven.state.counts().backoff, 1);
    assert!(!driven.state.schedule_one(driven.now), "not before its back-off is over");
    driven.log.clear();
    driven.wait(1);
    assert_eq!(driven.all_well(), ["p -> n"]);
}

#[test]
fn a_pod_that_another_scheduler_bound_is_left_alone() {
    let mut driven = Driven::new();
    driven.node("n", "4");
    driven.pod("p", 0, "1");
    assert!(driven.state.schedule_one(driven.now));
    let Effect::Bind { pod, node, .. } = driven.state.take_effects().remove(0) else { panic!("no bind") };
    let mut object = driven.pods["p"].clone();
    object["spec"]["nodeName"] = json!("elsewhere");
    driven.show(object);
    let outcome = Err(WriteError::Api { code: 409, message: "already assigned".into() });
    driven.state.apply(Event::Bound { pod, node, outcome }, driven.now);
    assert_eq!((driven.state.take_effects(), driven.state.counts()), (vec![], Counts::default()));
    assert_eq!(driven.state.cache.node_of(&"p".into()), Some(&"elsewhere".into()));
    assert_eq!(driven.state.cache.snapshot().node(&"n".into()).unwrap().pods.len(), 0);
}

#[test]
fn a_late_watch_event_does_not_place_a_pod_twice() {
    let mut driven = Driven::new();
    driven.node("n", "4");
    driven.pod("p", 0, "1");
    assert!(driven.state.schedule_one(driven.now));
    let Effect::Bind { pod, node, .. } = driven.state.take_effects().remove(0) else { panic!("no bind") };
    driven.state.apply(Event::Bound { pod, node, outcome: Ok(()) }, driven.now);
    let mut stale = driven.pods["p"].clone();
    stale["metadata"]["annotations"] = json!({"seen": "before the bind"});
    driven.show(stale);
    assert!(!driven.state.schedule_one(driven.now));
}

#[test]
fn a_pod_deleted_while_it_is_bound_gives_its_room_back() {
    let mut driven = Driven::new();
    driven.node("n", "1");
    driven.pod("p", 0, "1");
    assert!(driven.state.schedule_one(driven.now));
    let Effect::Bind { pod, node, .. } = driven.state.take_effects().remove(0) else { panic!("no bind") };
    driven.delete("p");
    let outcome = Err(WriteError::Api { code: 404, message: "not found".into() });
    driven.state.apply(Event::Bound { pod, node, outcome }, driven.now);
    driven.pod("q", 0, "1");
    assert_eq!(driven.all_well(), ["q -> n"]);
}

#[test]
fn makes_room_and_keeps_it_until_the_victim_is_gone() {
    let mut driven = Driven::new();
    driven.node("n", "2");
    driven.pod("victim", 1, "2");
    assert_eq!(driven.all_well(), ["victim -> n"]);
    driven.pod("important", 10, "2");
    let log = driven.all_well();
    assert_eq!(log[0], "victim goes for important");
    assert!(log[1].ends_with("1 Insufficient cpu. Set(\"n\")"), "{log:?}");
    driven.delete("victim");
    driven.pod("opportunist", 5, "2");
    let log = driven.all_well();
    assert!(log[0].starts_with("opportunist: "), "the room is not for who comes first: {log:?}");
    assert_eq!(log[1], "important -> n");
    assert_eq!(driven.state.counts().unschedulable, 1);
}

#[test]
fn ended_and_deleting_pods_hold_nothing_and_are_not_placed() {
    let mut driven = Driven::new();
    driven.node("n", "1");
    driven.pod("p", 0, "1");
    assert_eq!(driven.all_well(), ["p -> n"]);
    let mut ended = driven.pods["p"].clone();
    ended["status"] = json!({"phase": "Succeeded"});
    driven.show(ended);
    driven.pod_from(json!({
        "metadata": {"name": "q", "namespace": "default", "uid": "q", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }));
    driven.pod("r", 0, "1");
    assert_eq!(driven.all_well(), ["r -> n"]);
}

#[test]
fn the_same_events_and_seed_give_the_same_decisions() {
    let run = || {
        let mut driven = Driven::new();
        for node in 0..7 {
            driven.node(&format!("n{node}"), "4");
        }
        for pod in 0..40 {
            driven.pod(&format!("p{pod}"), pod % 3, "500m");
        }
        driven.all_well()
    };
    assert_eq!(run(), run());
}

fn waiting_claim(driven: &mut Driven) {
    driven.node("n", "2");
    driven.object(
        json!({"kind": "StorageClass", "metadata": {"name": "wait"}, "provisioner": "csi.example.com",
        "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    driven.object(json!({"kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "default", "uid": "c", "resourceVersion": "1"},
        "spec": {"storageClassName": "wait", "resources": {"requests": {"storage": "1Gi"}}}}));
}

fn mounting(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    })
}

const CLAIM: &str = "PersistentVolumeClaim/c";

#[test]
fn a_pod_is_bound_when_its_volume_was_made() {
    let mut driven = Driven::new();
    waiting_claim(&mut driven);
    driven.pod_from(mounting("a"));
    driven.pod("b", 0, "1");
    let refused = "b: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
                   1 No preemption victims found for incoming pod. Keep";
    assert_eq!(
        driven.all_well(),
        ["a writes PersistentVolumeClaim/c", refused],
        "the pod has its room meanwhile"
    );
    driven.object(json!({"kind": "PersistentVolume", "metadata": {"name": "v", "resourceVersion": "1"},
        "spec": {"claimRef": {"namespace": "default", "name": "c", "uid": "c"}}}));
    assert_eq!(driven.all_well(), [""; 0]);
    driven.patch(CLAIM, json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}));
    assert_eq!(driven.all_well(), [""; 0], "nothing is tried; the bind is an effect");
    let effects = driven.state.take_effects();
    effects.into_iter().for_each(|effect| driven.carry_out(effect, &|_| Ok(())));
    assert_eq!(std::mem::take(&mut driven.log), ["a -> n"]);
}

#[test]
fn a_volume_that_is_not_made_in_time_sets_the_pod_back() {
    let mut driven = Driven::new();
    waiting_claim(&mut driven);
    driven.pod_from(mounting("a"));
    assert_eq!(driven.all_well(), ["a writes PersistentVolumeClaim/c"]);
    assert_eq!(driven.state.next_due(), Some(driven.now + jiff::SignedDuration::from_secs(600)));
    driven.wait(601);
    let effects = driven.state.take_effects();
    effects.into_iter().for_each(|effect| driven.carry_out(effect, &|_| Ok(())));
    assert_eq!(
        std::mem::take(&mut driven.log),
        ["a: running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded Keep"]
    );
    assert_eq!(driven.state.counts().backoff, 1);
    driven.pod("b", 0, "2");
    assert_eq!(driven.all_well(), ["b -> n"], "its room is free again");
}

#[test]
fn a_provisioner_that_cannot_sets_the_pod_back() {
    let mut driven = Driven::new();
    waiting_claim(&mut driven);
    driven.pod_from(mounting("a"));
    assert_eq!(driven.all_well(), ["a writes PersistentVolumeClaim/c"]);
    driven
        .patch(CLAIM, json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "other"}}}));
    let effects = driven.state.take_effects();
    effects.into_iter().for_each(|effect| driven.carry_out(effect, &|_| Ok(())));
    assert_eq!(
        std::mem::take(&mut driven.log),
        [
            "a: running PreBind plugin \"VolumeBinding\": binding volumes: selectedNode annotation value \"other\" not set \
          to scheduled node \"n\" Keep"
        ]
    );
}

#[test]
fn a_pod_deleted_while_its_volume_is_made_gives_everything_back() {
    let mut driven = Driven::new();
    waiting_claim(&mut driven);
    driven.pod_from(mounting("a"));
    assert_eq!(driven.all_well(), ["a writes PersistentVolumeClaim/c"]);
    driven.delete("a");
    driven.pod("b", 0, "2");
    assert_eq!(driven.all_well(), ["b -> n"]);
    driven.patch(CLAIM, json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}));
    assert!(driven.state.take_effects().is_empty(), "nobody waits for it any more");
}

fn gang(driven: &mut Driven, name: &str, least: i32) {
    driven.object(json!({"kind": "PodGroup", "metadata": {"name": name, "namespace": "default"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": least}}}}));
}

fn of_gang(name: &str, group: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {
            "schedulingGroup": {"podGroupName": group},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        },
    })
}

fn carried_out(driven: &mut Driven) -> Vec<String> {
    let mut log = driven.all_well();
    loop {
        let effects = driven.state.take_effects();
        if effects.is_empty() {
            return log;
        }
        effects.into_iter().for_each(|effect| driven.carry_out(effect, &|_| Ok(())));
        log.extend(driven.all_well());
    }
}

#[test]
fn a_gang_starts_when_all_of_it_has_room() {
    let mut driven = Driven::new();
    driven.node("n", "3");
    gang(&mut driven, "g", 3);
    ["a", "b"].iter().for_each(|name| driven.pod_from(of_gang(name, "g")));
    assert!(driven.all_well().is_empty(), "nothing is tried or said");
    assert_eq!(driven.state.counts().gated, 2);
    driven.pod_from(of_gang("c", "g"));
    let mut log = carried_out(&mut driven);
    log.sort_unstable();
    assert_eq!(log, ["a -> n", "b -> n", "c -> n", "group g: scheduled"]);
}

#[test]
fn half_a_gang_holds_no_room() {
    let mut driven = Driven::new();
    driven.node("n", "2");
    gang(&mut driven, "g", 3);
    ["a", "b", "c"].iter().for_each(|name| driven.pod_from(of_gang(name, "g")));
    let log = carried_out(&mut driven);
    assert!(log.iter().all(|line| !line.contains("->")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("1 other pods of the gang fit nowhere.")), "{log:?}");
    assert_eq!(log.iter().filter(|line| *line == "group g: unschedulable").count(), 1, "{log:?}");
    let counts = driven.state.counts();
    assert_eq!(
        (counts.unschedulable, counts.active, counts.backoff),
        (3, 0, 0),
        "none is tried again for nothing"
    );
    driven.pod("single", 0, "2");
    assert_eq!(carried_out(&mut driven), ["single -> n"], "the room is free for others");
    driven.delete("single");
    driven.node("m", "1");
    driven.wait(20);
    let mut log = carried_out(&mut driven);
    driven.wait(20);
    log.extend(carried_out(&mut driven));
    assert_eq!(log.iter().filter(|line| line.contains("->")).count(), 3, "{log:?}");
}

#[test]
fn two_gangs_do_not_keep_room_from_each_other() {
    let mut driven = Driven::new();
    driven.node("n", "3");
    gang(&mut driven, "g", 2);
    gang(&mut driven, "h", 2);
    for name in ["1", "2"] {
        driven.pod_from(of_gang(&format!("g{name}"), "g"));
        driven.pod_from(of_gang(&format!("h{name}"), "h"));
    }
    let log = carried_out(&mut driven);
    assert_eq!(log.iter().filter(|line| line.contains("->")).count(), 2, "one of them runs: {log:?}");
}

#[test]
fn a_gang_that_never_gets_complete_is_set_back() {
    let mut driven = Driven::new();
    driven.node("n", "3");
    gang(&mut driven, "g", 2);
    driven.pod_from(of_gang("a", "g"));
    let mut gated = of_gang("b", "g");
    gated["spec"]["schedulingGates"] = json!([{"name": "later"}]);
    driven.pod_from(gated);
    driven.wait(2);
    assert_eq!(
        carried_out(&mut driven),
        ["a: 0/1 nodes are available: waiting for minCount pods from a gang to appear \
        in scheduling queue. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling. Keep";
            0]
    );
    driven.wait(300);
    assert_eq!(
        carried_out(&mut driven),
        [
            "a: 0/1 nodes are available: 1 rejected due to timeout after waiting 300s at plugin GangScheduling. Keep"
        ]
    );
}
