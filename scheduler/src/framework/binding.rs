//! The roles between the choice of a node and the bind: Reserve, Permit and PreBind.
//!
//! A plugin in these roles never writes or waits itself. It says what is to be written ([`PreBind::writes`]), and is
//! asked again when what it waits for has changed ([`Permit::may_bind`], [`PreBind::settled`]). Pods it has no say
//! about cost one call a role.

use super::{Plugin, Verdict};
use crate::cache::Snapshot;
use crate::pod::{NodeName, PodInfo, Uid};
use component::informers::Key;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;

/// Takes for a pod what it will use besides the node's resources.
pub trait Reserve: Plugin {
    /// Takes it, so that the next cycle counts it as taken.
    ///
    /// # Errors
    ///
    /// Says what is missing. Everything that was taken for the pod is then given back.
    fn take(&self, pod: &Arc<PodInfo>, node: &NodeName, cluster: &mut Snapshot) -> Result<(), String>;

    /// Gives it back: the pod will not be bound. Also called for a pod that took nothing.
    fn give_back(&self, pod: &PodInfo, node: &NodeName, cluster: &mut Snapshot);

    /// The pod is bound: what was taken is now the pod's own, and the watch shows it or will.
    fn bound(&self, _pod: &PodInfo, _cluster: &mut Snapshot) {}
}

/// Lets a pod be bound, or makes it wait for others.
pub trait Permit: Plugin {
    /// Whether the pod, which has reserved all it needs, may be bound.
    fn may_bind(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot) -> Permission;

    /// Pods whose [`Self::may_bind`] may have changed because this one was admitted, or given up.
    fn concerned(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Vec<Uid> {
        Vec::new()
    }
}

/// What [`Permit::may_bind`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Not yet; at most this long after it was placed.
    Wait(SignedDuration),
    /// It will not: what it took is given back, and it waits in the queue.
    Denied(Verdict),
}

/// Has something written before the bind, and waits for its effect.
pub trait PreBind: Plugin {
    /// What has to be written, in order. Asked once, when the pod is admitted, which is now.
    fn writes(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot, now: Timestamp) -> Vec<Write>;

    /// What has to be written when the pod is not bound after all. Asked before what it took is given back.
    fn takes_back(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Vec<Write> {
        Vec::new()
    }

    /// Whether what was written has had its effect. Asked when the writes are done, and whenever one of
    /// [`Self::waits_for`] has changed.
    fn settled(&self, pod: &PodInfo, node: &NodeName, cluster: &Snapshot) -> Settled;

    /// The claims whose changes may settle it.
    fn waits_for(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Key>;

    /// How long that may take.
    fn time_limit(&self) -> SignedDuration;

    /// When that is over for a pod whose writes were done at `since`.
    fn deadline(&self, _pod: &PodInfo, _cluster: &Snapshot, since: Timestamp) -> Timestamp {
        since + self.time_limit()
    }

    /// The reason and text of an event that tells of the wait when it begins.
    fn tells(&self, _node: &NodeName) -> Option<(&'static str, String)> {
        None
    }

    /// What is told when it took longer.
    fn timed_out(&self) -> String;
}

/// What [`PreBind::settled`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It has, or there was nothing to wait for.
    Yes,
    /// Not yet.
    NotYet,
    /// It never will: the pod has to be tried again.
    Never(String),
}

/// A merge patch of one object, or the object that is to be made. The answer is taken into the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The plugin that wants it.
    pub plugin: &'static str,
    /// Which object.
    pub target: Target,
    /// The patch. With `metadata.resourceVersion` it fails if the object has changed, but for earlier writes of ours.
    pub patch: Value,
}

/// The object of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A PersistentVolume by name.
    Volume(String),
    /// A PersistentVolumeClaim.
    Claim(Key),
    /// A ResourceClaim.
    DeviceClaim(Key),
    /// The status of a ResourceClaim.
    DeviceClaimStatus(Key),
    /// A ResourceClaim that is to be made.
    NewDeviceClaim(Key),
    /// A ResourceClaim that goes; the patch comes first. It may be gone already.
    OldDeviceClaim(Key),
    /// The status of a pod.
    PodStatus(Key),
}
