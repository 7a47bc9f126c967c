//! On which nodes a bound volume can be used, as the driver of each node sees it.
//!
//! A volume of a former plugin tells its zone by the label or node affinity of that plugin's time. Where a CSI driver
//! has taken the plugin's place, the node tells its zone by the driver's own label, so the volume is read in those
//! terms there. What the volume's own node affinity says goes before its labels. Upstream: `csi-translation-lib`, as
//! VolumeBinding uses it for bound claims; free volumes are compared as they stand.

use super::in_tree::{AWS, AZURE, CINDER, GCE, PORTWORX};
use super::{Attached, CsiNode, PersistentVolume};
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::affinity;
use std::collections::BTreeSet;
use std::sync::Arc;

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
/// Between the zones of a label.
pub(crate) const ZONES_APART: &str = "__";

/// Plugins whose volumes are read in their driver's terms, with the label by which its nodes tell their zone.
const ZONE_LABELS: [(&str, Option<&str>); 5] = [
    (AWS, Some("topology.ebs.csi.aws.com/zone")),
    (AZURE, None),
    (CINDER, Some("topology.cinder.csi.openstack.org/zone")),
    (GCE, Some("topology.gke.io/zone")),
    (PORTWORX, None),
];

/// Where a bound volume can be used.
#[derive(Clone, Debug)]
pub struct Reach {
    volume: Arc<PersistentVolume>,
    moved: Option<Moved>,
}

/// How the driver that has taken a plugin's place sees the volume.
#[derive(Clone, Debug)]
struct Moved {
    plugin: &'static str,
    required: Result<Option<NodeSelector>, String>,
}

impl Reach {
    /// Of this volume.
    pub fn of(volume: Arc<PersistentVolume>) -> Self {
        let plugin = Attached::of(&volume).and_then(|attached| attached.plugin);
        let moved = plugin.and_then(|plugin| {
            let (_, label) = ZONE_LABELS.iter().find(|(known, _)| *known == plugin)?;
            let required = check(&volume).map(|()| match label {
                Some(label) => in_terms_of(&volume, label),
                None => own(&volume).cloned(),
            });
            Some(Moved { plugin, required })
        });
        Self { volume, moved }
    }

    /// Whether this node can use it.
    ///
    /// # Errors
    ///
    /// The driver of the node cannot make sense of the volume.
    pub fn covers(&self, node: &ObjectMeta, csi_node: Option<&CsiNode>) -> Result<bool, String> {
        let has_moved = |moved: &&Moved| csi_node.is_some_and(|node| node.has_taken_over(moved.plugin));
        match self.moved.as_ref().filter(has_moved) {
            None => Ok(self.volume.is_usable_on(node)),
            Some(Moved { required, .. }) => match required {
                Ok(required) => Ok(required.as_ref().is_none_or(|all| affinity::selector_matches(all, node))),
                Err(why) => Err(format!("failed to translate pv to csi: could not translate pv: {why}")),
            },
        }
    }
}

/// What a driver could not take over.
fn check(volume: &PersistentVolume) -> Result<(), String> {
    if let Some(disk) = &volume.spec.aws_elastic_block_store {
        let id = &disk.volume_id;
        let named = id.strip_prefix("aws://").map(|rest| rest.split_once('/').map_or("", |(_, id)| id));
        let is_id = |id: &str| {
            let id = id.trim_matches('/');
            id.starts_with("vol-") && !id.contains('/')
        };
        if !named.is_none_or(is_id) {
            return Err(format!(
                "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume ({id})"
            ));
        }
    }
    if let Some(disk) = &volume.spec.azure_disk
        && !disk.kind.is_empty()
        && !disk.kind.eq_ignore_ascii_case("Managed")
    {
        return Err(format!("kind({}) is not supported in csi migration", disk.kind));
    }
    Ok(())
}

fn own(volume: &PersistentVolume) -> Option<&NodeSelector> {
    volume.spec.node_affinity.as_ref()?.required.as_ref()
}

/// The volume's node affinity with the driver's label for zones.
fn in_terms_of(volume: &PersistentVolume, driver_zone: &str) -> Option<NodeSelector> {
    let mut required = own(volume).cloned();
    let label = |key: &str| volume.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let names = |key: &str| requirements(own(volume)).any(|one| one.key == key);
    let is_old = !names(ZONE) && (names(OLD_ZONE) || label(ZONE).is_none() && label(OLD_ZONE).is_some());
    let (zone, region) = if is_old { (OLD_ZONE, OLD_REGION) } else { (ZONE, REGION) };
    if has_values(own(volume), zone) {
        rename(required.as_mut(), zone, driver_zone);
    } else if let Some(zones) = label(zone) {
        let zones: BTreeSet<&str> =
            zones.split(ZONES_APART).map(str::trim).filter(|zone| !zone.is_empty()).collect();
        if !zones.is_empty() {
            add(required.get_or_insert_default(), driver_zone, zones);
        }
    }
    // A newer node tells its region by the newer label only.
    if is_old && has_values(own(volume), region) {
        rename(required.as_mut(), region, REGION);
    }
    required
}

fn requirements(required: Option<&NodeSelector>) -> impl Iterator<Item = &NodeSelectorRequirement> {
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    terms.flat_map(|term| term.match_expressions.iter().flatten())
}

fn has_values(required: Option<&NodeSelector>, key: &str) -> bool {
    requirements(required).any(|one| one.key == key && one.values.as_ref().is_some_and(|all| !all.is_empty()))
}

fn rename(required: Option<&mut NodeSelector>, from: &str, to: &str) {
    let terms = required.into_iter().flat_map(|required| &mut required.node_selector_terms);
    for one in terms.flat_map(|term| term.match_expressions.iter_mut().flatten()) {
        if one.key == from {
            to.clone_into(&mut one.key);
        }
    }
}

fn add(required: &mut NodeSelector, key: &str, values: BTreeSet<&str>) {
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_expressions.get_or_insert_default().push(NodeSelectorRequirement {
            key: key.to_owned(),
            operator: "In".to_owned(),
            values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const EBS: &str = "topology.ebs.csi.aws.com/zone";

    fn covers(volume: Value, node: Value, moved: &str) -> Result<bool, String> {
        let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
        let node: ObjectMeta = serde_json::from_value(json!({"name": "n", "labels": node})).unwrap();
        let moved = json!({"storage.alpha.kubernetes.io/migrated-plugins": moved});
        let csi_node: CsiNode =
            serde_json::from_value(json!({"metadata": {"name": "n", "annotations": moved}})).unwrap();
        Reach::of(Arc::new(volume)).covers(&node, Some(&csi_node))
    }

    fn affinity(key: &str, values: Value) -> Value {
        let one = json!({"key": key, "operator": "In", "values": values});
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [one]}]}})
    }

    #[test]
    fn reach_table() {
        let aws = |labels: Value, affinity: Value| {
            json!({"metadata": {"name": "v", "labels": labels},
                "spec": {"awsElasticBlockStore": {"volumeID": "vol-1"}, "nodeAffinity": affinity}})
        };
        let none = Value::Null;
        for (name, volume, node, moved, want) in [
            (
                "a label, in the driver's terms",
                aws(json!({ZONE: "a"}), none.clone()),
                json!({EBS: "a"}),
                AWS,
                true,
            ),
            ("another zone", aws(json!({ZONE: "a"}), none.clone()), json!({EBS: "b"}), AWS, false),
            (
                "a node without the driver's label",
                aws(json!({ZONE: "a"}), none.clone()),
                json!({ZONE: "a"}),
                AWS,
                false,
            ),
            ("an old label", aws(json!({OLD_ZONE: "a"}), none.clone()), json!({EBS: "a"}), AWS, true),
            ("several zones", aws(json!({ZONE: "a__ b"}), none.clone()), json!({EBS: "b"}), AWS, true),
            ("an empty label", aws(json!({ZONE: ""}), none.clone()), json!({EBS: "b"}), AWS, true),
            (
                "no driver there: the label is VolumeZone's",
                aws(json!({ZONE: "a"}), none.clone()),
                json!({EBS: "b"}),
                "",
                true,
            ),
            ("another plugin's driver", aws(json!({ZONE: "a"}), none.clone()), json!({EBS: "b"}), GCE, true),
            ("an affinity", aws(none.clone(), affinity(ZONE, json!(["a"]))), json!({EBS: "a"}), AWS, true),
            (
                "an affinity elsewhere",
                aws(none.clone(), affinity(ZONE, json!(["a"]))),
                json!({ZONE: "a", EBS: "b"}),
                AWS,
                false,
            ),
            (
                "an affinity without a driver",
                aws(none.clone(), affinity(ZONE, json!(["a"]))),
                json!({ZONE: "a"}),
                "",
                true,
            ),
            (
                "an old affinity",
                aws(none.clone(), affinity(OLD_ZONE, json!(["a"]))),
                json!({EBS: "a"}),
                AWS,
                true,
            ),
            (
                "affinity before label",
                aws(json!({ZONE: "b"}), affinity(ZONE, json!(["a"]))),
                json!({EBS: "a"}),
                AWS,
                true,
            ),
            (
                "a label beside another affinity",
                aws(json!({ZONE: "a"}), affinity("host", json!(["n"]))),
                json!({EBS: "a", "host": "m"}),
                AWS,
                false,
            ),
            (
                "both hold",
                aws(json!({ZONE: "a"}), affinity("host", json!(["n"]))),
                json!({EBS: "a", "host": "n"}),
                AWS,
                true,
            ),
        ] {
            assert_eq!(covers(volume, node, moved), Ok(want), "{name}");
        }
    }

    #[test]
    fn an_old_region_is_read_by_its_newer_label() {
        let terms = json!([{"matchExpressions": [
            {"key": OLD_ZONE, "operator": "In", "values": ["a"]}, {"key": OLD_REGION, "operator": "In", "values": ["r"]}]}]);
        let volume = json!({"spec": {"awsElasticBlockStore": {"volumeID": "vol-1"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
        assert_eq!(covers(volume.clone(), json!({EBS: "a", REGION: "r"}), AWS), Ok(true));
        assert_eq!(covers(volume, json!({EBS: "a", REGION: "s"}), AWS), Ok(false));
    }

    #[test]
    fn every_driver_has_its_own_label() {
        for (source, plugin, label) in [
            (json!({"gcePersistentDisk": {"pdName": "d"}}), GCE, "topology.gke.io/zone"),
            (json!({"cinder": {"volumeID": "d"}}), CINDER, "topology.cinder.csi.openstack.org/zone"),
        ] {
            let volume = json!({"metadata": {"labels": {ZONE: "a"}}, "spec": source});
            assert_eq!(covers(volume.clone(), json!({label: "a"}), plugin), Ok(true), "{plugin}");
            assert_eq!(covers(volume, json!({label: "b"}), plugin), Ok(false), "{plugin}");
        }
        // These keep the terms that they have.
        for (source, plugin) in [
            (json!({"azureDisk": {"diskName": "d", "diskURI": "/d"}}), AZURE),
            (json!({"portworxVolume": {"volumeID": "d"}}), PORTWORX),
            (json!({"vsphereVolume": {"volumePath": "d"}}), "kubernetes.io/vsphere-volume"),
        ] {
            let mut volume = json!({"metadata": {"labels": {ZONE: "a"}}, "spec": source});
            assert_eq!(covers(volume.clone(), json!({}), plugin), Ok(true), "{plugin}");
            volume["spec"]["nodeAffinity"] = affinity("host", json!(["n"]));
            assert_eq!(covers(volume, json!({"host": "m"}), plugin), Ok(false), "{plugin}");
        }
    }

    #[test]
    fn what_no_driver_can_take_over() {
        let aws = json!({"spec": {"awsElasticBlockStore": {"volumeID": "aws://a/disk"}}});
        assert!(covers(aws.clone(), json!({}), AWS).unwrap_err().ends_with("AWS volume (aws://a/disk)"));
        assert_eq!(covers(aws, json!({}), ""), Ok(true));
        let good = json!({"spec": {"awsElasticBlockStore": {"volumeID": "aws://a/vol-1"}}});
        assert_eq!(covers(good, json!({}), AWS), Ok(true));
        let azure = json!({"spec": {"azureDisk": {"diskURI": "d", "kind": "Dedicated"}}});
        assert!(covers(azure, json!({}), AZURE).unwrap_err().ends_with("not supported in csi migration"));
    }
}
