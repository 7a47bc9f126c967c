//! The devices of the cluster as scheduling sees them (resource.k8s.io/v1): what drivers publish, the classes, and the
//! claims with what pods in binding have been given.
//!
//! Kept up to date by the scheduler's task from the watches and from answers to its own writes; a cycle reads it.

mod allocate;
mod binding;
mod counters;
mod extended;
mod select;
mod shares;
mod stock;

pub(crate) use allocate::Allocator;
pub(crate) use binding::{Readiness, readiness};
pub(crate) use extended::{Mappings, claim as claim_for_resources, stands_for};

pub(crate) use stock::Stock;

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::{PodInfo, Uid};
use crate::related::Related;
use crate::volumes::Overlay;
use component::informers::Key;
use extended::{Standing, made_for};
use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use rustc_hash::{FxHashMap, FxHashSet};
use select::Matches;
use shares::Shares;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The devices. See the file header.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    claims: Overlay<ResourceClaim>,
    /// Claims that hold devices, or will.
    holding: FxHashSet<Key>,
    slices: BTreeMap<String, Arc<ResourceSlice>>,
    classes: FxHashMap<String, Arc<DeviceClass>>,
    /// Which of them stands for an extended resource.
    standing: Standing,
    /// Claims that schedulers have made for the extended resources of a pod, by its UID.
    for_resources: FxHashMap<Uid, BTreeSet<Key>>,
    /// The claims that pods in binding have changed: as they were, and as they will be.
    reserved: FxHashMap<Uid, Arc<Vec<Change>>>,
    matches: Matches,
}

/// A claim that is given devices, or a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// As it was.
    pub before: Arc<ResourceClaim>,
    /// As it will be.
    pub after: Arc<ResourceClaim>,
}

/// A device: driver, pool and name.
pub(crate) type DeviceId = (String, String, String);

impl Devices {
    /// A claim as it is or will be.
    pub fn claim(&self, key: &Key) -> Option<&Arc<ResourceClaim>> {
        self.claims.get(key)
    }

    /// A class.
    pub fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    /// The class that stands for an extended resource.
    pub fn class_for(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        self.standing.class(resource)
    }

    /// Of the extended resources that a pod asks for, those for which a class stands, each with its class.
    pub fn resources_of<'a>(&'a self, pod: &'a PodInfo) -> BTreeMap<&'a str, &'a str> {
        let asked = pod.requests.scalars.iter().filter(|(_, amount)| **amount > 0);
        let known = asked.filter_map(|(resource, _)| {
            Some((resource.as_str(), self.class_for(resource)?.metadata.name.as_deref()?))
        });
        known.collect()
    }

    /// The claims that were made for the extended resources of a pod, in earlier tries too.
    pub fn made_for_resources(&self, pod: &PodInfo) -> impl Iterator<Item = &Arc<ResourceClaim>> {
        self.for_resources.get(&pod.uid).into_iter().flatten().filter_map(|key| self.claims.get(key))
    }

    /// What a pod in binding has changed.
    pub fn reserved(&self, pod: &Uid) -> Option<&Arc<Vec<Change>>> {
        self.reserved.get(pod)
    }

    /// The claims of a pod, by the name of each in the spec; those that turn out not to be needed are left out.
    ///
    /// # Errors
    ///
    /// Says which one is missing, in upstream's words.
    pub fn claims_of(&self, pod: &PodInfo) -> Result<Vec<Arc<ResourceClaim>>, String> {
        let mut claims = Vec::new();
        for source in &pod.spec().resource_claims {
            let made =
                || pod.view().status.resource_claim_statuses.iter().find(|made| made.name == source.name);
            let (name, for_pod) = match &source.resource_claim_name {
                Some(name) => (name.clone(), false),
                None => match made() {
                    None => return Err(format!("pod {pod}: ResourceClaim not created yet")),
                    Some(made) => match &made.resource_claim_name {
                        Some(name) => (name.clone(), true),
                        None => continue,
                    },
                },
            };
            let claim = self.claim(&Key::new(pod.namespace(), &*name));
            let claim = claim.ok_or_else(|| format!("resourceclaim {name:?} not found"))?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("resourceclaim {name:?} is being deleted"));
            }
            if for_pod && !objects::owner::is_controlled_by(&claim.metadata, &pod.uid) {
                return Err(format!(
                    "ResourceClaim {}/{name} was not created for pod {pod} (pod is not owner)",
                    pod.namespace()
                ));
            }
            claims.push(claim.clone());
        }
        Ok(claims)
    }

    /// A pod takes these changes of its claims.
    pub fn reserve(&mut self, pod: Uid, changes: Vec<Change>) {
        for change in &changes {
            let key = Key::of(&*change.after);
            self.claims.assume(key.clone(), change.after.clone());
            self.note(&key, &change.after);
        }
        self.reserved.insert(pod, Arc::new(changes));
    }

    /// A pod is bound, or gives back what it had taken and not written.
    pub fn release(&mut self, pod: &Uid) {
        let Some(changes) = self.reserved.remove(pod) else { return };
        for change in changes.iter() {
            let key = Key::of(&*change.before);
            self.claims.restore(&key);
            self.note(&key, &change.before);
        }
    }

    /// The server has taken a write of ours; this is its answer.
    pub fn wrote(&mut self, claim: Arc<ResourceClaim>) {
        let key = Key::of(&*claim);
        self.claims.wrote(key.clone(), claim.clone());
        self.note(&key, &claim);
    }

    /// The watch shows an object. Answers what that may mean to waiting pods.
    pub fn see(&mut self, object: &Related) -> WakeupSet {
        let (added, if_added, if_updated) = match object {
            Related::DeviceClaim(claim) => {
                let key = Key::of(&**claim);
                let pending = self.claims.is_pending(&key);
                let before = self.claims.see(key.clone(), claim.clone());
                if let Some(after) = self.still_to_come(&key, claim).filter(|_| pending) {
                    self.claims.assume(key.clone(), after);
                }
                self.note(&key, claim);
                (before.is_none(), Wakeup::ResourceClaimAdded, Wakeup::ResourceClaimUpdated)
            }
            Related::Slice(slice) => {
                self.matches.forget();
                let before = self.slices.insert(Key::of(&**slice).name, slice.clone());
                (before.is_none(), Wakeup::SliceAdded, Wakeup::SliceUpdated)
            }
            Related::DeviceClass(class) => {
                let before = self.classes.insert(Key::of(&**class).name, class.clone());
                self.standing = Standing::of(self.classes.values());
                (before.is_none(), Wakeup::DeviceClassAdded, Wakeup::DeviceClassUpdated)
            }
            _ => return WakeupSet::default(),
        };
        WakeupSet::of(&[if added { if_added } else { if_updated }])
    }

    /// The watch shows an object no more.
    pub fn gone(&mut self, object: &Related) -> WakeupSet {
        match object {
            Related::DeviceClaim(claim) => {
                let key = Key::of(&**claim);
                self.claims.gone(&key);
                self.note(&key, claim);
                return WakeupSet::of(&[Wakeup::ResourceClaimDeleted]);
            }
            Related::Slice(slice) => {
                self.matches.forget();
                self.slices.remove(&Key::of(&**slice).name);
            }
            Related::DeviceClass(class) => {
                self.classes.remove(&Key::of(&**class).name);
                self.standing = Standing::of(self.classes.values());
            }
            _ => {}
        }
        WakeupSet::default()
    }

    /// The devices that claims other than these have for themselves, and their shares of others. Those given for
    /// administration are not held.
    pub(crate) fn in_use(&self, but: &[Key]) -> (FxHashSet<DeviceId>, Shares) {
        let others =
            self.holding.iter().filter(|key| !but.contains(key)).filter_map(|key| self.claims.get(key));
        let results = others.filter_map(|claim| {
            claim.status.as_ref()?.allocation.as_ref()?.devices.as_ref()?.results.as_ref()
        });
        let (mut whole, mut shares) = (FxHashSet::default(), Shares::default());
        for result in results.flatten().filter(|result| result.admin_access != Some(true)) {
            let id = (result.driver.clone(), result.pool.clone(), result.device.clone());
            if result.share_id.is_some() {
                shares.note(id, result);
            } else {
                whole.insert(id);
            }
        }
        (whole, shares)
    }

    /// What a pod in binding makes of a claim, if the watch shows less: the finalizer is written before the allocation,
    /// and until that is there too nobody else may be given the devices.
    fn still_to_come(&self, key: &Key, shown: &ResourceClaim) -> Option<Arc<ResourceClaim>> {
        // When it was given is known only as it is written.
        let allocation = |claim: &ResourceClaim| {
            let allocation = claim.status.as_ref().and_then(|status| status.allocation.clone());
            allocation.map(|given| AllocationResult { allocation_timestamp: None, ..given })
        };
        let changes = self.reserved.values().flat_map(|changes| changes.iter());
        let mut afters =
            changes.map(|change| &change.after).filter(|after| Key::of::<ResourceClaim>(after) == *key);
        afters.find(|after| allocation(after) != allocation(shown)).cloned()
    }

    /// Brings what is known about a claim up to date; `object` is any version of it.
    fn note(&mut self, key: &Key, object: &ResourceClaim) {
        let now = self.claims.get(key);
        if now.is_some_and(|claim| claim.status.as_ref().is_some_and(|status| status.allocation.is_some())) {
            self.holding.insert(key.clone());
        } else {
            self.holding.remove(key);
        }
        let Some(pod) = made_for(object).map(Uid::from) else { return };
        if now.is_some() {
            self.for_resources.entry(pod).or_default().insert(key.clone());
        } else if let Some(keys) = self.for_resources.get_mut(&pod) {
            keys.remove(key);
            if keys.is_empty() {
                self.for_resources.remove(&pod);
            }
        }
    }
}
