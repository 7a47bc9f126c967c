//! The watches of the kinds that pods refer to. A server need not serve them all: old ones lack the newer kinds.

use crate::groups::PodGroup;
use crate::related::Related;
use crate::state::Event;
use crate::volumes::{
    Claim, CsiDriver, CsiNode, CsiStorageCapacity, PersistentVolume, StorageClass, VolumeAttachment,
};
use component::informers::{Change, Changes, Informer, Informers, Object};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};

macro_rules! related {
    ($($field:ident: $kind:ident => $variant:ident),* $(,)?) => {
        /// The informers.
        #[derive(Debug)]
        pub(super) struct RelatedSources {
            $($field: Informer<$kind>,)*
        }

        impl RelatedSources {
            pub(super) fn start(informers: &Informers) -> Self {
                Self { $($field: informers.optional(),)* }
            }

            /// Waits until all of them hold what the server has.
            pub(super) async fn synced(&self) {
                $(self.$field.synced().await;)*
            }

            pub(super) fn changes(&self) -> RelatedChanges {
                RelatedChanges { $($field: self.$field.changes(),)* }
            }
        }

        /// Their changes.
        #[derive(Debug)]
        pub(super) struct RelatedChanges {
            $($field: Changes<$kind>,)*
        }

        impl RelatedChanges {
            /// What has happened already.
            pub(super) fn try_next(&mut self) -> Option<Event> {
                $(
                    if let Some(change) = self.$field.try_next() {
                        return Some(event(change, Related::$variant));
                    }
                )*
                None
            }

            /// Waits for the next one.
            pub(super) async fn next(&mut self) -> Event {
                tokio::select! {
                    $(change = self.$field.next() => event(change, Related::$variant),)*
                }
            }
        }
    };
}

related! {
    classes: StorageClass => Class,
    drivers: CsiDriver => CsiDriver,
    csi_nodes: CsiNode => CsiNode,
    capacities: CsiStorageCapacity => Capacity,
    attachments: VolumeAttachment => Attachment,
    volumes: PersistentVolume => Volume,
    claims: Claim => Claim,
    groups: PodGroup => Group,
    device_classes: DeviceClass => DeviceClass,
    slices: ResourceSlice => Slice,
    device_claims: ResourceClaim => DeviceClaim,
}

fn event<K: Object>(change: Change<K>, wrap: fn(std::sync::Arc<K>) -> Related) -> Event {
    match change {
        Change::Added(object) | Change::Updated { new: object, .. } => Event::Related(wrap(object)),
        Change::Deleted(object) => Event::RelatedGone(wrap(object)),
    }
}
