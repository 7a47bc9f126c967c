//! Which devices a pod wants: the claims that it names, and one for its extended resources, node by node.
//!
//! A node that has a resource itself gives it as ever; where it has not, a class that stands for the resource does.
//! So nodes differ in what is to be claimed there, and for each way in which they do a search is prepared.

use super::{DynamicResources, allocation, consumers};
use crate::cache::{NodeInfo, Snapshot};
use crate::devices::{Allocator, Devices, Mappings, Readiness, claim_for_resources, readiness};
use crate::pod::PodInfo;
use component::informers::Key;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use objects::affinity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods that may use one claim (API reference: ResourceClaimStatus.reservedFor).
const CONSUMERS_LIMIT: usize = 256;

/// The claims of a pod, told apart by whether their devices are settled.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Allocated, and in use by others too, or with devices that are still prepared for the pod.
    fixed: Vec<Arc<ResourceClaim>>,
    /// Allocated, and free to move with this pod.
    movable: Vec<Arc<ResourceClaim>>,
    /// Extended resources for which a class stands.
    resources: BTreeMap<&'a str, &'a str>,
    /// For each set of resources that some node leaves to classes.
    searches: BTreeMap<Vec<&'a str>, Search<'a>>,
    /// Extended resources for which none does.
    others: Vec<&'a str>,
}

#[derive(Debug)]
struct Search<'a> {
    /// Finds devices for the claims without any.
    open: Allocator<'a>,
    /// Finds devices for those that may move as well.
    all_open: Allocator<'a>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        plugin: &DynamicResources,
    ) -> Result<Self, String> {
        let devices = cluster.devices();
        let (mut fixed, mut movable, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for claim in devices.claims_of(pod)? {
            let consumers = consumers(&claim);
            let own = |consumer: &ResourceClaimConsumerReference| consumer.uid == *pod.uid;
            if !consumers.iter().any(own) && consumers.len() >= CONSUMERS_LIMIT {
                return Err("resourceclaim in use".to_owned());
            }
            match allocation(&claim) {
                None => open.push(claim),
                Some(_) if consumers.iter().all(own) => match readiness(&claim) {
                    Readiness::Ready => movable.push(claim),
                    // They are still prepared, as for a pod that was in binding when the scheduler was stopped.
                    Readiness::Waiting if plugin.ready_by(&claim).is_some_and(|by| cluster.now() < by) => {
                        fixed.push(claim);
                    }
                    // They could not be made ready: it gets others, or another try.
                    Readiness::Waiting | Readiness::Failed { .. } => open.push(claim),
                },
                Some(_) => fixed.push(claim),
            }
        }
        let resources = devices.resources_of(pod);
        let others = match resources.is_empty() {
            true => Vec::new(),
            false => asked(pod).filter(|name| !resources.contains_key(name)).collect(),
        };
        let mut wanted = Self { fixed, movable, resources, searches: BTreeMap::new(), others };
        let sets: Vec<_> = match wanted.resources.is_empty() {
            true => vec![Vec::new()],
            false => cluster.nodes().iter().map(|node| wanted.left_to_classes(node)).collect(),
        };
        let earlier: Vec<_> = devices.made_for_resources(pod).map(|claim| Key::of(&**claim)).collect();
        for set in sets {
            if wanted.searches.contains_key(&set) {
                continue;
            }
            let mut open = open.clone();
            if !set.is_empty() {
                open.push(Arc::new(wanted.claim(pod, &set, devices).0));
            }
            let all = open.iter().chain(&wanted.movable).cloned().collect();
            let search = Search {
                open: Allocator::new(devices, open, &earlier, plugin.filter_timeout)?,
                all_open: Allocator::new(devices, all, &earlier, plugin.filter_timeout)?,
            };
            wanted.searches.insert(set, search);
        }
        Ok(wanted)
    }

    /// The claims that may have to be allocated, here or there.
    pub(super) fn to_allocate(&self) -> impl Iterator<Item = &Arc<ResourceClaim>> {
        self.searches.values().flat_map(|search| search.all_open.claims())
    }

    /// What each claim that has to be allocated gets on the node.
    pub(super) fn on(
        &self,
        node: &NodeInfo,
    ) -> Result<Vec<(Arc<ResourceClaim>, AllocationResult)>, &'static str> {
        let is_here = |claim: &Arc<ResourceClaim>| {
            let selector = allocation(claim).and_then(|allocation| allocation.node_selector.as_ref());
            selector.is_none_or(|selector| affinity::selector_matches(selector, &node.node.metadata))
        };
        if !self.fixed.iter().all(is_here) {
            return Err("resourceclaim not available on the node");
        }
        if self.others.iter().any(|name| !node.allocatable.scalars.contains_key(*name)) {
            return Err("cannot fit resource");
        }
        let set = self.left_to_classes(node);
        let Some(search) = self.searches.get(&set) else { return Err("cannot allocate all claims") };
        let stays = self.movable.iter().all(is_here);
        let search = if stays { &search.open } else { &search.all_open };
        let given = search.on(&node.node.metadata)?;
        Ok(search.claims().iter().cloned().zip(given).collect())
    }

    /// The resources that a node does not have itself.
    fn left_to_classes(&self, node: &NodeInfo) -> Vec<&'a str> {
        let own = |name: &str| node.allocatable.scalars.get(name).is_some_and(|amount| *amount > 0);
        self.resources.keys().copied().filter(|name| !own(name)).collect()
    }

    fn claim(&self, pod: &PodInfo, set: &[&str], devices: &Devices) -> (ResourceClaim, Mappings) {
        let resources = set.iter().filter_map(|name| Some((*name, *self.resources.get(name)?))).collect();
        let names = devices.made_for_resources(pod).filter_map(|claim| claim.metadata.name.clone());
        claim_for_resources(pod, &resources, &names.collect::<Vec<_>>())
    }
}

/// The extended resources that a pod asks for.
fn asked(pod: &PodInfo) -> impl Iterator<Item = &str> {
    let asked = pod.requests.scalars.iter().filter(|(name, amount)| **amount > 0 && name.contains('/'));
    asked.map(|(name, _)| name.as_str()).filter(|name| !name.contains("kubernetes.io/"))
}

/// Which container of the pod uses what of the claim that is made for its extended resources on this node.
pub(super) fn mappings(pod: &PodInfo, node: &NodeInfo, devices: &Devices) -> Mappings {
    let resources = devices.resources_of(pod);
    let mut wanted = Wanted {
        fixed: Vec::new(),
        movable: Vec::new(),
        resources,
        searches: BTreeMap::new(),
        others: Vec::new(),
    };
    let set = wanted.left_to_classes(node);
    wanted.resources.retain(|name, _| set.contains(name));
    claim_for_resources(pod, &wanted.resources, &[]).1
}
