//! The devices of the cluster as scheduling sees them (resource.k8s.io/v1): what drivers publish, the classes, and the
//! claims with what pods in binding have been given.
//!
//! Kept up to date by the scheduler's task from the watches and from answers to its own writes; a cycle reads it.

mod allocate;
mod binding;
mod counters;
mod select;

pub(crate) use allocate::Allocator;
pub(crate) use binding::{Readiness, readiness};

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::{PodInfo, Uid};
use crate::related::{Key, Related};
use crate::volumes::Overlay;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustc_hash::{FxHashMap, FxHashSet};
use select::Matches;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The devices. See the file header.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    claims: Overlay<ResourceClaim>,
    /// Claims that hold devices, or will.
    holding: FxHashSet<Key>,
    slices: BTreeMap<String, Arc<ResourceSlice>>,
    classes: FxHashMap<String, Arc<DeviceClass>>,
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
            let key = key(&change.after.metadata);
            self.holding.insert(key.clone());
            self.claims.assume(key, change.after.clone());
        }
        self.reserved.insert(pod, Arc::new(changes));
    }

    /// A pod is bound, or gives back what it had taken and not written.
    pub fn release(&mut self, pod: &Uid) {
        let Some(changes) = self.reserved.remove(pod) else { return };
        for change in changes.iter() {
            let key = key(&change.before.metadata);
            self.claims.restore(&key);
            self.note(&key);
        }
    }

    /// The server has taken a write of ours; this is its answer.
    pub fn wrote(&mut self, claim: Arc<ResourceClaim>) {
        let key = key(&claim.metadata);
        self.claims.wrote(key.clone(), claim);
        self.note(&key);
    }

    /// The watch shows an object. Answers what that may mean to waiting pods.
    pub fn see(&mut self, object: &Related) -> WakeupSet {
        let (added, if_added, if_updated) = match object {
            Related::DeviceClaim(claim) => {
                let key = key(&claim.metadata);
                let pending = self.claims.is_pending(&key);
                let before = self.claims.see(key.clone(), claim.clone());
                if let Some(after) = self.still_to_come(&key, claim).filter(|_| pending) {
                    self.claims.assume(key.clone(), after);
                }
                self.note(&key);
                (before.is_none(), Wakeup::ResourceClaimAdded, Wakeup::ResourceClaimUpdated)
            }
            Related::Slice(slice) => {
                self.matches.forget();
                let before = self.slices.insert(key(&slice.metadata).name, slice.clone());
                (before.is_none(), Wakeup::SliceAdded, Wakeup::SliceUpdated)
            }
            Related::DeviceClass(class) => {
                let before = self.classes.insert(key(&class.metadata).name, class.clone());
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
                let key = key(&claim.metadata);
                self.claims.gone(&key);
                self.note(&key);
                return WakeupSet::of(&[Wakeup::ResourceClaimDeleted]);
            }
            Related::Slice(slice) => {
                self.matches.forget();
                self.slices.remove(&key(&slice.metadata).name);
            }
            Related::DeviceClass(class) => {
                self.classes.remove(&key(&class.metadata).name);
            }
            _ => {}
        }
        WakeupSet::default()
    }

    /// The devices that claims other than these hold. Those given for administration are not held.
    pub(crate) fn in_use(&self, but: &[Key]) -> FxHashSet<DeviceId> {
        let others =
            self.holding.iter().filter(|key| !but.contains(key)).filter_map(|key| self.claims.get(key));
        let results = others.filter_map(|claim| {
            claim.status.as_ref()?.allocation.as_ref()?.devices.as_ref()?.results.as_ref()
        });
        let held = results.flatten().filter(|result| result.admin_access != Some(true));
        held.map(|result| (result.driver.clone(), result.pool.clone(), result.device.clone())).collect()
    }

    /// What a pod in binding makes of a claim, if the watch shows less: the finalizer is written before the allocation,
    /// and until that is there too nobody else may be given the devices.
    fn still_to_come(&self, key: &Key, shown: &ResourceClaim) -> Option<Arc<ResourceClaim>> {
        let allocation =
            |claim: &ResourceClaim| claim.status.as_ref().and_then(|status| status.allocation.clone());
        let changes = self.reserved.values().flat_map(|changes| changes.iter());
        let mut afters =
            changes.map(|change| &change.after).filter(|after| self::key(&after.metadata) == *key);
        afters.find(|after| allocation(after) != allocation(shown)).cloned()
    }

    fn note(&mut self, key: &Key) {
        let holds = |claim: &Arc<ResourceClaim>| {
            claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
        };
        if self.claims.get(key).is_some_and(holds) {
            self.holding.insert(key.clone());
        } else {
            self.holding.remove(key);
        }
    }
}

/// The namespace and name of an object.
pub(crate) fn key(metadata: &ObjectMeta) -> Key {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Key { namespace: text(&metadata.namespace), name: text(&metadata.name) }
}
