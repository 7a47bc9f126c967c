//! Admits nodes on which the pod's claims have, or can get, their devices; writes what they get before the bind.
//!
//! It concerns pods with `spec.resourceClaims`, which are held back until their claims are there. A claim that is
//! allocated ties the pod to where its devices are; one that only this pod uses may move with the pod, so that a
//! failed bind does not pin it. Others get their devices by a search on each node. Reserve takes them at once; the
//! claim's status is written before the bind, which waits for the conditions that devices name. Of requests with
//! alternatives, nodes are preferred where an earlier one can be had. For extended resources that a DeviceClass
//! stands for, and that the node itself does not have, the pod gets a claim of its own, made before the bind; the
//! pod's status tells which container uses what of it. A claim of an earlier try is not used again. Upstream:
//! `dynamicresources` with structured parameters.

mod wanted;

use super::args::DynamicResourcesArgs;
use crate::cache::{NodeInfo, Snapshot};
use crate::devices::{Change as ClaimChange, Devices, Readiness, readiness, stands_for};
use crate::framework::{
    Change, Filter, ForPod, Gate, NodeCheck, NodeScore, Plugin, PreBind, Reserve, Scale, Score, Settled,
    Subject, Target, Verdict, Wakeup, Write, normalise_by_max,
};
use crate::pod::{NodeName, PodInfo};
use crate::related::Related;
use component::args::duration;
use component::informers::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use wanted::Wanted;

/// Keeps a claim until its devices are free again.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Alternatives of one request (API reference: DeviceRequest.firstAvailable).
const ALTERNATIVES_LIMIT: i64 = 8;

/// Upstream's DynamicResources.
#[derive(Debug)]
pub struct DynamicResources {
    filter_timeout: Duration,
    binding_timeout: SignedDuration,
}

impl DynamicResources {
    /// The plugin with these arguments, which are valid.
    pub fn new(args: &DynamicResourcesArgs) -> Self {
        let binding = duration(&args.binding_timeout).unwrap_or_default();
        Self {
            filter_timeout: duration(&args.filter_timeout).unwrap_or_default(),
            binding_timeout: SignedDuration::try_from(binding).unwrap_or(SignedDuration::MAX),
        }
    }
}

impl DynamicResources {
    /// Until when the devices of an allocated claim have to be ready.
    fn ready_by(&self, claim: &ResourceClaim) -> Option<Timestamp> {
        let given = allocation(claim)?.allocation_timestamp.as_ref()?.0;
        Some(given.saturating_add(self.binding_timeout).unwrap_or(Timestamp::MAX))
    }
}

impl Default for DynamicResources {
    fn default() -> Self {
        Self::new(&DynamicResourcesArgs::default())
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::ResourceClaimAdded,
            Wakeup::ResourceClaimUpdated,
            Wakeup::ResourceClaimDeleted,
            Wakeup::OwnClaims,
            Wakeup::NodeAdded,
            Wakeup::NodeLabels,
            Wakeup::NodeAllocatable,
            Wakeup::SliceAdded,
            Wakeup::SliceUpdated,
            Wakeup::DeviceClassAdded,
            Wakeup::DeviceClassUpdated,
        ]
    }

    /// Any claim that changes may set devices free; one that appears matters to the pod that names it.
    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Related(Related::DeviceClaim(claim))
                if change.kinds.contains(Wakeup::ResourceClaimAdded) =>
            {
                let name = claim.metadata.name.as_ref();
                let statuses = pod.view().status.resource_claim_statuses.iter();
                let mut names = statuses
                    .map(|made| &made.resource_claim_name)
                    .chain(pod.spec().resource_claims.iter().map(|source| &source.resource_claim_name));
                claim.metadata.namespace.as_deref() == Some(pod.namespace())
                    && names.any(|own| own.as_ref() == name)
            }
            Subject::Related(Related::DeviceClass(class)) if pod.spec().resource_claims.is_empty() => {
                pod.requests.scalars.keys().any(|resource| stands_for(class, resource))
            }
            _ => true,
        }
    }

    /// Pods with extended resources are found by [`Devices::resources_of`].
    fn ignores(&self, pod: &PodInfo) -> bool {
        pod.spec().resource_claims.is_empty()
    }

    /// Upstream takes a claim back here, for the next try; here the try itself moves it.
    fn says_after_filters(&self, pod: &PodInfo) -> Option<&'static str> {
        Some(if pod.spec().resource_claims.is_empty() {
            "no new claims to deallocate"
        } else {
            "still not schedulable"
        })
    }

    fn gate(&self) -> Option<&dyn Gate> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}

/// A pod whose claims are not there yet is not tried (upstream: PreEnqueue).
impl Gate for DynamicResources {
    fn needs_others(&self) -> bool {
        true
    }

    fn admit_among(&self, pod: &PodInfo, cluster: &Snapshot) -> Verdict {
        match cluster.devices().claims_of(pod) {
            Ok(_) => Verdict::Fits,
            Err(why) => Verdict::Never(why.into()),
        }
    }
}

impl Score for DynamicResources {
    fn scale(&self) -> Scale {
        Scale::ByMax { reverse: false }
    }

    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        if self.ignores(pod) {
            return None;
        }
        let wanted = Wanted::of(pod, cluster, self).ok()?;
        let requests = |claim: &Arc<ResourceClaim>| {
            let devices = claim.spec.devices.iter();
            devices.flat_map(|devices| devices.requests.iter().flatten()).any(|request| {
                request.first_available.as_ref().is_some_and(|alternatives| !alternatives.is_empty())
            })
        };
        let chooses = wanted.to_allocate().any(requests);
        chooses.then(|| Box::new(wanted) as Box<dyn NodeScore + 'a>)
    }
}

impl NodeScore for Wanted<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let given = self.on(node).unwrap_or_default();
        given.iter().map(|(claim, allocation)| preference(claim, allocation)).sum()
    }

    fn normalise(&self, scores: &mut [i64], _: &[&NodeInfo]) {
        normalise_by_max(scores, false);
    }
}

/// The more, the earlier the alternatives stand that a claim gets.
fn preference(claim: &ResourceClaim, allocation: &AllocationResult) -> i64 {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    let names: Vec<&str> = results.map(|result| result.request.as_str()).collect();
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    let places = requests.filter_map(|request| {
        request.first_available.iter().flatten().position(|alternative| {
            let name = format!("{}/{}", request.name, alternative.name);
            names.contains(&name.as_str())
        })
    });
    places.map(|place| ALTERNATIVES_LIMIT - i64::try_from(place).unwrap_or(ALTERNATIVES_LIMIT)).sum()
}

fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

fn consumers(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}

impl Filter for DynamicResources {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        if !concerns(pod, cluster.devices()) {
            return ForPod::Nothing;
        }
        match Wanted::of(pod, cluster, self) {
            Ok(wanted) => ForPod::check(wanted),
            Err(why) => ForPod::Refuse(Verdict::Never(why.into())),
        }
    }
}

impl NodeCheck for Wanted<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        match self.on(node) {
            Ok(_) => Verdict::Fits,
            Err(why) => Verdict::Never(why.into()),
        }
    }
}

impl Reserve for DynamicResources {
    fn take(&self, pod: &Arc<PodInfo>, node: &NodeName, cluster: &mut Snapshot) -> Result<(), String> {
        if !concerns(pod, cluster.devices()) {
            return Ok(());
        }
        let Some(info) = cluster.node(node) else { return Err(format!("node {:?} not found", &**node)) };
        let given = Wanted::of(pod, cluster, self)?.on(info)?;
        let mut changes = Vec::new();
        let made = given.iter().map(|(claim, _)| claim).filter(|claim| is_new(claim)).cloned();
        for before in cluster.devices().claims_of(pod)?.into_iter().chain(made) {
            let mut after = (*before).clone();
            let status = after.status.get_or_insert_default();
            let name = &before.metadata.name;
            if let Some((_, allocation)) = given.iter().find(|(claim, _)| claim.metadata.name == *name) {
                status.allocation = Some(allocation.clone());
                // What drivers said is about the devices it had before.
                status.devices = None;
            }
            let reserved = status.reserved_for.get_or_insert_default();
            if reserved.iter().all(|consumer| consumer.uid != *pod.uid) {
                reserved.push(ResourceClaimConsumerReference {
                    api_group: None,
                    resource: "pods".to_owned(),
                    name: pod.name().to_owned(),
                    uid: pod.uid.to_string(),
                });
            }
            // One that waits since before a restart is waited for again.
            if after.status != before.status || readiness(&before) == Readiness::Waiting {
                changes.push(ClaimChange { before, after: Arc::new(after) });
            }
        }
        if !changes.is_empty() {
            cluster.devices_mut().reserve(pod.uid.clone(), changes);
        }
        Ok(())
    }

    fn give_back(&self, pod: &PodInfo, _: &NodeName, cluster: &mut Snapshot) {
        self.bound(pod, cluster);
    }

    fn bound(&self, pod: &PodInfo, cluster: &mut Snapshot) {
        if cluster.devices().reserved(&pod.uid).is_some() {
            cluster.devices_mut().release(&pod.uid);
        }
    }
}

impl PreBind for DynamicResources {
    fn writes(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot, now: Timestamp) -> Vec<Write> {
        let devices = cluster.devices();
        let mut writes = self.takes_back(pod, cluster);
        for ClaimChange { before, after } in devices.reserved(&pod.uid).into_iter().flat_map(|all| all.iter())
        {
            let key = Key::of(&**before);
            let version = &before.metadata.resource_version;
            let finalizers = before.metadata.finalizers.clone().unwrap_or_default();
            if is_new(before) {
                let mut made = (**before).clone();
                made.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
                writes.push(Write {
                    plugin: self.name(),
                    target: Target::NewDeviceClaim(key.clone()),
                    patch: json!(made),
                });
            } else if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
                let with = [finalizers, vec![FINALIZER.to_owned()]].concat();
                writes.push(Write {
                    plugin: self.name(),
                    target: Target::DeviceClaim(key.clone()),
                    patch: json!({"metadata": {"resourceVersion": version, "finalizers": with}}),
                });
            }
            let status = after.status.as_ref();
            if status == before.status.as_ref() {
                continue;
            }
            let given = allocation(after).cloned().map(|mut given| {
                given.allocation_timestamp.get_or_insert(Time(now));
                given
            });
            let moves = allocation(before).is_some() && allocation(before) != allocation(after);
            if moves {
                // An allocation cannot be changed, only taken back and given anew.
                writes.push(Write {
                    plugin: self.name(),
                    target: Target::DeviceClaimStatus(key.clone()),
                    patch: json!({
                        "metadata": {"resourceVersion": version},
                        "status": {"allocation": null, "devices": null, "reservedFor": null},
                    }),
                });
            }
            writes.push(Write {
                plugin: self.name(),
                target: Target::DeviceClaimStatus(key.clone()),
                patch: json!({
                    "metadata": {"resourceVersion": version},
                    "status": {
                        "allocation": given,
                        "reservedFor": status.and_then(|status| status.reserved_for.as_ref()),
                    },
                }),
            });
            if is_new(before)
                && let Some(info) = cluster.node(node)
            {
                let mappings = wanted::mappings(pod, info, devices);
                writes.push(Write {
                    plugin: self.name(),
                    target: Target::PodStatus(Key::new(pod.namespace(), pod.name())),
                    patch: json!({
                        "metadata": {"uid": &*pod.uid},
                        "status": {"extendedResourceClaimStatus":
                            {"requestMappings": mappings, "resourceClaimName": key.name}},
                    }),
                });
            }
        }
        writes
    }

    /// The claim that was made for extended resources goes.
    fn takes_back(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Write> {
        let made = cluster.devices().made_for_resources(pod).filter(|claim| !is_new(claim));
        let gone = made.map(|claim| {
            let mut finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            Write {
                plugin: self.name(),
                target: Target::OldDeviceClaim(Key::of(&**claim)),
                patch: json!({"metadata": {"uid": claim.metadata.uid, "finalizers": finalizers}}),
            }
        });
        gone.collect()
    }

    fn settled(&self, pod: &PodInfo, _: &NodeName, cluster: &Snapshot) -> Settled {
        let mut settled = Settled::Yes;
        for claim in claims_in_binding(pod, cluster) {
            match readiness(claim) {
                Readiness::Ready => {}
                Readiness::Waiting => settled = Settled::NotYet,
                Readiness::Failed { reason, message } => {
                    let name = claim.metadata.name.as_deref().unwrap_or_default();
                    let why = format!("claim {name} binding failed: reason={reason}, message={message:?}");
                    return Settled::Never(why);
                }
            }
        }
        settled
    }

    fn waits_for(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Key> {
        let waiting = claims_in_binding(pod, cluster).filter(|claim| readiness(claim) == Readiness::Waiting);
        waiting.map(|claim| Key::of(&**claim)).collect()
    }

    fn time_limit(&self) -> SignedDuration {
        self.binding_timeout
    }

    /// It begins when devices are given, so that a scheduler that is started meanwhile does not begin it anew.
    fn deadline(&self, pod: &PodInfo, cluster: &Snapshot, since: Timestamp) -> Timestamp {
        let waiting = claims_in_binding(pod, cluster).filter(|claim| readiness(claim) == Readiness::Waiting);
        let given = waiting.filter_map(|claim| self.ready_by(claim));
        given.min().unwrap_or_else(|| since.saturating_add(self.binding_timeout).unwrap_or(Timestamp::MAX))
    }

    fn tells(&self, node: &NodeName) -> Option<(&'static str, String)> {
        Some((
            "BindingConditionsPending",
            format!("waiting for binding conditions for device on node {node}"),
        ))
    }

    fn timed_out(&self) -> String {
        "device binding timeout".to_owned()
    }
}

/// Whether the plugin has anything to say about the pod.
fn concerns(pod: &PodInfo, devices: &Devices) -> bool {
    !pod.spec().resource_claims.is_empty() || !devices.resources_of(pod).is_empty()
}

/// Whether the claim is still to be made.
fn is_new(claim: &ResourceClaim) -> bool {
    claim.metadata.resource_version.is_none()
}

/// The claims that were written for a pod, as they are now.
fn claims_in_binding<'a>(
    pod: &PodInfo,
    cluster: &'a Snapshot,
) -> impl Iterator<Item = &'a Arc<ResourceClaim>> {
    let devices = cluster.devices();
    let changes = devices.reserved(&pod.uid).into_iter().flat_map(|changes| changes.iter());
    changes.filter_map(move |change| devices.claim(&Key::of(&*change.before)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_extended;
