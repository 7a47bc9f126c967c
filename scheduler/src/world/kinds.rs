//! The kinds that decide where pods go, and where an API server lists them.

/// A kind that is read.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `apiVersion`.
    pub version: &'static str,
    /// `kind`.
    pub kind: &'static str,
    /// Where all of them are listed.
    pub path: &'static str,
    /// What for.
    pub used: Use,
    /// Without it there is no answer.
    pub needed: bool,
}

/// What a kind is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Scheduling looks at it.
    Scheduling,
    /// It makes pods, or says what they are given.
    Workload,
}

impl Kind {
    const fn new(version: &'static str, kind: &'static str, path: &'static str, used: Use) -> Self {
        Self { version, kind, path, used, needed: false }
    }

    /// The last part of the path.
    pub fn plural(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// All of them, in the order in which they are read.
pub const KINDS: &[Kind] = &[
    Kind { needed: true, ..Kind::new("v1", "Node", "/api/v1/nodes", Use::Scheduling) },
    Kind { needed: true, ..Kind::new("v1", "Pod", "/api/v1/pods", Use::Scheduling) },
    Kind::new("v1", "Namespace", "/api/v1/namespaces", Use::Scheduling),
    Kind::new("v1", "Service", "/api/v1/services", Use::Scheduling),
    Kind::new("v1", "ReplicationController", "/api/v1/replicationcontrollers", Use::Scheduling),
    Kind::new("apps/v1", "ReplicaSet", "/apis/apps/v1/replicasets", Use::Scheduling),
    Kind::new("apps/v1", "StatefulSet", "/apis/apps/v1/statefulsets", Use::Scheduling),
    Kind::new("policy/v1", "PodDisruptionBudget", "/apis/policy/v1/poddisruptionbudgets", Use::Scheduling),
    Kind::new("v1", "PersistentVolume", "/api/v1/persistentvolumes", Use::Scheduling),
    Kind::new("v1", "PersistentVolumeClaim", "/api/v1/persistentvolumeclaims", Use::Scheduling),
    Kind::new("storage.k8s.io/v1", "StorageClass", "/apis/storage.k8s.io/v1/storageclasses", Use::Scheduling),
    Kind::new("storage.k8s.io/v1", "CSINode", "/apis/storage.k8s.io/v1/csinodes", Use::Scheduling),
    Kind::new("storage.k8s.io/v1", "CSIDriver", "/apis/storage.k8s.io/v1/csidrivers", Use::Scheduling),
    Kind::new(
        "storage.k8s.io/v1",
        "CSIStorageCapacity",
        "/apis/storage.k8s.io/v1/csistoragecapacities",
        Use::Scheduling,
    ),
    Kind::new(
        "storage.k8s.io/v1",
        "VolumeAttachment",
        "/apis/storage.k8s.io/v1/volumeattachments",
        Use::Scheduling,
    ),
    Kind::new(
        "resource.k8s.io/v1",
        "ResourceClaim",
        "/apis/resource.k8s.io/v1/resourceclaims",
        Use::Scheduling,
    ),
    Kind::new(
        "resource.k8s.io/v1",
        "ResourceSlice",
        "/apis/resource.k8s.io/v1/resourceslices",
        Use::Scheduling,
    ),
    Kind::new("resource.k8s.io/v1", "DeviceClass", "/apis/resource.k8s.io/v1/deviceclasses", Use::Scheduling),
    Kind::new(
        "scheduling.k8s.io/v1alpha2",
        "PodGroup",
        "/apis/scheduling.k8s.io/v1alpha2/podgroups",
        Use::Scheduling,
    ),
    Kind::new(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        Use::Workload,
    ),
    Kind::new("apps/v1", "Deployment", "/apis/apps/v1/deployments", Use::Workload),
    Kind::new("apps/v1", "DaemonSet", "/apis/apps/v1/daemonsets", Use::Workload),
    Kind::new("batch/v1", "Job", "/apis/batch/v1/jobs", Use::Workload),
];

/// Whether objects of this kind have pods made for them.
pub(crate) fn makes_pods(kind: &str) -> bool {
    ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"].contains(&kind)
}
