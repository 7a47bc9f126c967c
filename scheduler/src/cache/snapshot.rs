//! What a scheduling cycle reads: all nodes with their pods, and the nominations.
//!
//! One task owns the cache and runs the cycles, so the live state is the snapshot and no cycle copies it. Nodes are
//! shared pointers that are changed in place while nobody else holds them; a clone (for a simulation) therefore costs
//! a pointer and a gauge a node, and pays for a node only when it changes it.

use super::journal::{Delta, Journal, Unread};
use super::{Gauge, NodeInfo, Selectors};
use crate::devices::Devices;
use crate::framework::WakeupSet;
use crate::groups::Groups;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::related::Related;
use crate::terms::Namespaces;
use crate::volumes::Volumes;
use jiff::Timestamp;
use objects::views::Node;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The state of the cluster as scheduling sees it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    /// In the order of the nodes.
    gauges: Vec<Gauge>,
    by_name: FxHashMap<NodeName, usize>,
    /// Pods that were promised room on a node which is still being made.
    nominated: FxHashMap<NodeName, Vec<Arc<PodInfo>>>,
    /// The same by pod.
    promises: FxHashMap<Uid, NodeName>,
    /// How many of those pods have each priority.
    promised: BTreeMap<i32, usize>,
    /// On how many nodes an image is.
    image_nodes: FxHashMap<Arc<str>, usize>,
    /// Grows whenever the above, or the number of nodes, changes.
    images_version: u64,
    selectors: Selectors,
    namespaces: Namespaces,
    /// Shared with clones, which for most of them never change it.
    volumes: Arc<Volumes>,
    groups: Arc<Groups>,
    devices: Arc<Devices>,
    journal: Journal,
    now: Timestamp,
}

impl Snapshot {
    /// All nodes. The order is that of their arrival until one is removed; it decides nothing.
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// How full each of [`Self::nodes`] is, in the same order.
    pub fn gauges(&self) -> &[Gauge] {
        &self.gauges
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|at| &*self.nodes[*at])
    }

    /// The place of a node in [`Self::nodes`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// On how many nodes an image of that name is.
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.image_nodes.get(name).copied().unwrap_or(0)
    }

    /// Changes whenever [`Self::nodes_with_image`] or the number of nodes may have.
    pub fn images_version(&self) -> u64 {
        self.images_version
    }

    /// What changed since this was last asked. From now on changes are kept for the next time.
    pub fn take_changes(&mut self) -> Unread {
        self.journal.take()
    }

    /// Whose pods belong together.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// The same, to be kept up to date.
    pub fn selectors_mut(&mut self) -> &mut Selectors {
        &mut self.selectors
    }

    /// The storage.
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// The same, to be changed.
    pub fn volumes_mut(&mut self) -> &mut Volumes {
        Arc::make_mut(&mut self.volumes)
    }

    /// The devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// The same, to be changed.
    pub fn devices_mut(&mut self) -> &mut Devices {
        Arc::make_mut(&mut self.devices)
    }

    /// When the last cycle began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A cycle begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The groups of pods.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The same, to be changed.
    pub fn groups_mut(&mut self) -> &mut Groups {
        Arc::make_mut(&mut self.groups)
    }

    /// The watch shows an object that pods refer to. Answers what that may mean to waiting pods.
    pub fn see(&mut self, object: &Related) -> WakeupSet {
        match object {
            Related::Group(group) => self.groups_mut().see(group),
            Related::DeviceClaim(_) | Related::Slice(_) | Related::DeviceClass(_) => {
                self.devices_mut().see(object)
            }
            _ => self.volumes_mut().see(object),
        }
    }

    /// The watch shows such an object no more.
    pub fn gone(&mut self, object: &Related) -> WakeupSet {
        match object {
            Related::Group(group) => {
                self.groups_mut().gone(group);
                WakeupSet::default()
            }
            Related::DeviceClaim(_) | Related::Slice(_) | Related::DeviceClass(_) => {
                self.devices_mut().gone(object)
            }
            _ => self.volumes_mut().gone(object),
        }
    }

    /// The API server has taken a write of ours; this is the object as it is now.
    pub fn wrote(&mut self, object: Related) {
        match object {
            Related::DeviceClaim(claim) => self.devices_mut().wrote(claim),
            object => self.volumes_mut().wrote(object),
        }
    }

    /// The labels of each namespace.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// A namespace as it is now; `None`: it is gone. Answers whether that is news.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> bool {
        let news = match labels {
            Some(labels) if self.namespaces.get(name) == Some(&labels) => false,
            Some(labels) => {
                self.namespaces.insert(name.to_owned(), labels);
                true
            }
            None => self.namespaces.remove(name).is_some(),
        };
        if news {
            self.journal.note(|| Delta::Namespace(name.to_owned()));
        }
        news
    }

    /// Pods that were promised room on a node.
    pub fn nominated(&self, node: &NodeName) -> &[Arc<PodInfo>] {
        self.nominated.get(node).map_or(&[], Vec::as_slice)
    }

    /// True when any pod was promised room.
    pub fn has_promises(&self) -> bool {
        !self.promises.is_empty()
    }

    /// The least priority of a pod that was promised room and goes before one of this priority; `None`: none does.
    /// Pods with the same answer let the same promised pods go before them.
    pub fn least_before(&self, priority: i32) -> Option<i32> {
        self.promised.range(priority..).next().map(|(least, _)| *least)
    }

    /// The places of nodes on which room was promised to somebody.
    pub fn promised_places(&self) -> impl Iterator<Item = usize> {
        self.nominated.keys().filter_map(|name| self.by_name.get(name).copied())
    }

    /// The node on which room was promised to a pod.
    pub fn promised_to(&self, uid: &Uid) -> Option<&NodeName> {
        self.promises.get(uid)
    }

    /// Promises room on `node` to `pod`, and takes back an earlier promise to it.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: NodeName) {
        self.drop_nomination(&pod.uid);
        self.promises.insert(pod.uid.clone(), node.clone());
        self.note_promises(&node);
        *self.promised.entry(pod.priority).or_default() += 1;
        self.nominated.entry(node).or_default().push(pod.clone());
    }

    /// Takes back the promise to a pod.
    pub fn drop_nomination(&mut self, uid: &Uid) {
        let Some(node) = self.promises.remove(uid) else { return };
        if let Some(pods) = self.nominated.get_mut(&node) {
            let promised = pods.iter().position(|pod| pod.uid == *uid).map(|at| pods.remove(at));
            if pods.is_empty() {
                self.nominated.remove(&node);
            }
            if let Some(pod) = promised
                && let Entry::Occupied(mut pods) = self.promised.entry(pod.priority)
            {
                *pods.get_mut() -= 1;
                if *pods.get() == 0 {
                    pods.remove();
                }
            }
        }
        self.note_promises(&node);
    }

    /// A copy in which that node has the pod no more: for what-if questions.
    #[must_use]
    pub fn without_pod(&self, node: &NodeName, uid: &Uid) -> Self {
        let mut copy = self.clone();
        copy.remove_pod(node, uid);
        copy
    }

    /// A copy with this node, new or in the place of the one of its name (whose pods stay): for what-if questions.
    #[must_use]
    pub fn with_node(&self, node: Arc<Node>) -> Self {
        let (mut copy, name) = (self.clone(), NodeName::of(&node));
        match copy.by_name.contains_key(&name) {
            true => copy.replace_node(&name, node),
            false => copy.insert(NodeInfo::new(node)),
        }
        copy
    }

    fn note_promises(&mut self, node: &NodeName) {
        if let Some(&at) = self.by_name.get(node) {
            self.journal.note(|| Delta::Promises(at));
        }
    }

    /// Counts a pod in on a node. False when there is no such node.
    pub(super) fn add_pod(&mut self, node: &NodeName, pod: &Arc<PodInfo>) -> bool {
        let Some(&at) = self.by_name.get(node) else { return false };
        // Copied first if a clone of the snapshot holds the node too; so below.
        Arc::make_mut(&mut self.nodes[at]).add_pod(pod.clone());
        self.read_gauge(at);
        self.journal.note(|| Delta::PodAdded(at, pod.clone()));
        true
    }

    /// Takes a pod off a node. False when there is no such node.
    pub(super) fn remove_pod(&mut self, node: &NodeName, uid: &Uid) -> bool {
        let Some(&at) = self.by_name.get(node) else { return false };
        if let Some(pod) = Arc::make_mut(&mut self.nodes[at]).remove_pod(uid) {
            self.read_gauge(at);
            self.journal.note(|| Delta::PodRemoved(at, pod));
        }
        true
    }

    /// Takes a newer version of a pod that counts the same ([`PodInfo::counts_as`]).
    pub(super) fn refresh_pod(&mut self, node: &NodeName, pod: &Arc<PodInfo>) {
        let Some(&at) = self.by_name.get(node) else { return };
        Arc::make_mut(&mut self.nodes[at]).refresh_pod(pod);
        self.journal.note(|| Delta::PodRefreshed(at));
    }

    pub(super) fn insert(&mut self, info: NodeInfo) {
        self.count_images(&info, true);
        let at = self.nodes.len();
        self.journal.note(|| Delta::Node(at));
        for pod in &info.pods {
            self.journal.note(|| Delta::PodAdded(at, pod.clone()));
        }
        self.by_name.insert(info.name.clone(), at);
        self.gauges.push(Gauge::of(&info));
        self.nodes.push(Arc::new(info));
    }

    pub(super) fn replace_node(&mut self, name: &NodeName, node: Arc<Node>) {
        let Some(&at) = self.by_name.get(name) else { return };
        let before = self.nodes[at].clone();
        let same_images = before.has_same_images(&node);
        self.journal.note(|| Delta::Node(at));
        if !same_images {
            self.count_images(&before, false);
        }
        drop(before);
        Arc::make_mut(&mut self.nodes[at]).set_node(node);
        self.read_gauge(at);
        if !same_images {
            let after = self.nodes[at].clone();
            self.count_images(&after, true);
        }
    }

    pub(super) fn remove(&mut self, name: &NodeName) -> Option<Arc<NodeInfo>> {
        let at = self.by_name.remove(name)?;
        let info = self.nodes.swap_remove(at);
        self.gauges.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name.clone(), at);
        }
        self.count_images(&info, false);
        self.journal.note(|| Delta::Removed(at));
        Some(info)
    }

    fn read_gauge(&mut self, at: usize) {
        self.gauges[at] = Gauge::of(&self.nodes[at]);
    }

    fn count_images(&mut self, info: &NodeInfo, add: bool) {
        self.images_version += 1;
        for name in info.images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_default();
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.image_nodes.remove(name);
            }
        }
    }
}
