//! Which volumes the claims of a pod have or can get on a node.

use crate::framework::Reason;
use crate::pod::{PodClaim, PodInfo};
use crate::volumes::{
    Claim, CsiStorageCapacity, NO_PROVISIONER, PersistentVolume, Plan, Reach, StorageClass, Volumes,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::labels::Selector;
use objects::owner;
use std::collections::BTreeMap;
use std::sync::Arc;

const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const NOT_USABLE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NONE_SUITS: &str = "node(s) didn't find available persistent volumes to bind";
const TOO_LITTLE: &str = "node(s) did not have enough free storage";

/// What a pod wants, whatever the node: prepared once a pod.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The volumes of bound claims; `None` for one that does not exist.
    bound: Vec<Option<Reach>>,
    /// Claims that wait for the pod, the smallest first.
    delayed: Vec<Delayed>,
}

#[derive(Debug)]
struct Delayed {
    claim: Arc<Claim>,
    class: Arc<StorageClass>,
    /// Volumes that suit it on one node or another: those kept for it first, then the smallest.
    suitable: Vec<Arc<PersistentVolume>>,
}

impl Wanted {
    /// What the pod wants.
    ///
    /// # Errors
    ///
    /// Says which claim keeps it from running anywhere.
    pub(super) fn of(pod: &PodInfo, volumes: &Volumes) -> Result<Self, String> {
        let mut wanted = Self { bound: Vec::new(), delayed: Vec::new() };
        let claims: Result<Vec<_>, _> =
            pod.claims().iter().map(|mounted| existing(pod, mounted, volumes)).collect();
        for claim in claims? {
            if claim.is_bound() {
                let volume = claim.volume().and_then(|name| volumes.volume(name));
                wanted.bound.push(volume.cloned().map(Reach::of));
                continue;
            }
            let class = volumes.class(claim.class()).filter(|class| class.waits_for_consumer());
            // One that names its volume already is bound by the volume controller, whatever its class.
            let Some(class) = class.filter(|_| claim.volume().is_none()) else {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            };
            let suitable = suitable(claim, volumes);
            wanted.delayed.push(Delayed { claim: claim.clone(), class: class.clone(), suitable });
        }
        wanted.delayed.sort_by_key(|delayed| delayed.claim.request());
        Ok(wanted)
    }

    /// How the claims get their volumes on a node with these labels, or why they do not.
    pub(super) fn on(&self, node: &ObjectMeta, volumes: &Volumes) -> Result<Plan, Vec<Reason>> {
        if self.bound.iter().any(Option::is_none) {
            return Err(vec![NO_VOLUME.into()]);
        }
        let csi_node = volumes.csi_node(node.name.as_deref().unwrap_or_default()).map(|node| &**node);
        let mut reasons = Vec::new();
        for reach in self.bound.iter().flatten() {
            if !reach.covers(node, csi_node).map_err(|why| vec![why.into()])? {
                reasons.push(NOT_USABLE.into());
                break;
            }
        }
        match self.plan(node, volumes) {
            Ok(plan) if reasons.is_empty() => return Ok(plan),
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
        Err(reasons)
    }

    fn plan(&self, node: &ObjectMeta, volumes: &Volumes) -> Result<Plan, Reason> {
        let name = node.name.as_deref().unwrap_or_default();
        let mut plan = Plan::default();
        for Delayed { claim, class, suitable } in &self.delayed {
            let free = |volume: &&Arc<PersistentVolume>| {
                volume.is_usable_on(node)
                    && plan.bindings.iter().all(|(taken, _)| taken.name() != volume.name())
            };
            match claim.selected_node() {
                Some(selected) if selected != name => return Err(NONE_SUITS.into()),
                Some(_) => {}
                None => {
                    let kept = suitable.first().filter(|volume| volume.is_for(claim));
                    let found = match kept {
                        Some(kept) => free(&kept).then_some(kept),
                        None => suitable.iter().find(free),
                    };
                    if let Some(volume) = found {
                        plan.bindings.push((volume.clone(), claim.clone()));
                        continue;
                    }
                }
            }
            can_be_made(claim, class, node, volumes)?;
            plan.provisions.push(claim.clone());
        }
        Ok(plan)
    }
}

/// The claim that the pod mounts.
fn existing<'a>(pod: &PodInfo, mounted: &PodClaim, volumes: &'a Volumes) -> Result<&'a Arc<Claim>, String> {
    let PodClaim { name, ephemeral } = mounted;
    let Some(claim) = volumes.claim(pod.namespace(), name) else {
        return Err(if *ephemeral {
            format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
        } else {
            format!("persistentvolumeclaim {name:?} not found")
        });
    };
    if claim.status.phase.as_deref() == Some("Lost") {
        let volume = claim.volume().unwrap_or_default();
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if *ephemeral {
        owned(pod, claim)?;
    }
    Ok(claim)
}

/// A claim that was made for a pod must be that pod's.
pub(crate) fn owned(pod: &PodInfo, claim: &Claim) -> Result<(), String> {
    if owner::is_controlled_by(&claim.metadata, &pod.uid) {
        return Ok(());
    }
    let (namespace, name) = (pod.namespace(), claim.name());
    Err(format!("PVC {namespace}/{name} was not created for pod {pod} (pod is not owner)"))
}

/// The volumes that can be bound to a claim, before any node is looked at.
fn suitable(claim: &Claim, volumes: &Volumes) -> Vec<Arc<PersistentVolume>> {
    let selector = claim.spec.selector.as_ref();
    let selector =
        selector.map(|selector| Selector::from_label_selector(selector).unwrap_or(Selector::nothing()));
    let suits = |volume: &&Arc<PersistentVolume>| {
        let mode = |mode: &Option<String>| mode.as_deref() == Some("Block");
        let attributes = |class: &Option<String>| class.clone().unwrap_or_default();
        let kept = volume.is_for(claim);
        volume.capacity() >= claim.request().unwrap_or(0)
            && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
            && attributes(&volume.spec.volume_attributes_class_name)
                == attributes(&claim.spec.volume_attributes_class_name)
            && volume.metadata.deletion_timestamp.is_none()
            && (kept || volume.spec.claim_ref.is_none())
            // What is said of the volume matters only when nobody has chosen it by hand.
            && (kept
                || volume.status.phase.as_deref() == Some("Available")
                    && selector.as_ref().is_none_or(|selector| selector.selects(&volume.metadata))
                    && claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode)))
    };
    let mut suitable: Vec<_> = volumes.of_class(claim.class()).filter(suits).cloned().collect();
    suitable.sort_by_key(|volume| (!volume.is_for(claim), volume.capacity()));
    suitable
}

/// Whether a volume for the claim can be made for the node.
fn can_be_made(
    claim: &Claim,
    class: &StorageClass,
    node: &ObjectMeta,
    volumes: &Volumes,
) -> Result<(), Reason> {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let by_hand = class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER;
    if by_hand || !class.allows(node.labels.as_ref().unwrap_or(&NO_LABELS)) {
        return Err(NONE_SUITS.into());
    }
    let says_capacity = volumes
        .csi_driver(&class.provisioner)
        .is_some_and(|driver| driver.spec.storage_capacity == Some(true));
    let Some(size) = claim.request().filter(|_| says_capacity) else { return Ok(()) };
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let enough = |capacity: &Arc<CsiStorageCapacity>| {
        let most = capacity.maximum_volume_size.or(capacity.capacity);
        capacity.storage_class_name == name
            && most.is_some_and(|most| most.value() >= size)
            && Selector::from_optional(capacity.node_topology.as_ref()).is_ok_and(|nodes| nodes.selects(node))
    };
    if volumes.capacities().any(enough) { Ok(()) } else { Err(TOO_LITTLE.into()) }
}
