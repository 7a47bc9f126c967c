//! Admits nodes on which the pod's claims have, or can get, their volumes; has unbound claims bound before the pod.
//!
//! A bound claim ties the pod to the nodes that its volume can be used on. A claim whose class waits for its first
//! consumer gets, on each node, the smallest free volume that suits, or one that is to be made there. Others must be
//! bound first. It concerns pods that mount claims, ephemeral volumes included; others cost it nothing.

mod find;
mod hold;

use super::args::VolumeBindingArgs;
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    Change, Filter, ForPod, NodeCheck, Plugin, PreBind, Reserve, Subject, Verdict, Wakeup,
};
use crate::pod::PodInfo;
use crate::related::Related;
use crate::volumes::Volumes;
use find::Wanted;
pub(super) use find::owned;
use jiff::SignedDuration;

/// Upstream's VolumeBinding.
#[derive(Debug)]
pub struct VolumeBinding {
    bind_timeout: SignedDuration,
}

impl VolumeBinding {
    /// The plugin with these arguments.
    pub fn new(args: &VolumeBindingArgs) -> Self {
        Self { bind_timeout: SignedDuration::from_secs(args.bind_timeout_seconds) }
    }
}

impl Default for VolumeBinding {
    fn default() -> Self {
        Self::new(&VolumeBindingArgs::default())
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::ClassAdded,
            Wakeup::ClassUpdated,
            Wakeup::ClaimAdded,
            Wakeup::ClaimUpdated,
            Wakeup::VolumeAdded,
            Wakeup::VolumeUpdated,
            Wakeup::NodeAdded,
            Wakeup::NodeLabels,
            Wakeup::CsiNodeAdded,
            Wakeup::CsiNodeUpdated,
            Wakeup::CsiDriverUpdated,
            Wakeup::CapacityAdded,
            Wakeup::CapacityUpdated,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Related(Related::Claim(claim)) => mounts(pod, claim),
            _ => true,
        }
    }

    fn ignores(&self, pod: &PodInfo) -> bool {
        pod.claims().is_empty()
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}

/// True when the pod mounts this claim.
pub(super) fn mounts(pod: &PodInfo, claim: &crate::volumes::Claim) -> bool {
    claim.metadata.namespace.as_deref() == Some(pod.namespace())
        && pod.claims().iter().any(|mounted| mounted.name == claim.name())
}

impl Filter for VolumeBinding {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        if pod.claims().is_empty() {
            return ForPod::Nothing;
        }
        match Wanted::of(pod, cluster.volumes()) {
            Ok(wanted) => ForPod::check(Check { wanted, volumes: cluster.volumes() }),
            Err(why) => ForPod::Refuse(Verdict::Never(why.into())),
        }
    }
}

#[derive(Debug)]
struct Check<'a> {
    wanted: Wanted,
    volumes: &'a Volumes,
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        match self.wanted.on(&node.node.metadata, self.volumes) {
            Ok(_) => Verdict::Fits,
            Err(reasons) => Verdict::Never(reasons.into()),
        }
    }
}

#[cfg(test)]
mod tests;
