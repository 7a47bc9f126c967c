//! The pods that manifests ask for: those of Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs as their
//! controllers would make them, with the defaults that the API server would give them.
//!
//! Of a set that is there already only the pods are made that it lacks. Pure: adds to a cluster that was read.

use super::report::Origin;
use crate::world::{ObjectError, World, pod as pod_view};
use objects::labels::Selector;
use objects::owner::controller_of;
use objects::views::{Node, Pod};
use objects::{affinity, taints};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most pods that one object is taken to ask for.
const REPLICAS_LIMIT: u64 = 200_000;

/// Why a manifest cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// An object is not one of its kind.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The pod of an object is not valid.
    #[error("the pod of {owner} is not valid")]
    Pod {
        /// `Deployment default/web`.
        owner: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The API server would refuse the pods.
    #[error("{owner} names the priority class {class}, which is not there")]
    NoClass {
        /// `Deployment default/web`.
        owner: String,
        /// As given.
        class: String,
    },
    /// More than can be meant.
    #[error("{owner} asks for {replicas} pods: more than {REPLICAS_LIMIT}")]
    TooMany {
        /// `Deployment default/web`.
        owner: String,
        /// As given.
        replicas: u64,
    },
}

/// A pod that is to be placed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) pod: Arc<Pod>,
    pub(super) owner: String,
    pub(super) origin: Origin,
}

/// What the manifests ask for. Objects that pods refer to are added to the world.
pub(super) fn apply(world: &mut World, manifests: Vec<Value>) -> Result<Vec<Wanted>, ManifestError> {
    let mut makers = Vec::new();
    for mut object in manifests {
        let kind = text(&object["kind"]);
        if object["metadata"]["namespace"].is_null() && namespaced(&kind) {
            object["metadata"]["namespace"] = json!("default");
        }
        match kind.as_str() {
            "Deployment"
            | "ReplicaSet"
            | "ReplicationController"
            | "StatefulSet"
            | "DaemonSet"
            | "Job"
            | "Pod" => makers.push(object),
            "CronJob" => {
                world.notes.push(format!("{}: makes its pods later, so none are placed", named(&object)))
            }
            _ => {
                world.add(object)?;
            }
        }
    }
    let mut wanted = Vec::new();
    for object in makers {
        wanted.extend(pods_of(world, &object)?);
    }
    Ok(wanted)
}

/// The pods that the DaemonSets of the cluster get on new nodes.
pub(super) fn daemons(world: &World, nodes: &[String]) -> Result<Vec<Wanted>, ManifestError> {
    let mut wanted = Vec::new();
    for set in world.workloads.iter().filter(|object| object["kind"] == "DaemonSet") {
        for node in world.nodes.iter().filter(|node| nodes.iter().any(|name| name == node.name())) {
            wanted.extend(daemon(world, set, node, Origin::Daemon)?);
        }
    }
    Ok(wanted)
}

fn pods_of(world: &mut World, object: &Value) -> Result<Vec<Wanted>, ManifestError> {
    let (kind, owner) = (text(&object["kind"]), named(object));
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    let spec = &object["spec"];
    if kind == "Pod" {
        if world.pods.iter().any(|pod| pod.namespace() == namespace && pod.name() == name) {
            world.notes.push(format!("{owner}: is there already"));
            return Ok(Vec::new());
        }
        let mut pod = object.clone();
        if let (true, Some(prefix)) = (name.is_empty(), object["metadata"]["generateName"].as_str()) {
            pod["metadata"]["name"] = json!(format!("{prefix}0"));
        }
        return Ok(vec![wanted(world, pod, owner, Origin::Applied)?]);
    }
    if kind == "DaemonSet" {
        let nodes = world.nodes.clone();
        let of_node = |node: &Arc<Node>| daemon(world, object, node, Origin::Applied).transpose();
        return nodes.iter().filter_map(of_node).collect();
    }
    let replicas = match kind.as_str() {
        "Job" => {
            let parallel = spec["parallelism"].as_u64().unwrap_or(1);
            spec["completions"].as_u64().map_or(parallel, |completions| parallel.min(completions))
        }
        _ => spec["replicas"].as_u64().unwrap_or(1),
    };
    if replicas > REPLICAS_LIMIT {
        return Err(ManifestError::TooMany { owner, replicas });
    }
    let selector = selector_of(object);
    let there = world.pods.iter().filter(|pod| {
        pod.namespace() == namespace && objects::pod::is_active(pod) && selector.matches(labels(pod))
    });
    let there = there.count() as u64;
    if there > 0 {
        world
            .notes
            .push(format!("{owner}: {there} of its {replicas} pods are there already and stay as they are"));
    }
    let set = owning_set(world, object, &kind)?;
    let template = &spec["template"];
    (there..replicas)
        .map(|number| {
            let pod_name = format!("{name}-{number}");
            if kind == "StatefulSet" {
                claims(world, object, &pod_name)?;
            }
            let pod = from_template(template, &namespace, &pod_name, &set, &kind, spec);
            wanted(world, pod, owner.clone(), Origin::Applied)
        })
        .collect()
}

/// What the pods name as their controller: (apiVersion, kind, name). Made known to the scheduler, which spreads pods
/// by the selector of their set.
fn owning_set(
    world: &mut World,
    object: &Value,
    kind: &str,
) -> Result<(String, String, String), ManifestError> {
    let (version, name) = (text(&object["apiVersion"]), text(&object["metadata"]["name"]));
    let (version, kind, name) = match kind {
        "Deployment" => ("apps/v1".to_owned(), "ReplicaSet", format!("{name}-simulated")),
        other => (version, other, name),
    };
    let metadata = json!({"name": name, "namespace": object["metadata"]["namespace"]});
    let selector = object["spec"]["selector"].clone();
    if kind != "Job" {
        let set = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {"selector": selector}});
        world.add_fact(set)?;
    }
    Ok((version, kind.to_owned(), name))
}

fn from_template(
    template: &Value,
    namespace: &str,
    name: &str,
    (version, kind, set): &(String, String, String),
    maker: &str,
    spec: &Value,
) -> Value {
    let mut metadata = json!({
        "name": name, "namespace": namespace,
        "annotations": template["metadata"]["annotations"], "labels": template["metadata"]["labels"],
        "ownerReferences": [{"apiVersion": version, "kind": kind, "name": set, "uid": format!("{maker}/{set}"),
            "controller": true}],
    });
    if maker == "Deployment" {
        metadata["labels"]["pod-template-hash"] = json!("simulated");
    }
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    for volume in spec["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let volume = text(&volume["metadata"]["name"]);
        let claim =
            json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}")}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(claim),
            None => pod["spec"]["volumes"] = json!([claim]),
        }
    }
    pod
}

/// The claims of a StatefulSet's pod.
fn claims(world: &mut World, set: &Value, pod: &str) -> Result<(), ManifestError> {
    for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = format!("{}-{pod}", text(&template["metadata"]["name"]));
        let namespace = &set["metadata"]["namespace"];
        let metadata = json!({"name": name, "namespace": namespace, "uid": format!("claim {name}")});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": template["spec"], "status": {"phase": "Pending"}});
        if world.claims.insert((text(namespace), name)) {
            world.add(claim)?;
        }
    }
    Ok(())
}

/// The pod of a DaemonSet on a node, if it gets one.
fn daemon(world: &World, set: &Value, node: &Node, origin: Origin) -> Result<Option<Wanted>, ManifestError> {
    let (owner, namespace) = (named(set), text(&set["metadata"]["namespace"]));
    let name = text(&set["metadata"]["name"]);
    let is_its = |pod: &Pod| {
        let owner = controller_of(&pod.metadata);
        pod.namespace() == namespace
            && owner.is_some_and(|owner| owner.kind == "DaemonSet" && owner.name == name)
    };
    if world.pods.iter().any(|pod| pod.node_name() == Some(node.name()) && is_its(pod)) {
        return Ok(None);
    }
    let reference = (text(&set["apiVersion"]), "DaemonSet".to_owned(), name.clone());
    let pod_name = format!("{name}-{}", node.name());
    let spec = &set["spec"];
    let mut pod = from_template(&spec["template"], &namespace, &pod_name, &reference, "DaemonSet", spec);
    let tolerations: Vec<Value> = DAEMON_TOLERATIONS
        .iter()
        .map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}))
        .collect();
    extend(&mut pod["spec"]["tolerations"], tolerations);
    let wanted = wanted(world, pod.clone(), owner.clone(), origin)?;
    let hard = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
    let wants = affinity::required_matches(&wanted.pod.spec, &node.metadata)
        && taints::untolerated(&node.spec.taints, &wanted.pod.spec.tolerations, &hard).is_none();
    if !wants {
        return Ok(None);
    }
    // As its controller binds it to the node: by name, in every alternative.
    let by_name = json!([{"key": "metadata.name", "operator": "In", "values": [node.name()]}]);
    let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    *terms = json!([{ "matchFields": by_name }]);
    self::wanted(world, pod, owner, origin).map(Some)
}

/// What the DaemonSet controller adds to every pod.
const DAEMON_TOLERATIONS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// A pod with what the API server would add: requests from limits, the priority of its class, tolerations.
fn wanted(world: &World, mut pod: Value, owner: String, origin: Origin) -> Result<Wanted, ManifestError> {
    let spec = &mut pod["spec"];
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
            for (name, limit) in limits {
                if container["resources"]["requests"][&name].is_null() {
                    container["resources"]["requests"][&name] = limit;
                }
            }
        }
    }
    let class = spec["priorityClassName"].as_str().map(str::to_owned);
    if spec["priority"].is_null() {
        let Some(priority) = world.priorities.of(class.as_deref()) else {
            return Err(ManifestError::NoClass { owner, class: class.unwrap_or_default() });
        };
        spec["priority"] = json!(priority);
    }
    let soon = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(
        |key| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
    );
    extend(&mut spec["tolerations"], soon);
    let pod = pod_view(pod).map_err(|source| ManifestError::Pod { owner: owner.clone(), source })?;
    Ok(Wanted { pod: Arc::new(pod), owner, origin })
}

fn extend(list: &mut Value, more: impl IntoIterator<Item = Value>) {
    match list.as_array_mut() {
        Some(list) => list.extend(more),
        None => *list = more.into_iter().collect(),
    }
}

fn selector_of(object: &Value) -> Selector {
    let selector = &object["spec"]["selector"];
    let labels: Option<BTreeMap<String, String>> = serde_json::from_value(selector.clone()).ok();
    match (text(&object["kind"]).as_str(), labels) {
        ("ReplicationController", Some(labels)) => Selector::from_set(&labels),
        _ => serde_json::from_value(selector.clone())
            .ok()
            .and_then(|selector| Selector::from_label_selector(&selector).ok())
            .filter(|selector| !selector.is_everything())
            .unwrap_or_else(Selector::nothing),
    }
}

fn labels(pod: &Pod) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    pod.metadata.labels.as_ref().unwrap_or(&NONE)
}

fn namespaced(kind: &str) -> bool {
    !["Namespace", "Node", "PersistentVolume", "StorageClass", "PriorityClass", "CSINode", "CSIDriver"]
        .contains(&kind)
}

/// `Deployment default/web`.
fn named(object: &Value) -> String {
    let part = |field: &str| text(&object["metadata"][field]);
    format!("{} {}/{}", text(&object["kind"]), part("namespace"), part("name"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
