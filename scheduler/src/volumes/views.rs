//! Slim views of the storage kinds: what decides where a pod can run, and no more.

use super::InTreeDisk;
use component::informers::Key;
use k8s_openapi::api::core::v1::{NodeSelector, TopologySelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use objects::amounts::Amounts;
use objects::quantity::Quantity;
use objects::view_of;
use objects::views::nullable;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Overrides the class of volumes and claims; older than the field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Set by the volume controller once a claim and its volume know each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The node for which a volume is to be made; set by the scheduler, taken away by a provisioner that cannot.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The provisioner of classes whose volumes are made by hand.
pub(crate) const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

macro_rules! views {
    ($($item:item)*) => {
        $(
            #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
            #[serde(default, rename_all = "camelCase")]
            $item
        )*
    };
}

views! {
    /// A PersistentVolume.
    pub struct PersistentVolume {
        /// Name, labels and so on.
        pub metadata: ObjectMeta,
        /// What it is.
        pub spec: VolumeSpec,
        /// Whether it is free.
        pub status: Phase,
    }

    /// The read part of a volume's spec.
    pub struct VolumeSpec {
        /// `storage`.
        pub capacity: Amounts,
        /// How it can be mounted.
        #[serde(deserialize_with = "nullable")]
        pub access_modes: Vec<String>,
        /// The claim it is bound to, or kept for.
        pub claim_ref: Option<ClaimRef>,
        /// Its class.
        pub storage_class_name: Option<String>,
        /// `Filesystem` (also if absent) or `Block`.
        pub volume_mode: Option<String>,
        /// On which nodes it can be used.
        pub node_affinity: Option<VolumeNodeAffinity>,
        /// Its VolumeAttributesClass.
        pub volume_attributes_class_name: Option<String>,
        /// The CSI volume it is.
        pub csi: Option<CsiVolume>,
        /// Or the disk of a plugin that a CSI driver has taken the place of.
        pub aws_elastic_block_store: Option<InTreeDisk>,
        /// Azure's.
        pub azure_disk: Option<InTreeDisk>,
        /// OpenStack's.
        pub cinder: Option<InTreeDisk>,
        /// Google's.
        pub gce_persistent_disk: Option<InTreeDisk>,
        /// Portworx's.
        pub portworx_volume: Option<InTreeDisk>,
        /// vSphere's.
        pub vsphere_volume: Option<InTreeDisk>,
    }

    /// On which nodes a volume can be used.
    pub struct VolumeNodeAffinity {
        /// By their labels.
        pub required: Option<NodeSelector>,
    }

    /// The claim of a volume.
    pub struct ClaimRef {
        /// Its namespace.
        pub namespace: String,
        /// Its name.
        pub name: String,
        /// Its UID; empty if a person wrote the reference.
        #[serde(deserialize_with = "nullable")]
        pub uid: String,
    }

    /// A CSI volume.
    pub struct CsiVolume {
        /// The driver's name.
        pub driver: String,
        /// The volume's name at the driver.
        pub volume_handle: String,
    }

    /// `status.phase`.
    pub struct Phase {
        /// `Available`, `Bound`, `Lost` and so on.
        pub phase: Option<String>,
    }

    /// A PersistentVolumeClaim.
    pub struct Claim {
        /// Name, annotations and so on.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: ClaimSpec,
        /// Whether it is bound.
        pub status: Phase,
    }

    /// The read part of a claim's spec.
    pub struct ClaimSpec {
        /// How it is to be mounted.
        #[serde(deserialize_with = "nullable")]
        pub access_modes: Vec<String>,
        /// Labels of the volume.
        pub selector: Option<LabelSelector>,
        /// How much.
        pub resources: ClaimResources,
        /// The volume, once there is one.
        pub volume_name: Option<String>,
        /// The class.
        pub storage_class_name: Option<String>,
        /// `Filesystem` (also if absent) or `Block`.
        pub volume_mode: Option<String>,
        /// The VolumeAttributesClass.
        pub volume_attributes_class_name: Option<String>,
    }

    /// How much a claim asks for.
    pub struct ClaimResources {
        /// `storage`.
        pub requests: Amounts,
    }

    /// A StorageClass.
    pub struct StorageClass {
        /// Its name.
        pub metadata: ObjectMeta,
        /// Who makes volumes of it.
        pub provisioner: String,
        /// `Immediate` or `WaitForFirstConsumer`.
        pub volume_binding_mode: Option<String>,
        /// For which nodes volumes can be made; all if there is no term.
        #[serde(deserialize_with = "nullable")]
        pub allowed_topologies: Vec<TopologySelectorTerm>,
    }

    /// A CSINode.
    pub struct CsiNode {
        /// The node's name.
        pub metadata: ObjectMeta,
        /// Its drivers.
        pub spec: CsiNodeSpec,
    }

    /// The read part of a CSINode's spec.
    pub struct CsiNodeSpec {
        /// Drivers that are installed on the node.
        #[serde(deserialize_with = "nullable")]
        pub drivers: Vec<NodeDriver>,
    }

    /// A driver on a node.
    pub struct NodeDriver {
        /// The driver's name.
        pub name: String,
        /// How many volumes it can attach; no limit if absent.
        pub allocatable: Option<VolumeCount>,
    }

    /// A limit of a driver.
    pub struct VolumeCount {
        /// The number of volumes.
        pub count: Option<i32>,
    }

    /// A CSIDriver.
    pub struct CsiDriver {
        /// The driver's name.
        pub metadata: ObjectMeta,
        /// What it can do.
        pub spec: CsiDriverSpec,
    }

    /// The read part of a CSIDriver's spec.
    pub struct CsiDriverSpec {
        /// Whether it says how much storage is left, and where.
        pub storage_capacity: Option<bool>,
    }

    /// A CSIStorageCapacity: how much storage of a class is left for some nodes.
    pub struct CsiStorageCapacity {
        /// Its name.
        pub metadata: ObjectMeta,
        /// The class.
        pub storage_class_name: String,
        /// The nodes, by labels; none if absent.
        pub node_topology: Option<LabelSelector>,
        /// How much is left.
        pub capacity: Option<Quantity>,
        /// How large one volume can be; stands in the place of `capacity`.
        pub maximum_volume_size: Option<Quantity>,
    }

    /// A VolumeAttachment.
    pub struct VolumeAttachment {
        /// Its name.
        pub metadata: ObjectMeta,
        /// What is attached where.
        pub spec: AttachmentSpec,
    }

    /// The read part of an attachment's spec.
    pub struct AttachmentSpec {
        /// The CSI driver.
        pub attacher: String,
        /// The node.
        pub node_name: String,
        /// The volume.
        pub source: AttachedVolume,
    }

    /// What is attached.
    pub struct AttachedVolume {
        /// A PersistentVolume.
        pub persistent_volume_name: Option<String>,
    }
}

view_of!(PersistentVolume, "PersistentVolume", "v1", "persistentvolumes", ClusterResourceScope);
view_of!(Claim, "PersistentVolumeClaim", "v1", "persistentvolumeclaims", NamespaceResourceScope);
view_of!(StorageClass, "StorageClass", "storage.k8s.io", "v1", "storageclasses", ClusterResourceScope);
view_of!(CsiNode, "CSINode", "storage.k8s.io", "v1", "csinodes", ClusterResourceScope);
view_of!(CsiDriver, "CSIDriver", "storage.k8s.io", "v1", "csidrivers", ClusterResourceScope);
view_of!(
    CsiStorageCapacity,
    "CSIStorageCapacity",
    "storage.k8s.io",
    "v1",
    "csistoragecapacities",
    NamespaceResourceScope
);
view_of!(
    VolumeAttachment,
    "VolumeAttachment",
    "storage.k8s.io",
    "v1",
    "volumeattachments",
    ClusterResourceScope
);

impl PersistentVolume {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The class, "" for none.
    pub fn class(&self) -> &str {
        class(&self.metadata, self.spec.storage_class_name.as_deref())
    }

    /// Bytes.
    pub fn capacity(&self) -> i64 {
        self.spec.capacity.get("storage").map_or(0, |amount| amount.value())
    }

    /// Whether nodes with these labels can use it.
    pub fn is_usable_on(&self, node: &ObjectMeta) -> bool {
        let required = self.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|selector| objects::affinity::selector_matches(selector, node))
    }

    /// Whether it is bound to, or kept for, this claim.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|kept| {
            let key = claim.key();
            kept.name == key.name
                && kept.namespace == key.namespace
                && (kept.uid.is_empty() || Some(&kept.uid) == claim.metadata.uid.as_ref())
        })
    }
}

impl Claim {
    /// Its namespace and name.
    pub fn key(&self) -> Key {
        Key::of(self)
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The class, "" for none.
    pub fn class(&self) -> &str {
        class(&self.metadata, self.spec.storage_class_name.as_deref())
    }

    /// Bytes asked for; `None` if it does not say.
    pub fn request(&self) -> Option<i64> {
        self.spec.resources.requests.get("storage").map(|amount| amount.value())
    }

    /// The volume it has or names.
    pub fn volume(&self) -> Option<&str> {
        self.spec.volume_name.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether it and its volume know each other.
    pub fn is_bound(&self) -> bool {
        self.volume().is_some() && annotation(&self.metadata, BIND_COMPLETED).is_some()
    }

    /// The node for which its volume is to be made.
    pub fn selected_node(&self) -> Option<&str> {
        annotation(&self.metadata, SELECTED_NODE)
    }

    /// Whether only one pod at a time may use it.
    pub fn is_for_one_pod(&self) -> bool {
        self.spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }
}

impl StorageClass {
    /// Whether volumes of it wait for the node of the first pod.
    pub fn waits_for_consumer(&self) -> bool {
        self.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
    }

    /// Whether volumes can be made for a node with these labels.
    pub fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |term: &TopologySelectorTerm| {
            let parts = term.match_label_expressions.as_deref().unwrap_or_default();
            let has =
                |label: Option<&String>, values: &[String]| label.is_some_and(|label| values.contains(label));
            // A term without parts holds nowhere.
            !parts.is_empty() && parts.iter().all(|part| has(labels.get(&part.key), &part.values))
        };
        self.allowed_topologies.is_empty() || self.allowed_topologies.iter().any(holds)
    }
}

fn class<'a>(metadata: &'a ObjectMeta, field: Option<&'a str>) -> &'a str {
    annotation(metadata, CLASS_ANNOTATION).or(field).unwrap_or_default()
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
