//! The objects besides nodes and pods that decide where a pod can run: storage now, in one event each.
//!
//! A [`Related`] object comes from a watch, or from the answer to a write of ours. Which pods wait for one is told by
//! its [`Key`]: a claim is known by its own name, a volume by that of the claim it is bound to.

use crate::groups::PodGroup;
use crate::volumes::{
    Claim, CsiDriver, CsiNode, CsiStorageCapacity, PersistentVolume, StorageClass, VolumeAttachment,
};
use component::informers::Key;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Such an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Related {
    /// A PersistentVolume.
    Volume(Arc<PersistentVolume>),
    /// A PersistentVolumeClaim.
    Claim(Arc<Claim>),
    /// A StorageClass.
    Class(Arc<StorageClass>),
    /// A CSINode.
    CsiNode(Arc<CsiNode>),
    /// A CSIDriver.
    CsiDriver(Arc<CsiDriver>),
    /// A CSIStorageCapacity.
    Capacity(Arc<CsiStorageCapacity>),
    /// A VolumeAttachment.
    Attachment(Arc<VolumeAttachment>),
    /// A PodGroup.
    Group(Arc<PodGroup>),
    /// A ResourceClaim.
    DeviceClaim(Arc<ResourceClaim>),
    /// A ResourceSlice.
    Slice(Arc<ResourceSlice>),
    /// A DeviceClass.
    DeviceClass(Arc<DeviceClass>),
}

/// `persistentvolumeclaim NAMESPACE/NAME`.
impl fmt::Display for Related {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, metadata) = match self {
            Self::Volume(object) => ("persistentvolume", &object.metadata),
            Self::Claim(object) => ("persistentvolumeclaim", &object.metadata),
            Self::Class(object) => ("storageclass", &object.metadata),
            Self::CsiNode(object) => ("csinode", &object.metadata),
            Self::CsiDriver(object) => ("csidriver", &object.metadata),
            Self::Capacity(object) => ("csistoragecapacity", &object.metadata),
            Self::Attachment(object) => ("volumeattachment", &object.metadata),
            Self::Group(object) => ("podgroup", &object.metadata),
            Self::DeviceClaim(object) => ("resourceclaim", &object.metadata),
            Self::Slice(object) => ("resourceslice", &object.metadata),
            Self::DeviceClass(object) => ("deviceclass", &object.metadata),
        };
        write!(f, "{kind} ")?;
        if let Some(namespace) = &metadata.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(metadata.name.as_deref().unwrap_or_default())
    }
}

impl Related {
    /// The object of a manifest or a dump; `None` for kinds that are none of these.
    pub fn from_json(object: Value) -> Option<serde_json::Result<Self>> {
        fn read<K: DeserializeOwned>(
            object: Value,
            wrap: fn(Arc<K>) -> Related,
        ) -> serde_json::Result<Related> {
            Ok(wrap(Arc::new(serde_json::from_value(object)?)))
        }
        Some(match object["kind"].as_str()? {
            "PersistentVolume" => read(object, Self::Volume),
            "PersistentVolumeClaim" => read(object, Self::Claim),
            "StorageClass" => read(object, Self::Class),
            "CSINode" => read(object, Self::CsiNode),
            "CSIDriver" => read(object, Self::CsiDriver),
            "CSIStorageCapacity" => read(object, Self::Capacity),
            "VolumeAttachment" => read(object, Self::Attachment),
            "PodGroup" => read(object, Self::Group),
            "ResourceClaim" => read(object, Self::DeviceClaim),
            "ResourceSlice" => read(object, Self::Slice),
            "DeviceClass" => read(object, Self::DeviceClass),
            _ => return None,
        })
    }

    /// The claim that a binding waiting for claims has to be looked at for, if this concerns one.
    pub fn claim(&self) -> Option<Key> {
        match self {
            Self::Claim(claim) => Some(claim.key()),
            Self::DeviceClaim(claim) => Some(Key::of(&**claim)),
            Self::Volume(volume) => {
                volume.spec.claim_ref.as_ref().map(|claim| Key::new(&*claim.namespace, &*claim.name))
            }
            _ => None,
        }
    }
}
