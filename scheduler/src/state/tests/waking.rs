//! Nothing is left behind: after any change, no parked pod fits a node that it could be bound to at once, nor one on
//! which it could make room. Compared with trying every one of them again, over random clusters; the index of the queue must never miss what that would find.

use super::*;
use crate::cycle;
use crate::preempt::{Afresh, Attempt};

/// Clusters, and changes to each.
const CLUSTERS: u64 = 150;
const CHANGES: usize = 60;

struct Dice(Random);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn one_in(&self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn of<'a>(&self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

fn node(dice: &Dice) -> Value {
    let name = format!("n{}", dice.below(5));
    let mut node = json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "zone": dice.of(&["a", "b"]), "disk": dice.of(&["ssd", "hdd"]),
        }},
        "spec": {"unschedulable": dice.one_in(6)},
        "status": {"allocatable": {"cpu": dice.of(&["1", "2", "4"]), "memory": "8Gi", "pods": dice.of(&["3", "10"])}},
    });
    if dice.one_in(2) {
        node["status"]["declaredFeatures"] = json!([objects::declared_features::RESTART_ALL_CONTAINERS]);
    }
    if dice.one_in(4) {
        node["spec"]["taints"] = json!([{"key": dice.of(&["k", "l"]), "effect": "NoSchedule"}]);
    }
    node
}

fn term(dice: &Dice) -> Value {
    let mut term = json!({
        "topologyKey": dice.of(&["zone", "kubernetes.io/hostname"]),
        "labelSelector": selector(dice),
    });
    if dice.one_in(3) {
        term["namespaceSelector"] = json!({"matchLabels": {"team": "red"}});
    }
    term
}

fn selector(dice: &Dice) -> Value {
    match dice.below(4) {
        0 => json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
        1 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}),
        2 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "z"]}]}),
        _ => json!({"matchLabels": {"app": dice.of(&["x", "y"])}}),
    }
}

fn pod(dice: &Dice, name: &str) -> Value {
    let mut spec = json!({
        "priority": dice.below(2) * 5,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": dice.of(&["0", "500m", "1", "3"])}}}],
    });
    if !dice.one_in(3) {
        spec["preemptionPolicy"] = json!("Never");
    }
    if dice.one_in(6) {
        spec["containers"][0]["restartPolicyRules"] = json!([{"action": "RestartAllContainers"}]);
    }
    if dice.one_in(4) {
        spec["nodeSelector"] = json!({"disk": dice.of(&["ssd", "hdd"])});
    }
    if dice.one_in(3) {
        spec["tolerations"] = json!([{"key": dice.of(&["k", "l"]), "operator": "Exists"}]);
    }
    if dice.one_in(5) {
        spec["containers"][0]["ports"] = json!([{"hostPort": 80, "containerPort": 80}]);
    }
    if dice.one_in(4) {
        let kind = dice.of(&["podAffinity", "podAntiAffinity"]);
        spec["affinity"][kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term(dice)]});
    }
    if dice.one_in(4) {
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": dice.of(&["zone", "kubernetes.io/hostname"]),
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector(dice),
        }]);
    }
    let namespace = dice.of(&["default", "other"]);
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"app": dice.of(&["x", "y", "z"])}},
        "spec": spec,
    })
}

impl Driven {
    /// One random change to the cluster; says what it was.
    fn change(&mut self, dice: &Dice, at: usize) -> String {
        let bound = |object: &Value| object["spec"]["nodeName"].is_string();
        let running: Vec<String> =
            self.pods.iter().filter(|(_, object)| bound(object)).map(|(name, _)| name.clone()).collect();
        let one = |names: &[String]| names[usize::try_from(dice.below(names.len() as u64)).unwrap()].clone();
        match dice.below(10) {
            0 | 1 => {
                let node = node(dice);
                self.node_from(node.clone());
                format!("node {node}")
            }
            2 if dice.one_in(3) => {
                let name = format!("n{}", dice.below(5));
                let node = json!({"metadata": {"name": name}});
                self.state.apply(Event::NodeGone(Arc::new(serde_json::from_value(node).unwrap())), self.now);
                format!("node {name} gone")
            }
            3 if !running.is_empty() => {
                let name = one(&running);
                let mut object = self.pods[&name].clone();
                object["metadata"]["labels"]["app"] = json!(dice.of(&["x", "y", "z"]));
                self.pod_from(object.clone());
                format!("relabelled {object}")
            }
            4 if !running.is_empty() => {
                let name = one(&running);
                let mut object = self.pods[&name].clone();
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                self.pod_from(object);
                format!("{name} is going")
            }
            5 | 6 if !running.is_empty() => {
                let name = one(&running);
                self.delete(&name);
                format!("{name} is gone")
            }
            7 => {
                let labels = [("team".to_owned(), dice.of(&["red", "blue"]).to_owned())];
                let name = dice.of(&["default", "other"]).to_owned();
                let text = format!("namespace {name} {labels:?}");
                self.state.apply(Event::Namespace(name, Some(labels.into())), self.now);
                text
            }
            8 => {
                let mut object = pod(dice, &format!("foreign{at}"));
                object["spec"]["nodeName"] = json!(format!("n{}", dice.below(5)));
                self.pod_from(object.clone());
                format!("foreign {object}")
            }
            _ => {
                let object = pod(dice, &format!("p{at}"));
                self.pod_from(object.clone());
                format!("pod {object}")
            }
        }
    }

    /// Until nothing is ready and nobody backs off; victims go at once.
    fn settle(&mut self) {
        for _ in 0..50 {
            for line in self.all_well() {
                if let Some((victim, _)) = line.split_once(" goes for ")
                    && self.pods.contains_key(victim)
                {
                    self.delete(victim);
                }
            }
            let Counts { active, backoff, .. } = self.state.counts();
            if active + backoff == 0 {
                return;
            }
            self.wait(11);
        }
        panic!("never comes to rest: {:?}", self.state.counts());
    }

    /// The parked pods that would fit if they were tried again, or could make room, with the node.
    fn left_behind(&self) -> Vec<(String, String)> {
        let fits = |pod: &Arc<PodInfo>| {
            let (cluster, profile) = (self.state.cache.snapshot(), self.state.profiles.of(pod)?);
            let node = match cycle::place(pod, profile, cluster, &self.state.random) {
                Ok(placed) => placed.node,
                Err(failure) if failure.is_empty_cluster() || cluster.promised_to(&pod.uid).is_some() => {
                    None?
                }
                Err(failure) => {
                    let (failure, budgets, now) = (&failure, &self.state.budgets, self.now);
                    let attempt = Attempt { pod, profile, cluster, failure, budgets, now };
                    let room = profile.preempts().next()?.make_room(&attempt, &Afresh);
                    room.made()?.0.clone()
                }
            };
            Some((pod.name().to_owned(), node.to_string()))
        };
        self.state.queue.parked().filter_map(fits).collect()
    }
}

#[test]
fn no_pod_that_fits_is_left_waiting() {
    for seed in 0..CLUSTERS {
        let dice = Dice(Random::from_seed(seed));
        let mut driven = Driven::new();
        let mut story = Vec::new();
        for at in 0..CHANGES {
            story.push(driven.change(&dice, at));
            driven.settle();
            let left = driven.left_behind();
            assert!(left.is_empty(), "seed {seed}: {left:?} after {:#?}", &story);
        }
    }
}

/// Two zones; the pods on the only large node may be evicted, but a pod of the other node keeps the new one out of
/// both. That one's node is too small for the new pod: that it goes makes no room there.
#[test]
fn a_pod_that_goes_may_make_room_possible_elsewhere() {
    let node = |name: &str, cpu: &str| {
        json!({
            "metadata": {"name": name, "labels": {"zone": "z", "kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
        })
    };
    for ends in [false, true] {
        let mut driven = Driven::new();
        driven.node_from(node("large", "4"));
        driven.pod("low", 0, "4");
        assert_eq!(driven.all_well(), ["low -> large"]);
        driven.node_from(node("small", "1"));
        let mut unloved = json!({
            "metadata": {"name": "unloved", "namespace": "default", "uid": "unloved", "labels": {"app": "x"}},
            "spec": {"nodeName": "small", "priority": 100, "containers": [{"name": "c"}]},
        });
        driven.pod_from(unloved.clone());
        driven.pod_from(json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "p"},
            "spec": {
                "priority": 10, "containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}]}},
            },
        }));
        assert!(driven.all_well().iter().all(|line| !line.contains(" goes for ")));
        assert_eq!(driven.state.counts().unschedulable, 1);
        if ends {
            unloved["status"] = json!({"phase": "Succeeded"});
            driven.show(unloved);
        } else {
            driven.delete("unloved");
        }
        driven.wait(2);
        let said = driven.all_well();
        assert!(said.contains(&"low goes for p".to_owned()), "it does not wait for the flush: {said:?}");
    }
}

#[test]
fn a_change_asks_only_whom_it_may_concern() {
    let mut driven = Driven::new();
    for name in ["small", "large"] {
        driven.node_from(json!({
            "metadata": {"name": name, "labels": {"size": name}},
            "status": {"allocatable": {"cpu": if name == "small" { "1" } else { "64" }, "memory": "8Gi", "pods": "10"}},
        }));
    }
    driven.pod("fills", 9, "64");
    assert_eq!(driven.all_well(), ["fills -> large"]);
    driven.pod("tiny", 9, "100m");
    assert_eq!(driven.all_well(), ["tiny -> small"]);
    const WAITING: usize = 10_000;
    for at in 0..WAITING {
        // Every one of another size, so that they share no class; and every third waits for a pod of its own.
        let mut object = json!({
            "metadata": {"name": format!("w{at}"), "namespace": "default", "uid": format!("w{at}")},
            "spec": {"preemptionPolicy": "Never", "containers": [{"name": "c", "resources": {"requests":
                {"cpu": format!("{}m", 2000 + at)}}}]},
        });
        if at % 3 == 0 {
            object["spec"]["containers"][0]["resources"]["requests"] = json!({"memory": at.to_string()});
            object["spec"]["affinity"]["podAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "size", "labelSelector": {"matchLabels": {"app": format!("a{at}")}},
            }]});
        }
        driven.pod_from(object);
    }
    driven.all_well();
    assert_eq!(driven.state.counts().unschedulable, WAITING);

    let before = driven.state.queue.asked();
    driven.delete("tiny");
    driven.pod("tiny", 9, "100m");
    driven.all_well();
    assert_eq!(
        driven.state.queue.asked() - before,
        0,
        "a pod that comes and goes on a node too small for all"
    );

    let mut wanted = json!({
        "metadata": {"name": "a9", "namespace": "default", "uid": "a9", "labels": {"app": "a9"}},
        "spec": {"nodeName": "large", "containers": [{"name": "c"}]},
    });
    driven.show(wanted.clone());
    assert_eq!(driven.state.queue.asked() - before, 1, "one pod waits for it");
    assert_eq!(driven.state.counts().unschedulable, WAITING - 1);
    driven.settle();
    wanted["status"] = json!({"phase": "Succeeded"});
    let before = driven.state.queue.asked();
    driven.show(wanted);
    assert!(driven.state.queue.asked() - before <= 1, "it leaves no room");
}

#[test]
fn what_changed_while_a_pod_was_tried_is_not_missed() {
    let mut driven = Driven::new();
    driven.node("n", "1");
    driven.pod("old", 0, "1");
    driven.all_well();
    driven.pod("p", 0, "1");
    let (pod, _) = driven.state.queue.pop(driven.now).unwrap();
    driven.delete("old");
    driven.state.queue.refused(&pod.uid, vec!["NodeResourcesFit"], driven.now);
    assert_eq!(driven.state.counts(), Counts { backoff: 1, ..Counts::default() }, "not parked");
    driven.settle();
    assert_eq!(driven.pods["p"]["spec"]["nodeName"], "n");
}
