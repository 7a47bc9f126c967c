//! Volumes of plugins that were part of Kubernetes once, as the CSI drivers see them that have taken their place.
//!
//! A volume or class may name such a plugin for ever; on a node whose CSINode says so its driver does the work, and
//! counts it. Upstream: `csi-translation-lib`.

use super::{CsiNode, PersistentVolume};
use objects::views::nullable;
use serde::Deserialize;

/// Plugins whose work a driver has taken over on a node, with commas between.
const MIGRATED_PLUGINS: &str = "storage.alpha.kubernetes.io/migrated-plugins";

pub(super) const AWS: &str = "kubernetes.io/aws-ebs";
pub(super) const AZURE: &str = "kubernetes.io/azure-disk";
pub(super) const CINDER: &str = "kubernetes.io/cinder";
pub(super) const GCE: &str = "kubernetes.io/gce-pd";
pub(super) const PORTWORX: &str = "kubernetes.io/portworx-volume";
const VSPHERE: &str = "kubernetes.io/vsphere-volume";

/// Each plugin with its driver.
const DRIVERS: [(&str, &str); 6] = [
    (AWS, "ebs.csi.aws.com"),
    (AZURE, "disk.csi.azure.com"),
    (CINDER, "cinder.csi.openstack.org"),
    (GCE, "pd.csi.storage.gke.io"),
    (PORTWORX, "pxd.portworx.com"),
    (VSPHERE, "csi.vsphere.vmware.com"),
];

/// A disk of one of these plugins: each has one of the names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InTreeDisk {
    /// GCE.
    pub pd_name: String,
    /// AWS, Cinder, Portworx.
    #[serde(rename = "volumeID")]
    pub volume_id: String,
    /// Azure.
    #[serde(rename = "diskURI")]
    pub disk_uri: String,
    /// Azure: `Shared`, `Dedicated` or `Managed`, which is the only one that its driver knows.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// vSphere.
    pub volume_path: String,
}

/// A volume at a CSI driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attached {
    /// The driver's name.
    pub driver: String,
    /// The volume's name at the driver.
    pub handle: String,
    /// The plugin that the volume is of, where the driver has to have taken its place first.
    pub plugin: Option<&'static str>,
}

impl Attached {
    /// The volume as a driver sees it; `None`: no driver has to do with it.
    pub fn of(volume: &PersistentVolume) -> Option<Self> {
        let spec = &volume.spec;
        if let Some(csi) = &spec.csi {
            return Some(Self {
                driver: csi.driver.clone(),
                handle: csi.volume_handle.clone(),
                plugin: None,
            });
        }
        // An AWS volume may be named by its zone too: aws://ZONE/ID.
        let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        let aws = spec.aws_elastic_block_store.as_ref().map(|disk| (AWS, last(&disk.volume_id)));
        let (plugin, handle) = aws
            .or_else(|| spec.azure_disk.as_ref().map(|disk| (AZURE, disk.disk_uri.clone())))
            .or_else(|| spec.cinder.as_ref().map(|disk| (CINDER, disk.volume_id.clone())))
            .or_else(|| spec.gce_persistent_disk.as_ref().map(|disk| (GCE, disk.pd_name.clone())))
            .or_else(|| spec.portworx_volume.as_ref().map(|disk| (PORTWORX, disk.volume_id.clone())))
            .or_else(|| spec.vsphere_volume.as_ref().map(|disk| (VSPHERE, disk.volume_path.clone())))?;
        Some(Self { handle, ..Self::made_by(plugin) })
    }

    /// A volume without a name yet that this provisioner will make.
    pub fn made_by(provisioner: &str) -> Self {
        let known = DRIVERS.iter().find(|(plugin, _)| *plugin == provisioner);
        let (driver, plugin) = known.map_or((provisioner, None), |(plugin, driver)| (*driver, Some(*plugin)));
        Self { driver: driver.to_owned(), handle: String::new(), plugin }
    }

    /// Whether the driver has it to do on this node.
    pub fn counts_on(&self, node: &CsiNode) -> bool {
        self.plugin.is_none_or(|plugin| node.has_taken_over(plugin))
    }
}

impl CsiNode {
    /// Whether a driver does the work of this plugin there.
    pub fn has_taken_over(&self, plugin: &str) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let migrated = annotations.and_then(|annotations| annotations.get(MIGRATED_PLUGINS));
        migrated.is_some_and(|migrated| migrated.split(',').any(|one| one.trim() == plugin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_plugin_has_its_driver() {
        for (source, driver, handle, plugin) in [
            (json!({"csi": {"driver": "d", "volumeHandle": "h"}}), "d", "h", None),
            (json!({"gcePersistentDisk": {"pdName": "p"}}), "pd.csi.storage.gke.io", "p", Some(GCE)),
            (json!({"awsElasticBlockStore": {"volumeID": "vol-1"}}), "ebs.csi.aws.com", "vol-1", Some(AWS)),
            (
                json!({"awsElasticBlockStore": {"volumeID": "aws://us-east-1a/vol-1"}}),
                "ebs.csi.aws.com",
                "vol-1",
                Some(AWS),
            ),
            (
                json!({"azureDisk": {"diskName": "n", "diskURI": "/subscriptions/d"}}),
                "disk.csi.azure.com",
                "/subscriptions/d",
                Some(AZURE),
            ),
            (json!({"cinder": {"volumeID": "c"}}), "cinder.csi.openstack.org", "c", Some(CINDER)),
            (json!({"portworxVolume": {"volumeID": "x"}}), "pxd.portworx.com", "x", Some(PORTWORX)),
            (
                json!({"vsphereVolume": {"volumePath": "[d] v"}}),
                "csi.vsphere.vmware.com",
                "[d] v",
                Some(VSPHERE),
            ),
        ] {
            let volume: PersistentVolume = serde_json::from_value(json!({ "spec": source })).unwrap();
            let want = Attached { driver: driver.to_owned(), handle: handle.to_owned(), plugin };
            assert_eq!(Attached::of(&volume), Some(want), "{source}");
        }
        let local: PersistentVolume =
            serde_json::from_value(json!({"spec": {"local": {"path": "/"}}})).unwrap();
        assert_eq!(Attached::of(&local), None);
        assert_eq!(Attached::made_by(GCE).driver, "pd.csi.storage.gke.io");
        assert_eq!(Attached::made_by("own.example.com").driver, "own.example.com");
    }

    #[test]
    fn a_driver_counts_what_it_has_taken_over() {
        let node = |plugins: &str| -> CsiNode {
            let metadata = json!({"name": "n", "annotations": {MIGRATED_PLUGINS: plugins}});
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let old = Attached::made_by(AWS);
        assert!(old.counts_on(&node("kubernetes.io/gce-pd,kubernetes.io/aws-ebs")));
        assert!(!old.counts_on(&node("kubernetes.io/gce-pd")));
        assert!(!old.counts_on(&CsiNode::default()));
        assert!(Attached::made_by("own.example.com").counts_on(&CsiNode::default()));
    }
}
