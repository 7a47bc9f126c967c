//! Takes the volumes of the chosen node, has them bound or made, and waits until they are.
//!
//! A volume is bound by writing its claim into it; one is made by writing the node onto its claim. The volume
//! controller and the provisioner do the rest, and the pod is bound when each claim knows its volume.

use super::VolumeBinding;
use super::find::Wanted;
use crate::cache::Snapshot;
use crate::framework::{Plugin, PreBind, Reserve, Settled, Target, Write};
use crate::pod::{NodeName, PodInfo};
use crate::volumes::{Claim, ClaimRef, PersistentVolume, Reach, SELECTED_NODE, Volumes};
use component::informers::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::sync::Arc;

/// Says that the claim of a volume was chosen by a program and not by a person.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

impl Reserve for VolumeBinding {
    fn take(&self, pod: &Arc<PodInfo>, node: &NodeName, cluster: &mut Snapshot) -> Result<(), String> {
        if pod.claims().is_empty() {
            return Ok(());
        }
        let Some(info) = cluster.node(node) else { return Err(format!("node {:?} not found", &**node)) };
        let plan = Wanted::of(pod, cluster.volumes())?
            .on(&info.node.metadata, cluster.volumes())
            .map_err(|reasons| reasons.join(", "))?;
        if plan.is_empty() {
            return Ok(());
        }
        let bound = plan.bindings.iter().map(|(volume, claim)| with_claim(volume, claim)).collect();
        let marked = plan.provisions.iter().filter(|claim| claim.selected_node().is_none());
        let marked = marked.map(|claim| with_node(claim, node)).collect();
        cluster.volumes_mut().reserve(pod.uid.clone(), plan, bound, marked);
        Ok(())
    }

    fn give_back(&self, pod: &PodInfo, _: &NodeName, cluster: &mut Snapshot) {
        self.bound(pod, cluster);
    }

    fn bound(&self, pod: &PodInfo, cluster: &mut Snapshot) {
        if cluster.volumes().reserved(&pod.uid).is_some() {
            cluster.volumes_mut().release(&pod.uid);
        }
    }
}

fn with_claim(volume: &PersistentVolume, claim: &Claim) -> PersistentVolume {
    let mut volume = volume.clone();
    let Key { namespace, name } = claim.key();
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    volume.spec.claim_ref = Some(ClaimRef { namespace, name, uid });
    volume
}

fn with_node(claim: &Claim, node: &NodeName) -> Claim {
    let mut claim = claim.clone();
    claim.metadata.annotations.get_or_insert_default().insert(SELECTED_NODE.to_owned(), node.to_string());
    claim
}

impl PreBind for VolumeBinding {
    fn writes(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot, _: Timestamp) -> Vec<Write> {
        let Some(plan) = cluster.volumes().reserved(&pod.uid) else { return Vec::new() };
        let is_bound = |volume: &PersistentVolume| {
            volume.spec.claim_ref.as_ref().is_some_and(|claim| !claim.uid.is_empty())
        };
        let bind = plan.bindings.iter().filter(|(volume, _)| !is_bound(volume));
        let bind = bind.map(|(volume, claim)| Write {
            plugin: self.name(),
            target: Target::Volume(volume.name().to_owned()),
            patch: claim_patch(volume, claim),
        });
        let make = plan.provisions.iter().filter(|claim| claim.selected_node().is_none());
        let make = make.map(|claim| Write {
            plugin: self.name(),
            target: Target::Claim(claim.key()),
            patch: json!({"metadata": {
                "resourceVersion": claim.metadata.resource_version,
                "annotations": {SELECTED_NODE: &**node},
            }}),
        });
        bind.chain(make).collect()
    }

    fn settled(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot) -> Settled {
        let volumes = cluster.volumes();
        let Some(plan) = volumes.reserved(&pod.uid) else { return Settled::Yes };
        let Some(info) = cluster.node(node) else {
            return Settled::Never(format!("binding volumes: node {:?} not found", &**node));
        };
        let node = &info.node.metadata;
        let bindings =
            plan.bindings.iter().map(|(volume, claim)| is_bound(volume.name(), claim, node, volumes));
        let provisions = plan.provisions.iter().map(|claim| is_made(claim, node, volumes));
        let mut settled = Settled::Yes;
        for one in bindings.chain(provisions) {
            match one {
                Ok(true) => {}
                Ok(false) => settled = Settled::NotYet,
                Err(why) => return Settled::Never(format!("binding volumes: {why}")),
            }
        }
        settled
    }

    fn waits_for(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Key> {
        let plan = cluster.volumes().reserved(&pod.uid);
        plan.into_iter().flat_map(|plan| plan.claims()).map(|claim| claim.key()).collect()
    }

    fn time_limit(&self) -> SignedDuration {
        self.bind_timeout
    }

    fn timed_out(&self) -> String {
        "binding volumes: context deadline exceeded".to_owned()
    }
}

fn claim_patch(volume: &PersistentVolume, claim: &Claim) -> Value {
    let Key { namespace, name } = claim.key();
    let metadata = &claim.metadata;
    let mut patch = json!({
        "metadata": {"resourceVersion": volume.metadata.resource_version},
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name,
            "uid": metadata.uid, "resourceVersion": metadata.resource_version,
        }},
    });
    if volume.spec.claim_ref.is_none() {
        patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
    }
    patch
}

/// Whether volume and claim know each other; an error if that was undone.
fn is_bound(name: &str, claim: &Claim, node: &ObjectMeta, volumes: &Volumes) -> Result<bool, String> {
    let Some(volume) = volumes.settled_volume(name) else {
        let exists = volumes.volume(name).is_some();
        return if exists { Ok(false) } else { Err(format!("persistentvolume {name:?} not found")) };
    };
    is_usable(volume, node, volumes)?;
    if volume.spec.claim_ref.as_ref().is_none_or(|claim| claim.uid.is_empty()) {
        return Err(format!("ClaimRef got reset for pv {name:?}"));
    }
    Ok(current(claim, volumes)?.is_some_and(|claim| claim.is_bound()))
}

/// Whether the volume of the claim was made; an error if the provisioner could not, or made it elsewhere.
fn is_made(claim: &Claim, node: &ObjectMeta, volumes: &Volumes) -> Result<bool, String> {
    let Some(now) = current(claim, volumes)? else { return Ok(false) };
    let (name, wanted) = (claim.name(), node.name.as_deref().unwrap_or_default());
    match now.selected_node() {
        None => return Err(format!("selectedNode annotation reset for PVC {name:?}")),
        Some(selected) if selected != wanted => {
            return Err(format!(
                "selectedNode annotation value {selected:?} not set to scheduled node {wanted:?}"
            ));
        }
        Some(_) => {}
    }
    if let Some(volume) = now.volume() {
        let Some(volume) = volumes.settled_volume(volume) else { return Ok(false) };
        is_usable(volume, node, volumes)?;
    }
    Ok(now.is_bound())
}

/// The claim as the watch shows it; `None` while the watch lags behind.
fn current<'a>(claim: &Claim, volumes: &'a Volumes) -> Result<Option<&'a Arc<Claim>>, String> {
    let key = claim.key();
    let now = volumes.settled_claim(&key);
    if now.is_none() && volumes.claim(&key.namespace, &key.name).is_none() {
        return Err(format!("persistentvolumeclaim {:?} not found", key.name));
    }
    Ok(now)
}

fn is_usable(volume: &Arc<PersistentVolume>, node: &ObjectMeta, volumes: &Volumes) -> Result<(), String> {
    let name = node.name.as_deref().unwrap_or_default();
    if Reach::of(volume.clone()).covers(node, volumes.csi_node(name).map(|node| &**node))? {
        return Ok(());
    }
    Err(format!(
        "pv {:?} node affinity doesn't match node {name:?}: no matching NodeSelectorTerms",
        volume.name()
    ))
}
