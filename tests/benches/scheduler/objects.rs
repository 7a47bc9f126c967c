//! What the workloads are made of: nodes and pods as upstream's scheduler_perf has them, encoded once.
//!
//! Nodes: 4 CPUs, 32Gi, 110 pods. Pods: one container that requests 100m and 500Mi, where nothing else is said.
//! Source of the shapes: kubernetes `test/integration/scheduler_perf` (`templates/`, `*/performance-config.yaml`).

use bytes::Bytes;
use serde_json::{Value, json};

/// The image of every pod.
const IMAGE: &str = "registry.k8s.io/pause:3.10.1";
/// Stands for the name, and for the number of the gang, until an object is made.
const NAME: &str = "@name@";
const GANG: &str = "@gang@";
/// The one node that daemon pods name.
pub(crate) const NAMED_NODE: &str = "scheduler-perf-node";
/// Pods of a gang.
pub(crate) const GANG_SIZE: usize = 3;
/// Priority class of pods that preempt, and its value.
pub(crate) const IMPORTANT: (&str, i32) = ("important", 10);

/// What a pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 100m, 500Mi.
    Plain,
    /// Spread over zones by at most 5; true: must, false: should.
    Spread(bool),
    /// Label only, no requests; a Service selects it, so the default spreading applies.
    OfService,
    /// Zone in (zone1, zone2).
    NodeAffinity,
    /// Must be in the zone of pods like it.
    Affinity,
    /// Must not be on the node of a pod like it.
    AntiAffinity,
    /// Should be on the node of a pod like it.
    PreferredAffinity,
    /// Should not be on the node of a pod like it.
    PreferredAntiAffinity,
    /// Must not be on the node of a pod like it in any namespace of its team.
    AntiAffinityOfTeam,
    /// 900m, ends at once: four fill a node but for 400m.
    Low,
    /// 3 CPUs at a higher priority: three of [`Shape::Low`] must go.
    Preemptor,
    /// 9 CPUs at a higher priority: fits nowhere.
    Impossible,
    /// Names [`NAMED_NODE`]; no requests.
    Daemon,
    /// 100m, 100Mi, one of a gang of three.
    Gang,
}

/// An encoded object, cut where its name goes.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pieces: Vec<String>,
    gang: bool,
}

impl Template {
    /// A pod of this shape.
    pub(crate) fn pod(shape: Shape) -> Self {
        Self::cut(&pod(shape))
    }

    fn cut(object: &Value) -> Self {
        let text = object.to_string().replace(GANG, NAME);
        let gang = text.matches(NAME).count() > 1;
        Self { pieces: text.split(NAME).map(str::to_owned).collect(), gang }
    }

    /// The body of the object with this name and number.
    pub(crate) fn body(&self, name: &str, number: usize) -> Bytes {
        let mut body = String::with_capacity(self.pieces.iter().map(String::len).sum::<usize>() + 64);
        let group = self.gang.then(|| gang_name(number / GANG_SIZE));
        // In an encoded object `metadata` stands before `spec`.
        let fillings = [name, group.as_deref().unwrap_or_default()];
        for (at, piece) in self.pieces.iter().enumerate() {
            body.push_str(piece);
            if at + 1 < self.pieces.len() {
                body.push_str(fillings[at.min(1)]);
            }
        }
        body.into()
    }
}

/// A node in this zone, if any.
pub(crate) fn node(name: &str, zone: Option<&str>, pods: &str) -> Value {
    let mut labels = json!({ "kubernetes.io/hostname": name });
    if let Some(zone) = zone {
        labels["topology.kubernetes.io/zone"] = zone.into();
    }
    let capacity = json!({ "cpu": "4", "memory": "32Gi", "pods": pods });
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }, "spec": {},
        "status": { "capacity": capacity, "allocatable": capacity, "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

/// What makes a new node schedulable, as the node lifecycle controller would.
pub(crate) fn untainted() -> Value {
    json!({ "spec": { "taints": null } })
}

/// A namespace of the team that anti-affinity selects.
pub(crate) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "team": "devops" } } })
}

/// The account every pod runs as. Without a token volume: upstream's benchmark runs without that admission plugin.
pub(crate) fn account() -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" },
        "automountServiceAccountToken": false })
}

/// The service whose pods are spread by default.
pub(crate) fn service() -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "spread" },
        "spec": { "selector": { "app": "scheduler-perf" }, "ports": [{ "port": 80 }] } })
}

/// The class of pods that preempt.
pub(crate) fn priority_class() -> Value {
    let (name, value) = IMPORTANT;
    json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
        "value": value })
}

/// The group of a gang.
pub(crate) fn pod_group(number: usize) -> Value {
    json!({ "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": { "name": gang_name(number) },
        "spec": { "schedulingPolicy": { "gang": { "minCount": GANG_SIZE } } } })
}

fn gang_name(number: usize) -> String {
    format!("gang-{number}")
}

fn pod(shape: Shape) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": NAME },
        "spec": { "containers": [{ "name": "pause", "image": IMAGE, "ports": [{ "containerPort": 80 }],
            "resources": resources("100m", "500Mi") }] },
    });
    if let Some((key, value)) = label(shape) {
        pod["metadata"]["labels"] = json!({ key: value });
    }
    let spec = &mut pod["spec"];
    match shape {
        Shape::Plain => {}
        Shape::Spread(must) => spec["topologySpreadConstraints"] = json!([spread(must)]),
        Shape::OfService => spec["containers"] = json!([{ "name": "pause", "image": IMAGE }]),
        Shape::NodeAffinity => spec["affinity"] = node_affinity(),
        Shape::Affinity => {
            spec["affinity"] =
                json!({ "podAffinity": required(&term("blue", "topology.kubernetes.io/zone")) });
        }
        Shape::AntiAffinity => {
            spec["affinity"] = json!({ "podAntiAffinity": required(&term("green", HOSTNAME)) });
        }
        Shape::PreferredAffinity => {
            spec["affinity"] = json!({ "podAffinity": preferred(&term("red", HOSTNAME)) });
        }
        Shape::PreferredAntiAffinity => {
            spec["affinity"] = json!({ "podAntiAffinity": preferred(&term("yellow", HOSTNAME)) });
        }
        Shape::AntiAffinityOfTeam => {
            let mut term = term("green", HOSTNAME);
            term["namespaceSelector"] = json!({ "matchLabels": { "team": "devops" } });
            if let Some(term) = term.as_object_mut() {
                term.remove("namespaces");
            }
            spec["affinity"] = json!({ "podAntiAffinity": required(&term) });
        }
        Shape::Low => {
            spec["terminationGracePeriodSeconds"] = 0.into();
            spec["containers"][0]["resources"] = resources("900m", "500Mi");
        }
        Shape::Preemptor => {
            spec["priorityClassName"] = IMPORTANT.0.into();
            spec["containers"][0]["resources"] = resources("3", "500Mi");
        }
        Shape::Impossible => {
            spec["priorityClassName"] = IMPORTANT.0.into();
            spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "9", "memory": "500Mi" } });
        }
        Shape::Daemon => {
            spec["affinity"] = only_on(NAMED_NODE);
            spec["containers"] = json!([{ "name": "pause", "image": IMAGE }]);
        }
        Shape::Gang => {
            spec["schedulingGroup"] = json!({ "podGroupName": GANG });
            spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m", "memory": "100Mi" } });
        }
    }
    pod
}

const HOSTNAME: &str = "kubernetes.io/hostname";

fn label(shape: Shape) -> Option<(&'static str, &'static str)> {
    match shape {
        Shape::Spread(_) | Shape::Affinity => Some(("color", "blue")),
        Shape::AntiAffinity | Shape::AntiAffinityOfTeam => Some(("color", "green")),
        Shape::PreferredAffinity => Some(("color", "red")),
        Shape::PreferredAntiAffinity => Some(("color", "yellow")),
        Shape::OfService => Some(("app", "scheduler-perf")),
        _ => None,
    }
}

fn resources(cpu: &str, memory: &str) -> Value {
    let both = json!({ "cpu": cpu, "memory": memory });
    json!({ "requests": both, "limits": both })
}

fn spread(must: bool) -> Value {
    json!({ "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": if must { "DoNotSchedule" } else { "ScheduleAnyway" },
        "labelSelector": { "matchLabels": { "color": "blue" } } })
}

fn term(color: &str, topology: &str) -> Value {
    json!({ "labelSelector": { "matchLabels": { "color": color } }, "topologyKey": topology,
        "namespaces": ["sched-1", "sched-0"] })
}

fn required(term: &Value) -> Value {
    json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] })
}

fn preferred(term: &Value) -> Value {
    json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": term }] })
}

fn node_affinity() -> Value {
    nodes_where(&json!({ "matchExpressions": [
        { "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone1", "zone2"] }] }))
}

fn only_on(node: &str) -> Value {
    nodes_where(&json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }))
}

fn nodes_where(term: &Value) -> Value {
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } })
}
