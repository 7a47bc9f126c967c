//! What the fuzz test is made of: nodes, pods, namespaces, services and profiles at random, from few values, so that
//! they meet each other.

use crate::cache::Owner;
use crate::framework::{Enabled, Points, Profile};
use crate::plugins::args::{
    InterPodAffinityArgs, NodeResourcesFitArgs, PodTopologySpreadArgs, ScoringStrategyType,
};
use crate::plugins::{self, InterPodAffinity, NodeResourcesFit, PodTopologySpread};
use crate::pod::PodInfo;
use crate::preempt::Budget;
use crate::related::Related;
use component::random::Random;
use jiff::{SignedDuration, Timestamp};
use objects::declared_features::USER_NAMESPACES_WITH_HOST_NETWORK;
use objects::labels::Selector;
use objects::views::Node;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const APPS: [&str; 3] = ["web", "db", "job"];
const ZONES: [&str; 4] = ["z1", "z2", "z3", ""];
const KEYS: [&str; 4] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname", "rack", "disk"];
const IMAGES: [&str; 3] = ["web", "db:1", "registry.example:5000/job"];
pub(super) const DEVICES: &str = "example.com/gpu";
const MEBIBYTE: u64 = 1 << 20;

pub(super) struct Generator {
    random: Random,
    names: u64,
    /// Pods are made from few templates, as sets make them.
    templates: Vec<Value>,
    /// Seconds that have passed.
    passed: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::from_seed(seed), names: 0, templates: Vec::new(), passed: 0 }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// True once in `times`.
    fn rarely(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}-{}", self.names)
    }

    pub(super) fn namespace(&mut self) -> &'static str {
        self.one(&NAMESPACES)
    }

    pub(super) fn namespace_labels(&mut self) -> BTreeMap<String, String> {
        [("team".to_owned(), self.one(&["a", "b"]).to_owned())].into()
    }

    pub(super) fn service(&mut self) -> (&'static str, String, Option<Selector>) {
        let selector = Selector::from_set(&[("app".to_owned(), self.one(&APPS).to_owned())].into());
        let wanted = !self.rarely(3);
        (self.namespace(), self.one(&["s1", "s2"]).to_owned(), wanted.then_some(selector))
    }

    pub(super) fn owner_selector(&mut self) -> (Owner, Option<Selector>) {
        let owner = Owner {
            kind: "ReplicaSet",
            namespace: self.namespace().into(),
            name: self.one(&["r1", "r2"]).into(),
        };
        let selector = Selector::from_set(&[("tier".to_owned(), self.one(&["0", "1"]).to_owned())].into());
        (owner, (!self.rarely(3)).then_some(selector))
    }

    pub(super) fn budgets(&mut self) -> Vec<Budget> {
        let budget = |generator: &mut Self| Budget {
            namespace: generator.namespace().to_owned(),
            selector: Selector::from_set(&[("app".to_owned(), generator.one(&APPS).to_owned())].into()),
            allowed: i32::try_from(generator.below(3)).unwrap(),
            disrupted: BTreeSet::new(),
        };
        (0..self.below(3)).map(|_| budget(self)).collect()
    }

    /// A class that stands for the extended resource of nodes and pods.
    pub(super) fn device_class() -> Related {
        let class = json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": DEVICES}});
        Related::from_json(class).expect("a known kind").unwrap()
    }

    /// A time no earlier than the last; pods start within the first minute.
    pub(super) fn now(&mut self) -> Timestamp {
        self.passed += self.below(5);
        let first: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        first + SignedDuration::from_secs(i64::try_from(self.passed).unwrap())
    }

    pub(super) fn node(&mut self) -> Arc<Node> {
        let name = self.name("node");
        self.node_named(&name)
    }

    pub(super) fn node_named(&mut self, name: &str) -> Arc<Node> {
        let mut labels = Map::new();
        let zone = self.one(&ZONES);
        if !self.rarely(6) {
            labels.insert(KEYS[0].into(), json!(zone));
        }
        if !self.rarely(10) {
            labels.insert(KEYS[1].into(), json!(name));
        }
        if self.rarely(2) {
            labels.insert(KEYS[2].into(), json!(self.one(&["r1", "r2", "r3", "r4", "r5"])));
        }
        if self.rarely(2) {
            labels.insert(KEYS[3].into(), json!(self.one(&["ssd", "hdd"])));
        }
        let mut taints = Vec::new();
        while self.rarely(4) {
            let effect = self.one(&["NoSchedule", "PreferNoSchedule", "PreferNoSchedule", "NoExecute"]);
            taints.push(json!({"key": self.one(&["t1", "t2"]), "value": "v", "effect": effect}));
        }
        let mut images = Vec::new();
        for image in IMAGES {
            if self.rarely(3) {
                images.push(json!({"names": [image], "sizeBytes": self.between(10, 900) * MEBIBYTE}));
            }
        }
        let pods = if self.rarely(5) { self.between(1, 4) } else { 110 };
        let mut allocatable = json!({
            "cpu": self.between(1, 8).to_string(), "memory": format!("{}Gi", self.between(1, 16)),
            "ephemeral-storage": "20Gi", "pods": pods.to_string(),
        });
        if self.rarely(3) {
            allocatable[DEVICES] = json!(self.between(0, 4).to_string());
        }
        let features = if self.rarely(2) { vec![USER_NAMESPACES_WITH_HOST_NETWORK] } else { vec![] };
        Arc::new(from(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": self.rarely(10)},
            "status": {"allocatable": allocatable, "images": images, "declaredFeatures": features},
        })))
    }

    /// A pod like those before it, or of a new kind.
    pub(super) fn pod(&mut self) -> Arc<PodInfo> {
        if self.templates.is_empty() || self.rarely(6) {
            let template = self.template();
            self.templates.push(template);
        }
        let newest = self.templates.len().saturating_sub(8);
        let at = newest + self.index(self.templates.len() - newest);
        let mut object = self.templates[at].clone();
        let name = self.name("pod");
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(name);
        if self.rarely(4) {
            object["metadata"]["labels"]["ordinal"] = json!(name);
        }
        if self.rarely(4) {
            object["metadata"]["labels"]["app"] = json!(self.one(&APPS));
        }
        if self.rarely(4) {
            object["spec"]["priority"] = json!(self.below(4));
        }
        Arc::new(PodInfo::new(Arc::new(from(object))))
    }

    /// A newer version of a pod on a node: the same, with other labels, or on its way out.
    pub(super) fn changed(&mut self, pod: &PodInfo) -> Arc<PodInfo> {
        let mut view = (**pod.view()).clone();
        match self.below(3) {
            0 => {}
            1 => {
                let labels = view.metadata.labels.get_or_insert_default();
                labels.insert("app".to_owned(), self.one(&APPS).to_owned());
            }
            _ => view.metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z"))),
        }
        if self.rarely(2) {
            let time = format!("2026-01-01T00:00:{:02}Z", self.below(60));
            view.status.start_time = Some(from(json!(time)));
        }
        Arc::new(PodInfo::new(Arc::new(view)))
    }

    fn template(&mut self) -> Value {
        let labels = json!({"app": self.one(&APPS), "tier": self.one(&["0", "1"])});
        let mut metadata = json!({"namespace": self.namespace(), "labels": labels});
        if self.rarely(3) {
            metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": self.one(&["r1", "r2"]), "uid": "u", "controller": true}]);
        }
        let mut spec = json!({"priority": self.one(&[0, 0, 5, 10]), "containers": self.containers()});
        if self.rarely(5) {
            spec["nodeSelector"] = json!({(KEYS[0]): self.one(&ZONES)});
        }
        if self.rarely(4) {
            let toleration =
                |key: &str, operator: &str| json!({"key": key, "operator": operator, "value": "v"});
            spec["tolerations"] = match self.below(3) {
                0 => json!([{"operator": "Exists"}]),
                1 => json!([toleration("t1", "Equal")]),
                _ => {
                    json!([{"key": "t2", "operator": "Exists", "effect": self.one(&["NoSchedule", "PreferNoSchedule"])}])
                }
            };
        }
        let mut affinity = Map::new();
        if self.rarely(4) {
            affinity.insert("nodeAffinity".into(), self.node_affinity());
        }
        for kind in ["podAffinity", "podAntiAffinity"] {
            if self.rarely(4) {
                affinity.insert(kind.into(), self.pod_affinity());
            }
        }
        if !affinity.is_empty() {
            spec["affinity"] = affinity.into();
        }
        if self.rarely(3) {
            let constraints: Vec<Value> = (0..self.between(1, 2)).map(|_| self.constraint()).collect();
            spec["topologySpreadConstraints"] = constraints.into();
        }
        if self.rarely(40) {
            (spec["hostNetwork"], spec["hostUsers"]) = (json!(true), json!(false));
        }
        if self.rarely(40) {
            spec["nodeName"] = json!(format!("node-{}", self.between(1, 10)));
        }
        json!({"metadata": metadata, "spec": spec})
    }

    fn containers(&mut self) -> Value {
        let mut requests = Map::new();
        if !self.rarely(5) {
            requests.insert("cpu".into(), json!(format!("{}m", self.one(&[100, 250, 500, 1000, 3000]))));
        }
        if !self.rarely(4) {
            requests.insert("memory".into(), json!(format!("{}Mi", self.one(&[64, 256, 1024, 3000]))));
        }
        if self.rarely(8) {
            requests.insert(DEVICES.into(), json!(self.between(1, 2)));
        }
        if self.rarely(12) {
            requests.insert("ephemeral-storage".into(), json!(format!("{}Gi", self.between(1, 25))));
        }
        let mut container =
            json!({"name": "c", "resources": {"requests": requests}, "image": self.one(&IMAGES)});
        if self.rarely(6) {
            let ip = self.one(&["", "127.0.0.1", "127.0.0.2"]);
            container["ports"] =
                json!([{"containerPort": 80, "hostPort": self.between(80, 81), "hostIP": ip}]);
        }
        json!([container])
    }

    fn node_affinity(&mut self) -> Value {
        let mut all = json!({});
        let expression = |generator: &mut Self| {
            let key = generator.one(&KEYS);
            let values = [generator.one(&ZONES), generator.one(&["ssd", "r1", "r2"])];
            let operator = generator.one(&["In", "NotIn", "Exists", "DoesNotExist"]);
            json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
        };
        if self.rarely(2) {
            let mut terms = vec![expression(self)];
            if self.rarely(6) {
                let names =
                    [format!("node-{}", self.between(1, 10)), format!("node-{}", self.between(1, 20))];
                let field =
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]});
                terms = vec![field];
            }
            all["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": terms});
        }
        let wishes: Vec<Value> = (0..self.below(3))
            .map(|_| json!({"weight": self.between(1, 100), "preference": expression(self)}))
            .collect();
        all["preferredDuringSchedulingIgnoredDuringExecution"] = wishes.into();
        all
    }

    fn selector(&mut self) -> Value {
        match self.below(6) {
            0 => json!({}),
            1 => {
                json!({"matchExpressions": [{"key": "tier", "operator": self.one(&["In", "NotIn"]), "values": ["0"]}]})
            }
            2 => json!({"matchLabels": {"tier": self.one(&["0", "1"])}}),
            _ => json!({"matchLabels": {"app": self.one(&APPS)}}),
        }
    }

    fn pod_affinity(&mut self) -> Value {
        let term = |generator: &mut Self| {
            let mut term =
                json!({"topologyKey": generator.one(&KEYS), "labelSelector": generator.selector()});
            match generator.below(5) {
                0 => term["namespaces"] = json!([generator.namespace(), generator.namespace()]),
                1 => term["namespaceSelector"] = json!({"matchLabels": {"team": generator.one(&["a", "b"])}}),
                2 => term["namespaceSelector"] = json!({}),
                _ => {}
            }
            term
        };
        let required: Vec<Value> = (0..self.one(&[0, 1, 1, 2])).map(|_| term(self)).collect();
        let preferred: Vec<Value> = (0..self.below(3))
            .map(|_| json!({"weight": self.between(1, 100), "podAffinityTerm": term(self)}))
            .collect();
        json!({
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        })
    }

    fn constraint(&mut self) -> Value {
        let mut constraint = json!({
            "topologyKey": self.one(&KEYS), "maxSkew": self.between(1, 3),
            "whenUnsatisfiable": self.one(&["DoNotSchedule", "ScheduleAnyway"]), "labelSelector": self.selector(),
        });
        if self.rarely(5) {
            constraint["minDomains"] = json!(self.between(1, 5));
        }
        if self.rarely(4) {
            constraint["nodeAffinityPolicy"] = json!(self.one(&["Honor", "Ignore"]));
        }
        if self.rarely(3) {
            constraint["nodeTaintsPolicy"] = json!(self.one(&["Honor", "Ignore"]));
        }
        if self.rarely(5) {
            constraint["matchLabelKeys"] = json!(["tier"]);
        }
        if self.rarely(15) {
            constraint.as_object_mut().unwrap().remove("labelSelector");
        }
        constraint
    }

    /// Mostly the default profile; else one with other arguments, weights, or without some plugins.
    pub(super) fn profile(&mut self) -> Profile {
        let mut enabled = plugins::defaults();
        if self.rarely(2) {
            return Profile::new("default-scheduler", enabled);
        }
        let mut fit = NodeResourcesFitArgs::default();
        if self.rarely(2) {
            fit.scoring_strategy.kind = ScoringStrategyType::MostAllocated;
        }
        let pods = InterPodAffinityArgs {
            hard_pod_affinity_weight: self.one(&[0, 1, 50]),
            ignore_preferred_terms_of_existing_pods: self.rarely(2),
        };
        let listed = json!({
            "defaultingType": "List",
            "defaultConstraints": [{
                "topologyKey": self.one(&KEYS), "maxSkew": 1,
                "whenUnsatisfiable": self.one(&["DoNotSchedule", "ScheduleAnyway"]),
            }],
        });
        let spread: PodTopologySpreadArgs = if self.rarely(2) { from(listed) } else { from(json!({})) };
        for one in &mut enabled {
            one.plugin = match one.plugin.name() {
                "NodeResourcesFit" => Box::new(NodeResourcesFit::new(&fit)),
                "InterPodAffinity" => Box::new(InterPodAffinity::new(&pods)),
                "PodTopologySpread" => Box::new(PodTopologySpread::new(&spread)),
                _ => continue,
            };
        }
        for one in &mut enabled {
            if one.weight > 0 && self.rarely(3) {
                one.weight = i64::try_from(self.below(6)).unwrap();
            }
            if self.rarely(12) {
                one.points = Points { filter: self.rarely(2), score: self.rarely(2), ..Points::ALL };
            }
        }
        enabled.retain(|_: &Enabled| !self.rarely(12));
        Profile::new("default-scheduler", enabled)
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
