//! What changed in the cluster, in the words in which waiting pods ask for it.
//!
//! A plugin that refused a pod names the [`Wakeup`]s after which asking again makes sense; the queue keeps an
//! index from each of them to the pods that wait for it, so that a change costs what it concerns and not what waits.

use crate::cache::NodeInfo;
use crate::pod::PodInfo;
use crate::related::Related;
use objects::views::Node;

/// A kind of change. The names in metrics are upstream's resource, with its group, and action
/// (`NodeAdd`, `storage.k8s.io/CSINodeAdd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wakeup {
    /// A node appeared.
    NodeAdded,
    /// A node went away.
    NodeDeleted,
    /// Allocatable resources of a node changed.
    NodeAllocatable,
    /// Labels of a node changed.
    NodeLabels,
    /// Taints of a node, or whether it is cordoned, changed.
    NodeTaints,
    /// Features that a node declares changed.
    NodeDeclaredFeatures,
    /// A running pod was added to a node, by us or by anyone.
    PodAssigned,
    /// A pod left its node, or a placement of ours was taken back.
    PodRemoved,
    /// Labels of a running pod changed.
    PodLabels,
    /// A running pod was resized to less.
    PodScaledDown,
    /// The waiting pod itself was given other labels.
    OwnLabels,
    /// The waiting pod itself got another toleration.
    OwnTolerations,
    /// The waiting pod itself asks for less than before.
    OwnScaledDown,
    /// The last scheduling gate of the waiting pod was taken away.
    OwnGates,
    /// Labels of a namespace changed, or a namespace appeared.
    NamespaceLabels,
    /// A PersistentVolume appeared.
    VolumeAdded,
    /// A PersistentVolume changed.
    VolumeUpdated,
    /// A PersistentVolumeClaim appeared.
    ClaimAdded,
    /// A PersistentVolumeClaim changed.
    ClaimUpdated,
    /// A StorageClass appeared.
    ClassAdded,
    /// A StorageClass changed.
    ClassUpdated,
    /// A CSINode appeared.
    CsiNodeAdded,
    /// A CSINode changed.
    CsiNodeUpdated,
    /// A CSIDriver appeared.
    CsiDriverAdded,
    /// A CSIDriver changed.
    CsiDriverUpdated,
    /// A CSIStorageCapacity appeared.
    CapacityAdded,
    /// A CSIStorageCapacity changed.
    CapacityUpdated,
    /// A volume was detached from a node.
    AttachmentDeleted,
    /// A pod without a node appeared.
    PodAdded,
    /// The resource claims of the waiting pod itself were made.
    OwnClaims,
    /// A ResourceClaim appeared.
    ResourceClaimAdded,
    /// A ResourceClaim changed.
    ResourceClaimUpdated,
    /// A ResourceClaim is gone.
    ResourceClaimDeleted,
    /// A ResourceSlice appeared.
    SliceAdded,
    /// A ResourceSlice changed.
    SliceUpdated,
    /// A DeviceClass appeared.
    DeviceClassAdded,
    /// A DeviceClass changed.
    DeviceClassUpdated,
    /// A PodGroup appeared.
    GroupAdded,
    /// A PodGroup changed.
    GroupUpdated,
}

impl Wakeup {
    /// Every kind, in the order of the bits of a [`WakeupSet`].
    pub const ALL: [Self; 39] = [
        Self::NodeAdded,
        Self::NodeDeleted,
        Self::NodeAllocatable,
        Self::NodeLabels,
        Self::NodeTaints,
        Self::NodeDeclaredFeatures,
        Self::PodAssigned,
        Self::PodRemoved,
        Self::PodLabels,
        Self::PodScaledDown,
        Self::OwnLabels,
        Self::OwnTolerations,
        Self::OwnScaledDown,
        Self::OwnGates,
        Self::NamespaceLabels,
        Self::VolumeAdded,
        Self::VolumeUpdated,
        Self::ClaimAdded,
        Self::ClaimUpdated,
        Self::ClassAdded,
        Self::ClassUpdated,
        Self::CsiNodeAdded,
        Self::CsiNodeUpdated,
        Self::CsiDriverAdded,
        Self::CsiDriverUpdated,
        Self::CapacityAdded,
        Self::CapacityUpdated,
        Self::AttachmentDeleted,
        Self::PodAdded,
        Self::OwnClaims,
        Self::ResourceClaimAdded,
        Self::ResourceClaimUpdated,
        Self::ResourceClaimDeleted,
        Self::SliceAdded,
        Self::SliceUpdated,
        Self::DeviceClassAdded,
        Self::DeviceClassUpdated,
        Self::GroupAdded,
        Self::GroupUpdated,
    ];

    /// The `event` label of `scheduler_queue_incoming_pods_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NodeAdded => "NodeAdd",
            Self::NodeDeleted => "NodeDelete",
            Self::NodeAllocatable => "NodeUpdateNodeAllocatable",
            Self::NodeLabels => "NodeUpdateNodeLabel",
            Self::NodeTaints => "NodeUpdateNodeTaint",
            Self::NodeDeclaredFeatures => "NodeUpdateNodeDeclaredFeature",
            Self::PodAssigned => "AssignedPodAdd",
            Self::PodRemoved => "AssignedPodDelete",
            Self::PodLabels => "AssignedPodUpdatePodLabel",
            Self::PodScaledDown => "AssignedPodUpdatePodScaleDown",
            Self::OwnLabels => "UnschedulablePodUpdatePodLabel",
            Self::OwnTolerations => "UnschedulablePodUpdatePodToleration",
            Self::OwnScaledDown => "UnschedulablePodUpdatePodScaleDown",
            Self::OwnGates => "UnschedulablePodUpdatePodSchedulingGatesEliminated",
            Self::NamespaceLabels => "NamespaceUpdate",
            Self::VolumeAdded => "PersistentVolumeAdd",
            Self::VolumeUpdated => "PersistentVolumeUpdate",
            Self::ClaimAdded => "PersistentVolumeClaimAdd",
            Self::ClaimUpdated => "PersistentVolumeClaimUpdate",
            Self::ClassAdded => "storage.k8s.io/StorageClassAdd",
            Self::ClassUpdated => "storage.k8s.io/StorageClassUpdate",
            Self::CsiNodeAdded => "storage.k8s.io/CSINodeAdd",
            Self::CsiNodeUpdated => "storage.k8s.io/CSINodeUpdate",
            Self::CsiDriverAdded => "storage.k8s.io/CSIDriverAdd",
            Self::CsiDriverUpdated => "storage.k8s.io/CSIDriverUpdate",
            Self::CapacityAdded => "storage.k8s.io/CSIStorageCapacityAdd",
            Self::CapacityUpdated => "storage.k8s.io/CSIStorageCapacityUpdate",
            Self::AttachmentDeleted => "storage.k8s.io/VolumeAttachmentDelete",
            Self::PodAdded => "UnschedulablePodAdd",
            Self::OwnClaims => "UnschedulablePodUpdatePodGeneratedResourceClaim",
            Self::ResourceClaimAdded => "resource.k8s.io/ResourceClaimAdd",
            Self::ResourceClaimUpdated => "resource.k8s.io/ResourceClaimUpdate",
            Self::ResourceClaimDeleted => "resource.k8s.io/ResourceClaimDelete",
            Self::SliceAdded => "resource.k8s.io/ResourceSliceAdd",
            Self::SliceUpdated => "resource.k8s.io/ResourceSliceUpdate",
            Self::DeviceClassAdded => "resource.k8s.io/DeviceClassAdd",
            Self::DeviceClassUpdated => "resource.k8s.io/DeviceClassUpdate",
            Self::GroupAdded => "scheduling.k8s.io/PodGroupAdd",
            Self::GroupUpdated => "scheduling.k8s.io/PodGroupUpdate",
        }
    }
}

/// A small set of [`Wakeup`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeupSet(u64);

impl WakeupSet {
    /// The set of `wakeups`.
    pub fn of(wakeups: &[Wakeup]) -> Self {
        let mut set = Self::default();
        for wakeup in wakeups {
            set.insert(*wakeup);
        }
        set
    }

    /// Adds one.
    pub fn insert(&mut self, wakeup: Wakeup) {
        self.0 |= 1 << wakeup as u8;
    }

    /// True when nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when `wakeup` is in it.
    pub fn contains(self, wakeup: Wakeup) -> bool {
        self.0 & (1 << wakeup as u8) != 0
    }

    /// Members of either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when they share a member.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Its members in order.
    pub fn iter(self) -> impl Iterator<Item = Wakeup> {
        Wakeup::ALL.into_iter().filter(move |wakeup| self.contains(*wakeup))
    }
}

/// One change with what it concerns, so that a plugin can tell whether it helps a certain pod.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What kinds of change it is: a node update can be several at once.
    pub kinds: WakeupSet,
    /// What changed, as it is now.
    pub subject: Subject<'a>,
    /// The node on which a pod came, went or changed, as it is now. `None`: not known, or several.
    pub at: Option<&'a NodeInfo>,
}

/// The object of a [`Change`].
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A node that is there now, and what it was before if it was there.
    Node {
        /// As it is now.
        now: &'a NodeInfo,
        /// As it was before the change.
        before: Option<&'a Node>,
    },
    /// A pod on a node: as it is now, or as it was before it left.
    Pod(&'a PodInfo),
    /// The waiting pod itself, as it was before.
    Own(&'a PodInfo),
    /// An object that pods refer to.
    Related(&'a Related),
    /// Nothing that a hint could read; all who wait for the kind are woken.
    Other,
}

impl<'a> Change<'a> {
    /// A change of one kind.
    pub fn new(kind: Wakeup, subject: Subject<'a>) -> Self {
        Self::several(WakeupSet::of(&[kind]), subject)
    }

    /// A change of several kinds at once.
    pub fn several(kinds: WakeupSet, subject: Subject<'a>) -> Self {
        Self { kinds, subject, at: None }
    }

    /// The same on this node.
    #[must_use]
    pub fn on(self, at: Option<&'a NodeInfo>) -> Self {
        Self { at, ..self }
    }

    /// The node of the change, if it is one that is there now.
    pub fn node(&self) -> Option<&'a NodeInfo> {
        match self.subject {
            Subject::Node { now, .. } => Some(now),
            _ => None,
        }
    }
}
