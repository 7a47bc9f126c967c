//! One change of a pod or of the cluster, and what comes of making it: a copy to ask the plugins about.

use super::like;
use crate::cache::Snapshot;
use crate::explain::look::Case;
use crate::pod::{NodeName, PodInfo};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use objects::resources::Resources;
use objects::views::{Node, Pod};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What each further change costs besides itself: one that is enough is worth more than two.
pub(super) const COST_OF_MORE: u32 = 10;

/// A change. The indexes are places in the pod's lists.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Takes the scheduling gates away.
    RemoveGates(Vec<String>),
    /// Asks for less: the totals before and after.
    Request { before: Resources, after: Resources },
    /// Tolerates a taint that the node has.
    Tolerate { taint: Taint, node: NodeName },
    /// Drops a label from `nodeSelector`.
    DropSelector { key: String, value: String },
    /// Drops the required node affinity.
    DropNodeAffinity,
    /// Drops a required pod affinity term.
    DropNear { at: usize, topology_key: String },
    /// Drops a required pod anti-affinity term.
    DropAway { at: usize, topology_key: String },
    /// Spreads less strictly: a greater `maxSkew`.
    Skew { at: usize, topology_key: String, before: i32, after: i32 },
    /// Spreads as a wish only.
    WishToSpread { at: usize, topology_key: String },
    /// Takes no port of the node.
    DropPort(i32),
    /// Does without a volume.
    DropVolume { name: String, claim: String },
    /// Lets pods onto a node again.
    Uncordon(NodeName),
    /// Gives a node labels; the second map has what it says now.
    Label { node: NodeName, labels: BTreeMap<String, String>, before: BTreeMap<String, String> },
    /// Deletes pods.
    Evict { node: NodeName, victims: Vec<Arc<PodInfo>>, priority: i32 },
    /// Adds a node of the same kind.
    AddLike(Arc<Node>),
}

impl Change {
    /// How much of a change it is. Only the order means anything.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::RemoveGates(_) => 1,
            Self::Uncordon(_) => 10,
            Self::Tolerate { taint, .. } if reserved(&taint.key) => 60,
            Self::Tolerate { .. } => 15,
            Self::Label { labels, before, .. } => {
                let known = labels.keys().filter(|key| reserved(key)).count();
                20 + 5 * (labels.len() as u32 - 1) + 20 * before.len() as u32 + 30 * known as u32
            }
            Self::Request { before, after } => 20 + (60.0 * (1.0 - kept(before, after))) as u32,
            Self::Skew { before, after, .. } => 22 + after.abs_diff(*before).min(20),
            Self::DropSelector { .. } => 30,
            Self::WishToSpread { .. } => 45,
            Self::DropNodeAffinity | Self::DropNear { .. } | Self::DropAway { .. } => 40,
            Self::DropPort(_) => 45,
            Self::Evict { victims, .. } => 50 + 5 * victims.len() as u32,
            Self::AddLike(_) => 70,
            Self::DropVolume { .. } => 90,
        }
    }
}

/// The least share of a resource that is still asked for, 0 to 1.
pub(super) fn kept(before: &Resources, after: &Resources) -> f64 {
    let named = crate::explain::amounts::named(before);
    let share = named.iter().map(|resource| resource.of(after) as f64 / resource.of(before) as f64);
    share.fold(1.0, f64::min)
}

/// Names under which Kubernetes itself marks nodes: not for users to hand out or tolerate.
pub(super) fn reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    domain == "kubernetes.io" || domain.ends_with(".kubernetes.io")
}

/// A pod and a cluster with changes made.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    pub(super) view: Pod,
    requests: Option<Resources>,
    cluster: Cow<'a, Snapshot>,
}

impl<'a> Draft<'a> {
    /// Without any change; the pod as if it had no node.
    pub(super) fn of(case: &Case<'a>) -> Self {
        let mut view = Pod::clone(case.pod.view());
        view.spec.node_name = None;
        Self { view, requests: None, cluster: Cow::Borrowed(case.cluster) }
    }

    pub(super) fn pod(&self) -> Arc<PodInfo> {
        let mut pod = PodInfo::new(Arc::new(self.view.clone()));
        if let Some(requests) = &self.requests {
            pod.requests = requests.clone();
        }
        Arc::new(pod)
    }

    pub(super) fn cluster(&self) -> &Snapshot {
        &self.cluster
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let spec = &mut self.view.spec;
        match change {
            Change::RemoveGates(_) => spec.scheduling_gates.clear(),
            Change::Request { after, .. } => self.requests = Some(after.clone()),
            Change::Tolerate { taint, .. } => spec.tolerations.push(toleration(taint)),
            Change::DropSelector { key, .. } => {
                spec.node_selector.remove(key);
            }
            Change::DropNodeAffinity => {
                if let Some(affinity) = spec.affinity.as_mut().and_then(|all| all.node_affinity.as_mut()) {
                    affinity.required_during_scheduling_ignored_during_execution = None;
                }
            }
            Change::DropNear { at, .. } => {
                let affinity = spec.affinity.as_mut().and_then(|all| all.pod_affinity.as_mut());
                drop_at(
                    affinity
                        .and_then(|near| near.required_during_scheduling_ignored_during_execution.as_mut()),
                    *at,
                );
            }
            Change::DropAway { at, .. } => {
                let affinity = spec.affinity.as_mut().and_then(|all| all.pod_anti_affinity.as_mut());
                drop_at(
                    affinity
                        .and_then(|away| away.required_during_scheduling_ignored_during_execution.as_mut()),
                    *at,
                );
            }
            Change::Skew { at, after, .. } => spec.topology_spread_constraints[*at].max_skew = *after,
            Change::WishToSpread { at, .. } => {
                "ScheduleAnyway".clone_into(&mut spec.topology_spread_constraints[*at].when_unsatisfiable);
            }
            Change::DropPort(port) => {
                let containers = spec.containers.iter_mut().chain(&mut spec.init_containers);
                for taken in containers.flat_map(|container| &mut container.ports) {
                    taken.host_port = if taken.host_port == *port { 0 } else { taken.host_port };
                }
            }
            Change::DropVolume { name, .. } => spec.volumes.retain(|volume| volume.name != *name),
            Change::Uncordon(node) => self.change_node(node, |node| node.spec.unschedulable = false),
            Change::Label { node, labels, .. } => self.change_node(node, |node| {
                node.metadata.labels.get_or_insert_default().extend(labels.clone());
            }),
            Change::Evict { node, victims, .. } => {
                let cluster = victims
                    .iter()
                    .fold(self.cluster().clone(), |cluster, victim| cluster.without_pod(node, &victim.uid));
                self.cluster = Cow::Owned(cluster);
            }
            Change::AddLike(node) => {
                let added = like(node, &format!("{}-new", node.name()));
                self.cluster = Cow::Owned(self.cluster().with_node(Arc::new(added)));
            }
        }
    }

    fn change_node(&mut self, name: &NodeName, change: impl FnOnce(&mut Node)) {
        let Some(info) = self.cluster().node(name) else { return };
        let mut node = Node::clone(&info.node);
        change(&mut node);
        self.cluster = Cow::Owned(self.cluster().with_node(Arc::new(node)));
    }
}

fn drop_at<T>(terms: Option<&mut Vec<T>>, at: usize) {
    if let Some(terms) = terms.filter(|terms| at < terms.len()) {
        terms.remove(at);
    }
}

fn toleration(taint: &Taint) -> Toleration {
    Toleration {
        key: Some(taint.key.clone()),
        operator: Some("Equal".to_owned()),
        value: taint.value.clone(),
        effect: Some(taint.effect.clone()),
        ..Toleration::default()
    }
}
