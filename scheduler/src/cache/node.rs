//! One node as a cycle sees it: the object, its pods, and the sums over them that filters and scores need.

use super::HostPorts;
use crate::framework::{Wakeup, WakeupSet};
use crate::pod::{NodeName, PodInfo, Uid};
use k8s_openapi::api::core::v1::Taint;
use objects::resources::Resources;
use objects::views::Node;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node and what runs on it. Kept up to date by each pod that comes or goes.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// `metadata.name`.
    pub name: NodeName,
    /// The object.
    pub node: Arc<Node>,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// The sum of what its pods request; `pods` is their number.
    pub requested: Resources,
    /// The same as scoring counts it: a container without a request counts 100m and 200 MiB.
    pub requested_for_scoring: Scored,
    /// The host ports its pods take.
    pub ports: HostPorts,
    /// Its pods, assumed ones included.
    pub pods: Vec<Arc<PodInfo>>,
    /// Those of them that have inter-pod affinity terms.
    pub pods_with_terms: Vec<Arc<PodInfo>>,
    /// Size in bytes of each image on it, by every name it has.
    pub images: FxHashMap<Arc<str>, i64>,
    /// `spec.unschedulable`, and whether there are taints: asked for every pod, and few nodes have either, so that the
    /// object stays out of it.
    cordoned: bool,
    tainted: bool,
}

/// CPU and memory as scores count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            name: NodeName::of(&node),
            allocatable: allocatable(&node),
            images: images(&node),
            cordoned: node.spec.unschedulable,
            tainted: !node.spec.taints.is_empty(),
            node,
            requested: Resources::default(),
            requested_for_scoring: Scored::default(),
            ports: HostPorts::default(),
            pods: Vec::new(),
            pods_with_terms: Vec::new(),
        }
    }

    /// Counts a pod in.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested += &pod.requests;
        self.requested_for_scoring.milli_cpu += pod.requests_for_scoring.milli_cpu;
        self.requested_for_scoring.memory += pod.requests_for_scoring.memory;
        self.ports.add(&pod.ports);
        if pod.terms().is_some() {
            self.pods_with_terms.push(pod.clone());
        }
        self.pods.push(pod);
    }

    /// Takes a newer version of a pod that counts the same.
    pub(super) fn refresh_pod(&mut self, pod: &Arc<PodInfo>) {
        let lists = [&mut self.pods, &mut self.pods_with_terms];
        for list in lists.into_iter().take(if pod.terms().is_some() { 2 } else { 1 }) {
            // Most that are confirmed came lately, and stand at the end.
            if let Some(known) = list.iter_mut().rfind(|known| known.uid == pod.uid) {
                *known = pod.clone();
            }
        }
    }

    /// Takes a pod out again; answers it if it was there.
    pub fn remove_pod(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        if pod.terms().is_some() {
            self.pods_with_terms.retain(|other| other.uid != *uid);
        }
        self.requested -= &pod.requests;
        self.requested_for_scoring.milli_cpu -= pod.requests_for_scoring.milli_cpu;
        self.requested_for_scoring.memory -= pod.requests_for_scoring.memory;
        self.ports.remove(&pod.ports);
        Some(pod)
    }
}

/// A resource that scores look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `cpu`, in thousandths of a core.
    Cpu,
    /// `memory`, in bytes.
    Memory,
    /// `ephemeral-storage`, in bytes.
    Ephemeral,
    /// Any other, by its name.
    Scalar(String),
}

impl Resource {
    /// The resource of that name.
    pub fn named(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::Ephemeral,
            other => Self::Scalar(other.to_owned()),
        }
    }

    /// Its amount.
    pub fn of(&self, resources: &Resources) -> i64 {
        match self {
            Self::Cpu => resources.milli_cpu,
            Self::Memory => resources.memory,
            Self::Ephemeral => resources.ephemeral,
            Self::Scalar(name) => resources.scalars.get(name).copied().unwrap_or(0),
        }
    }
}

/// How requests count in a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// As they are.
    Real,
    /// CPU and memory of a container without a request count 100m and 200 MiB.
    NonZero,
}

impl NodeInfo {
    /// (allocatable, requested with `pod` added) of one resource. `None`: the resource is left out of the score,
    /// because the node has none of it or it is an extended one that the pod does not ask for.
    pub fn with_pod(&self, resource: &Resource, pod: &PodInfo, counting: Counting) -> Option<(i64, i64)> {
        let room = resource.of(&self.allocatable);
        let wanted = resource.of(&pod.requests);
        if room == 0 || (wanted == 0 && matches!(resource, Resource::Scalar(_))) {
            return None;
        }
        let used = match (resource, counting) {
            (Resource::Cpu, Counting::NonZero) => {
                self.requested_for_scoring.milli_cpu + pod.requests_for_scoring.milli_cpu
            }
            (Resource::Memory, Counting::NonZero) => {
                self.requested_for_scoring.memory + pod.requests_for_scoring.memory
            }
            _ => resource.of(&self.requested) + wanted,
        };
        Some((room, used))
    }

    /// `spec.taints`.
    pub fn taints(&self) -> &[Taint] {
        if self.tainted { &self.node.spec.taints } else { &[] }
    }

    /// `spec.unschedulable`.
    pub fn is_cordoned(&self) -> bool {
        self.cordoned
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        labels(&self.node)
    }

    /// What it would mean to waiting pods if the object became `after`.
    pub(super) fn changes_to(&self, after: &Node) -> WakeupSet {
        let before = &*self.node;
        let mut kinds = WakeupSet::default();
        if before.status.allocatable != after.status.allocatable {
            kinds.insert(Wakeup::NodeAllocatable);
        }
        if labels(before) != labels(after) {
            kinds.insert(Wakeup::NodeLabels);
        }
        if before.spec.taints != after.spec.taints || before.spec.unschedulable != after.spec.unschedulable {
            kinds.insert(Wakeup::NodeTaints);
        }
        if before.status.declared_features != after.status.declared_features {
            kinds.insert(Wakeup::NodeDeclaredFeatures);
        }
        kinds
    }

    pub(super) fn has_same_images(&self, other: &Node) -> bool {
        self.node.status.images == other.status.images
    }

    /// Takes a new version of the object; pods and sums stay.
    pub(super) fn set_node(&mut self, node: Arc<Node>) {
        if self.node.status.allocatable != node.status.allocatable {
            self.allocatable = allocatable(&node);
        }
        if !self.has_same_images(&node) {
            self.images = images(&node);
        }
        (self.cordoned, self.tainted) = (node.spec.unschedulable, !node.spec.taints.is_empty());
        self.node = node;
    }
}

fn labels(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}

fn allocatable(node: &Node) -> Resources {
    Resources::from_map(&node.status.allocatable)
}

fn images(node: &Node) -> FxHashMap<Arc<str>, i64> {
    let mut sizes = FxHashMap::default();
    for image in &node.status.images {
        for name in image.names.iter().flatten() {
            sizes.insert(normal_image_name(name), image.size_bytes.unwrap_or(0));
        }
    }
    sizes
}

/// An image name as nodes and pods are compared by: without a tag it means `:latest`.
pub(crate) fn normal_image_name(name: &str) -> Arc<str> {
    let tagged = name.rfind(':') > name.rfind('/');
    if tagged { name.into() } else { format!("{name}:latest").into() }
}
