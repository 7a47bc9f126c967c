//! Refuses nodes on which a CSI driver would have more volumes attached than it says it can (CSINode).
//!
//! It concerns pods that mount claims, ephemeral volumes included. What pods mount and what is attached count once
//! each. Volumes of plugins that a driver has taken the place of count at the driver, but for those that a pod mounts
//! without a claim. Upstream: `nodevolumelimits/csi.go`.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Change, Filter, ForPod, NodeCheck, Plugin, Subject, Verdict, Wakeup};
use crate::pod::{PodClaim, PodInfo};
use crate::related::Related;
use crate::volumes::{Attached, Claim, CsiNode, Volumes};
use rustc_hash::{FxHashMap, FxHashSet};

const TOO_MANY: &str = "node(s) exceed max volume count";

/// Upstream's NodeVolumeLimits.
#[derive(Debug)]
pub struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::CsiNodeAdded,
            Wakeup::CsiNodeUpdated,
            Wakeup::PodRemoved,
            Wakeup::ClaimAdded,
            Wakeup::AttachmentDeleted,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Related(Related::Claim(claim)) => super::volume_binding::mounts(pod, claim),
            Subject::Pod(other) => !other.claims().is_empty(),
            _ => true,
        }
    }

    fn ignores(&self, pod: &PodInfo) -> bool {
        pod.claims().is_empty()
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeVolumeLimits {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let volumes = cluster.volumes();
        let mut check = Check { wanted: Vec::new(), hopeless: None, volumes };
        for mounted in pod.claims() {
            match existing(pod, mounted, volumes) {
                Ok(claim) => check.wanted.extend(handle(claim, volumes)),
                Err(why) => check.hopeless = Some(why),
            }
        }
        let nothing = check.wanted.is_empty() && check.hopeless.is_none();
        if nothing { ForPod::Nothing } else { ForPod::check(check) }
    }
}

fn existing<'a>(pod: &PodInfo, mounted: &PodClaim, volumes: &'a Volumes) -> Result<&'a Claim, String> {
    let PodClaim { name, ephemeral } = mounted;
    let Some(claim) = volumes.claim(pod.namespace(), name) else {
        let key = format!("{}/{name}", pod.namespace());
        return Err(format!("looking up PVC {key}: persistentvolumeclaim {name:?} not found"));
    };
    if *ephemeral {
        super::volume_binding::owned(pod, claim)?;
    }
    Ok(claim)
}

/// The volume of a claim, or the one that will be made for it; `None` when no CSI driver has to do with it.
fn handle(claim: &Claim, volumes: &Volumes) -> Option<Attached> {
    if let Some(volume) = claim.volume().and_then(|name| volumes.volume(name)) {
        return Attached::of(volume);
    }
    let class = volumes.class(claim.class()).filter(|class| !class.provisioner.is_empty())?;
    // No driver names a volume so: it is not mistaken for one that is there.
    let key = claim.key();
    let handle = format!("claim {}/{}", key.namespace, key.name);
    Some(Attached { handle, ..Attached::made_by(&class.provisioner) })
}

#[derive(Debug)]
struct Check<'a> {
    wanted: Vec<Attached>,
    /// A claim is missing. Told a node, as upstream does: VolumeBinding has a better text for all of them.
    hopeless: Option<String>,
    volumes: &'a Volumes,
}

impl Check<'_> {
    /// What is attached to the node, or will be for its pods.
    fn attached(&self, node: &NodeInfo, drivers: &CsiNode) -> FxHashSet<Attached> {
        let mounted = node.pods.iter().flat_map(|pod| {
            let claim = |name: &str| self.volumes.claim(pod.namespace(), name);
            pod.claims().iter().filter_map(move |mounted| claim(&mounted.name))
        });
        let by_pods = mounted.filter_map(|claim| handle(claim, self.volumes));
        let attachments = self.volumes.attached_to(&node.name).filter_map(|attachment| {
            Attached::of(self.volumes.volume(attachment.spec.source.persistent_volume_name.as_deref()?)?)
        });
        by_pods.chain(attachments).filter(|one| one.counts_on(drivers)).collect()
    }
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if let Some(why) = &self.hopeless {
            return Verdict::Never(why.clone().into());
        }
        let Some(drivers) = self.volumes.csi_node(&node.name) else { return Verdict::Fits };
        let limit = |name: &str| {
            let driver = drivers.spec.drivers.iter().find(|driver| driver.name == name)?;
            usize::try_from(driver.allocatable.as_ref()?.count?).ok()
        };
        let wanted = || self.wanted.iter().filter(|wanted| wanted.counts_on(drivers));
        if wanted().all(|wanted| limit(&wanted.driver).is_none()) {
            return Verdict::Fits;
        }
        let attached = self.attached(node, drivers);
        let mut new: FxHashMap<&str, FxHashSet<&str>> = FxHashMap::default();
        for wanted in wanted().filter(|wanted| !attached.contains(*wanted)) {
            new.entry(&wanted.driver).or_default().insert(&wanted.handle);
        }
        let too_many = new.iter().any(|(driver, new)| {
            let there = attached.iter().filter(|other| other.driver == *driver).count();
            limit(driver).is_some_and(|limit| there + new.len() > limit)
        });
        if too_many { Verdict::Later(TOO_MANY.into()) } else { Verdict::Fits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask_in, cluster_of, node_with, pod};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn claim(name: &str, volume: &str, class: &str) -> Value {
        json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
            "spec": {"volumeName": volume, "storageClassName": class}})
    }

    fn volume(name: &str, driver: &str) -> Value {
        json!({"kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"csi": {"driver": driver, "volumeHandle": name}}})
    }

    fn csi_node(count: Value) -> Value {
        json!({"kind": "CSINode", "metadata": {"name": "n"},
            "spec": {"drivers": [{"name": "ebs", "nodeID": "n", "allocatable": {"count": count}}, {"name": "free", "nodeID": "n"}]}})
    }

    fn attachment(name: &str, volume: &str) -> Value {
        json!({"kind": "VolumeAttachment", "metadata": {"name": name},
            "spec": {"attacher": "ebs", "nodeName": "n", "source": {"persistentVolumeName": volume}}})
    }

    fn mounting(name: &str, claims: &[&str]) -> Arc<PodInfo> {
        let volumes: Vec<Value> = claims
            .iter()
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
            .collect();
        pod(name, json!({"volumes": volumes}))
    }

    #[test]
    fn filter_table() {
        let objects = |more: &[Value]| {
            let mut all = vec![
                volume("v1", "ebs"),
                volume("v2", "ebs"),
                volume("v3", "ebs"),
                volume("f1", "free"),
                json!({"kind": "PersistentVolume", "metadata": {"name": "local"}, "spec": {"local": {"path": "/"}}}),
                claim("c1", "v1", ""),
                claim("c2", "v2", ""),
                claim("c3", "v3", ""),
                claim("again", "v1", ""),
                claim("free", "f1", ""),
                claim("local", "local", ""),
                claim("new", "", "wait"),
                json!({"kind": "StorageClass", "metadata": {"name": "wait"}, "provisioner": "ebs", "volumeBindingMode": "WaitForFirstConsumer"}),
            ];
            all.extend_from_slice(more);
            all
        };
        let two = csi_node(json!(2));
        for (name, more, there, wanted, fits) in [
            ("the limit is reached", vec![two.clone()], &["c1", "c2"][..], &["c3"][..], false),
            ("one is left", vec![two.clone()], &["c1"], &["c3"], true),
            ("two at once are one too many", vec![two.clone()], &["c1"], &["c2", "c3"], false),
            ("a volume that is there counts once", vec![two.clone()], &["c1", "c2"], &["c1"], true),
            ("a volume behind two claims counts once", vec![two.clone()], &["c1", "c2"], &["again"], true),
            ("a volume that is to be made counts", vec![two.clone()], &["c1", "c2"], &["new"], false),
            (
                "a volume that is attached counts",
                vec![two.clone(), attachment("a", "v2")],
                &["c1"],
                &["c3"],
                false,
            ),
            (
                "attached and mounted count once",
                vec![two.clone(), attachment("a", "v1")],
                &["c1"],
                &["c3"],
                true,
            ),
            ("a driver without limit", vec![two.clone()], &["c1", "c2"], &["free"], true),
            ("no CSI volume", vec![two.clone()], &["c1", "c2"], &["local"], true),
            ("no CSINode", vec![], &["c1", "c2"], &["c3"], true),
            ("no limit", vec![csi_node(Value::Null)], &["c1", "c2"], &["c3"], true),
            ("no volumes", vec![csi_node(json!(0))], &[], &[], true),
        ] {
            let node = node_with("n", json!({}), [mounting("old", there)]);
            let cluster = cluster_of([node], &objects(&more));
            let verdict = ask_in(&NodeVolumeLimits, &mounting("p", wanted), &cluster.nodes()[0], &cluster);
            let want = if fits { Verdict::Fits } else { Verdict::Later(TOO_MANY.into()) };
            assert_eq!(verdict, want, "{name}");
        }
    }

    #[test]
    fn volumes_of_older_plugins_count_at_their_driver() {
        let disk = |name: &str| {
            json!({"kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"gcePersistentDisk": {"pdName": name}}})
        };
        let csi_node = |migrated: &str| {
            json!({"kind": "CSINode",
            "metadata": {"name": "n", "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": migrated}},
            "spec": {"drivers": [{"name": "pd.csi.storage.gke.io", "nodeID": "n", "allocatable": {"count": 1}}]}})
        };
        let class = json!({"kind": "StorageClass", "metadata": {"name": "old"}, "provisioner": "kubernetes.io/gce-pd",
            "volumeBindingMode": "WaitForFirstConsumer"});
        let later = || Verdict::Later(TOO_MANY.into());
        for (name, migrated, wanted, want) in [
            ("another disk", "kubernetes.io/gce-pd", "c2", later()),
            ("the same disk", "kubernetes.io/gce-pd", "c1", Verdict::Fits),
            ("a disk to be made", "kubernetes.io/gce-pd", "new", later()),
            ("a driver's own volume", "kubernetes.io/gce-pd", "own", later()),
            ("not taken over", "kubernetes.io/aws-ebs", "c2", Verdict::Fits),
            ("only what is taken over counts", "", "own", Verdict::Fits),
        ] {
            let objects = [
                disk("d1"),
                disk("d2"),
                volume("v", "pd.csi.storage.gke.io"),
                class.clone(),
                claim("c1", "d1", ""),
                claim("c2", "d2", ""),
                claim("own", "v", ""),
                claim("new", "", "old"),
                csi_node(migrated),
            ];
            let node = node_with("n", json!({}), [mounting("there", &["c1"])]);
            let cluster = cluster_of([node], &objects);
            let verdict = ask_in(&NodeVolumeLimits, &mounting("p", &[wanted]), &cluster.nodes()[0], &cluster);
            assert_eq!(verdict, want, "{name}");
        }
    }

    #[test]
    fn ephemeral_volumes_count_for_their_owner_only() {
        let mut made = claim("p-data", "v1", "");
        let pod = pod(
            "p",
            json!({"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}),
        );
        let asked = |made: &Value| {
            let objects = [volume("v1", "ebs"), csi_node(json!(0)), made.clone()];
            let cluster = cluster_of([node_with("n", json!({}), [])], &objects);
            ask_in(&NodeVolumeLimits, &pod, &cluster.nodes()[0], &cluster)
        };
        assert_eq!(
            asked(&made),
            Verdict::Never("PVC default/p-data was not created for pod default/p (pod is not owner)".into())
        );
        made["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
        assert_eq!(asked(&made), Verdict::Later(TOO_MANY.into()));
    }
}
