//! The storage of the cluster as scheduling sees it: volumes, claims and what can make them, with the claims that
//! pods in binding have taken.
//!
//! Kept up to date by the scheduler's task from the watches and from answers to its own writes; a cycle reads it.

mod in_tree;
mod overlay;
mod reach;
mod views;

pub use in_tree::{Attached, InTreeDisk};
pub(crate) use overlay::Overlay;
pub use reach::Reach;
pub(crate) use reach::ZONES_APART;
pub use views::*;

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::Uid;
use crate::related::Related;
use component::informers::Key;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The storage. See the file header.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    volumes: Overlay<PersistentVolume>,
    claims: Overlay<Claim>,
    classes: FxHashMap<String, Arc<StorageClass>>,
    csi_nodes: FxHashMap<String, Arc<CsiNode>>,
    csi_drivers: FxHashMap<String, Arc<CsiDriver>>,
    capacities: BTreeMap<Key, Arc<CsiStorageCapacity>>,
    /// By node, then by name.
    attachments: FxHashMap<String, BTreeMap<String, Arc<VolumeAttachment>>>,
    /// Names of the volumes of each class.
    by_class: FxHashMap<String, BTreeSet<String>>,
    /// What pods in binding have taken.
    reserved: FxHashMap<Uid, Arc<Plan>>,
}

/// How the unbound claims of a pod get their volumes on the node that was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Volumes that are there, each with the claim that it is to be bound to.
    pub bindings: Vec<(Arc<PersistentVolume>, Arc<Claim>)>,
    /// Claims whose volumes are to be made for the node.
    pub provisions: Vec<Arc<Claim>>,
}

impl Plan {
    /// True when nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }

    /// The claims in it.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.bindings.iter().map(|(_, claim)| claim).chain(&self.provisions)
    }
}

impl Volumes {
    /// A volume by name.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(&Key::cluster(name))
    }

    /// A volume as the watch shows it, unless that lags behind.
    pub fn settled_volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.settled(&Key::cluster(name))
    }

    /// The volumes of a class, by name.
    pub fn of_class(&self, class: &str) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        self.by_class.get(class).into_iter().flatten().filter_map(|name| self.volume(name))
    }

    /// A claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(&Key::new(namespace, name))
    }

    /// A claim as the watch shows it, unless that lags behind.
    pub fn settled_claim(&self, key: &Key) -> Option<&Arc<Claim>> {
        self.claims.settled(key)
    }

    /// A class.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    /// The CSI drivers of a node.
    pub fn csi_node(&self, node: &str) -> Option<&Arc<CsiNode>> {
        self.csi_nodes.get(node)
    }

    /// A CSI driver.
    pub fn csi_driver(&self, name: &str) -> Option<&Arc<CsiDriver>> {
        self.csi_drivers.get(name)
    }

    /// What is left where.
    pub fn capacities(&self) -> impl Iterator<Item = &Arc<CsiStorageCapacity>> {
        self.capacities.values()
    }

    /// What is attached to a node.
    pub fn attached_to(&self, node: &str) -> impl Iterator<Item = &Arc<VolumeAttachment>> {
        self.attachments.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// What a pod in binding has taken.
    pub fn reserved(&self, pod: &Uid) -> Option<&Arc<Plan>> {
        self.reserved.get(pod)
    }

    /// A pod takes what the plan says: `bound` are the volumes of its bindings with their new claim, `marked` the
    /// claims of its provisions with the node.
    pub fn reserve(&mut self, pod: Uid, plan: Plan, bound: Vec<PersistentVolume>, marked: Vec<Claim>) {
        for volume in bound {
            self.volumes.assume(Key::cluster(volume.name()), Arc::new(volume));
        }
        for claim in marked {
            self.claims.assume(claim.key(), Arc::new(claim));
        }
        self.reserved.insert(pod, Arc::new(plan));
    }

    /// A pod is bound, or gives back what it had taken.
    pub fn release(&mut self, pod: &Uid) {
        let Some(plan) = self.reserved.remove(pod) else { return };
        for (volume, _) in &plan.bindings {
            self.volumes.restore(&Key::cluster(volume.name()));
        }
        plan.provisions.iter().for_each(|claim| self.claims.restore(&claim.key()));
    }

    /// The server has taken a write of ours; this is its answer.
    pub fn wrote(&mut self, object: Related) {
        match object {
            Related::Volume(volume) => self.volumes.wrote(Key::cluster(volume.name()), volume),
            Related::Claim(claim) => self.claims.wrote(claim.key(), claim),
            _ => {}
        }
    }

    /// The watch shows an object. Answers what that may mean to waiting pods.
    pub fn see(&mut self, object: &Related) -> WakeupSet {
        let name = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            metadata.name.clone().unwrap_or_default()
        };
        let (added, if_added, if_updated) = match object {
            Related::Volume(volume) => (self.see_volume(volume), Wakeup::VolumeAdded, Wakeup::VolumeUpdated),
            Related::Claim(claim) => {
                let before = self.claims.see(claim.key(), claim.clone());
                (before.is_none(), Wakeup::ClaimAdded, Wakeup::ClaimUpdated)
            }
            Related::Class(class) => {
                let before = self.classes.insert(name(&class.metadata), class.clone());
                (before.is_none(), Wakeup::ClassAdded, Wakeup::ClassUpdated)
            }
            Related::CsiNode(node) => {
                let before = self.csi_nodes.insert(name(&node.metadata), node.clone());
                (before.is_none(), Wakeup::CsiNodeAdded, Wakeup::CsiNodeUpdated)
            }
            Related::CsiDriver(driver) => {
                let before = self.csi_drivers.insert(name(&driver.metadata), driver.clone());
                (before.is_none(), Wakeup::CsiDriverAdded, Wakeup::CsiDriverUpdated)
            }
            Related::Capacity(capacity) => {
                let before = self.capacities.insert(Key::of(&**capacity), capacity.clone());
                (before.is_none(), Wakeup::CapacityAdded, Wakeup::CapacityUpdated)
            }
            Related::Attachment(attachment) => {
                let on = self.attachments.entry(attachment.spec.node_name.clone()).or_default();
                on.insert(name(&attachment.metadata), attachment.clone());
                return WakeupSet::default();
            }
            _ => return WakeupSet::default(),
        };
        WakeupSet::of(&[if added { if_added } else { if_updated }])
    }

    /// The watch shows an object no more.
    pub fn gone(&mut self, object: &Related) -> WakeupSet {
        match object {
            Related::Volume(volume) => {
                self.volumes.gone(&Key::cluster(volume.name()));
                self.unclass(volume);
            }
            Related::Claim(claim) => {
                self.claims.gone(&claim.key());
            }
            Related::Class(class) => {
                self.classes.remove(&Key::of(&**class).name);
            }
            Related::CsiNode(node) => {
                self.csi_nodes.remove(&Key::of(&**node).name);
            }
            Related::CsiDriver(driver) => {
                self.csi_drivers.remove(&Key::of(&**driver).name);
            }
            Related::Capacity(capacity) => {
                self.capacities.remove(&Key::of(&**capacity));
            }
            Related::Attachment(attachment) => {
                if let Some(on) = self.attachments.get_mut(&attachment.spec.node_name) {
                    on.remove(&Key::of(&**attachment).name);
                }
                return WakeupSet::of(&[Wakeup::AttachmentDeleted]);
            }
            _ => {}
        }
        WakeupSet::default()
    }

    fn see_volume(&mut self, volume: &Arc<PersistentVolume>) -> bool {
        let before = self.volumes.see(Key::cluster(volume.name()), volume.clone());
        if let Some(before) = before.as_ref().filter(|before| before.class() != volume.class()) {
            self.unclass(before);
        }
        self.by_class.entry(volume.class().to_owned()).or_default().insert(volume.name().to_owned());
        before.is_none()
    }

    fn unclass(&mut self, volume: &PersistentVolume) {
        if let Some(names) = self.by_class.get_mut(volume.class()) {
            names.remove(volume.name());
            if names.is_empty() {
                self.by_class.remove(volume.class());
            }
        }
    }
}
