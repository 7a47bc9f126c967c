//! An object as the event that a watch would make of it, for clusters that come from elsewhere: a list, a file.

use super::owners::{ReplicaSet, ReplicationController, StatefulSet};
use super::{budget, namespace_event, owner_event, service_event};
use crate::preempt::Budget;
use crate::related::Related;
use crate::state::Event;
use component::informers::Change;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// The event for an object of a kind besides nodes, pods and budgets; `None` for a kind that scheduling does not read.
pub(crate) fn event(kind: &str, object: Value) -> Result<Option<Event>, serde_json::Error> {
    Ok(Some(match kind {
        "Namespace" => namespace_event(added(object)?),
        "Service" => service_event(added(object)?),
        "ReplicaSet" => owner_event::<ReplicaSet>(added(object)?),
        "StatefulSet" => owner_event::<StatefulSet>(added(object)?),
        "ReplicationController" => owner_event::<ReplicationController>(added(object)?),
        "PersistentVolume" => Event::Related(Related::Volume(read(object)?)),
        "PersistentVolumeClaim" => Event::Related(Related::Claim(read(object)?)),
        "StorageClass" => Event::Related(Related::Class(read(object)?)),
        "CSINode" => Event::Related(Related::CsiNode(read(object)?)),
        "CSIDriver" => Event::Related(Related::CsiDriver(read(object)?)),
        "CSIStorageCapacity" => Event::Related(Related::Capacity(read(object)?)),
        "VolumeAttachment" => Event::Related(Related::Attachment(read(object)?)),
        "ResourceClaim" => Event::Related(Related::DeviceClaim(read(object)?)),
        "ResourceSlice" => Event::Related(Related::Slice(read(object)?)),
        "DeviceClass" => Event::Related(Related::DeviceClass(read(object)?)),
        "PodGroup" => Event::Related(Related::Group(read(object)?)),
        _ => return Ok(None),
    }))
}

/// A PodDisruptionBudget; `None` for one whose selector is not valid.
pub(crate) fn budget_of(object: Value) -> Result<Option<Budget>, serde_json::Error> {
    Ok(budget(&serde_json::from_value(object)?))
}

fn added<K: DeserializeOwned>(object: Value) -> Result<Change<K>, serde_json::Error> {
    read(object).map(Change::Added)
}

fn read<K: DeserializeOwned>(object: Value) -> Result<Arc<K>, serde_json::Error> {
    serde_json::from_value(object).map(Arc::new)
}
