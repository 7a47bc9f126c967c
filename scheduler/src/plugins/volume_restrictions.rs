//! Refuses nodes where the pod's disks are in use by pods that cannot share them, and all nodes while a claim for one
//! pod at a time (ReadWriteOncePod) is in use.
//!
//! It concerns pods that mount a GCE, EBS, iSCSI or RBD disk by itself, or a ReadWriteOncePod claim.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Change, Filter, ForPod, NodeCheck, Plugin, Subject, Verdict, Wakeup};
use crate::pod::PodInfo;
use crate::related::Related;
use objects::views::Disk;

const NO_DISK: &str = "node(s) had no available disk";
const IN_USE: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already \
                      in-use by another pod";

/// Upstream's VolumeRestrictions.
#[derive(Debug)]
pub struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::PodRemoved, Wakeup::NodeAdded, Wakeup::ClaimAdded, Wakeup::ClaimUpdated]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Related(Related::Claim(claim)) => super::volume_binding::mounts(pod, claim),
            Subject::Pod(other) => {
                let shared = other.namespace() == pod.namespace()
                    && other.claims().iter().any(|claim| pod.claims().contains(claim));
                shared || disks(other).any(|disk| disks(pod).any(|mine| conflict(mine, disk)))
            }
            _ => true,
        }
    }

    fn ignores(&self, pod: &PodInfo) -> bool {
        pod.claims().is_empty() && disks(pod).next().is_none()
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for VolumeRestrictions {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let mut alone = Vec::new();
        for mounted in pod.claims().iter().filter(|mounted| !mounted.ephemeral) {
            match cluster.volumes().claim(pod.namespace(), &mounted.name) {
                Some(claim) if claim.is_for_one_pod() => alone.push(mounted.name.as_str()),
                Some(_) => {}
                None => {
                    let why = format!("persistentvolumeclaim {:?} not found", mounted.name);
                    return ForPod::Refuse(Verdict::Never(why.into()));
                }
            }
        }
        let has_disks = disks(pod).next().is_some();
        if alone.is_empty() && !has_disks {
            return ForPod::Nothing;
        }
        let mut check = Check { pod, alone, uses: 0, has_disks };
        if !check.alone.is_empty() {
            check.uses =
                cluster.nodes().iter().flat_map(|node| &node.pods).map(|other| check.uses_of(other)).sum();
        }
        ForPod::check(check)
    }
}

#[derive(Clone, Debug)]
struct Check<'a> {
    pod: &'a PodInfo,
    /// The claims that only one pod may use.
    alone: Vec<&'a str>,
    /// How many other pods use one of them.
    uses: usize,
    has_disks: bool,
}

impl Check<'_> {
    fn uses_of(&self, other: &PodInfo) -> usize {
        let mine = |name: &str| other.namespace() == self.pod.namespace() && self.alone.contains(&name);
        other.claims().iter().filter(|claim| mine(&claim.name)).count()
    }
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        let taken =
            |disk: &Disk| node.pods.iter().any(|other| disks(other).any(|theirs| conflict(disk, theirs)));
        if self.has_disks && disks(self.pod).any(taken) {
            return Verdict::Later(NO_DISK.into());
        }
        if self.uses > 0 { Verdict::Later(IN_USE.into()) } else { Verdict::Fits }
    }

    fn fork(&self) -> Option<Box<dyn NodeCheck + '_>> {
        Some(Box::new(self.clone()))
    }

    fn pod_added(&mut self, pod: &PodInfo, _: &NodeInfo) {
        self.uses += self.uses_of(pod);
    }

    fn pod_removed(&mut self, pod: &PodInfo, _: &NodeInfo) {
        self.uses = self.uses.saturating_sub(self.uses_of(pod));
    }
}

fn disks(pod: &PodInfo) -> impl Iterator<Item = &Disk> {
    pod.spec().volumes.iter().filter_map(|volume| volume.disk.as_deref())
}

/// True when the two cannot be mounted on one node.
fn conflict(one: &Disk, other: &Disk) -> bool {
    match (one, other) {
        (
            Disk::GcePersistentDisk { pd_name: one, read_only: reads },
            Disk::GcePersistentDisk { pd_name: other, read_only: also_reads },
        )
        | (Disk::Iscsi { iqn: one, read_only: reads }, Disk::Iscsi { iqn: other, read_only: also_reads }) => {
            one == other && !(*reads && *also_reads)
        }
        (Disk::AwsElasticBlockStore { volume_id: one }, Disk::AwsElasticBlockStore { volume_id: other }) => {
            one == other
        }
        (
            Disk::Rbd { monitors, image, pool, read_only },
            Disk::Rbd { monitors: others, image: other, pool: other_pool, read_only: also_reads },
        ) => {
            let shared = monitors.iter().any(|monitor| others.contains(monitor));
            shared && image == other && pool == other_pool && !(*read_only && *also_reads)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask_in, cluster_of, node_with, pod};
    use serde_json::{Value, json};

    #[test]
    fn disks_that_cannot_be_shared() {
        let gce = |name: &str, reads: bool| json!({"gcePersistentDisk": {"pdName": name, "readOnly": reads}});
        let ebs = |id: &str| json!({"awsElasticBlockStore": {"volumeID": id}});
        let iscsi = |iqn: &str, reads: bool| json!({"iscsi": {"targetPortal": "p", "lun": 0, "iqn": iqn, "readOnly": reads}});
        let rbd = |monitors: &[&str], pool: Value, image: &str| json!({"rbd": {"monitors": monitors, "pool": pool, "image": image}});
        for (name, there, wanted, fits) in [
            ("nothing mounted", json!({}), json!({}), true),
            ("another kind", gce("a", false), ebs("a"), true),
            ("the same GCE disk", gce("a", false), gce("a", false), false),
            ("another GCE disk", gce("a", false), gce("b", false), true),
            ("a GCE disk that both only read", gce("a", true), gce("a", true), true),
            ("a GCE disk that one writes", gce("a", true), gce("a", false), false),
            ("the same EBS volume", ebs("a"), ebs("a"), false),
            ("another EBS volume", ebs("a"), ebs("b"), true),
            ("the same iSCSI disk", iscsi("a", false), iscsi("a", false), false),
            ("an iSCSI disk that both only read", iscsi("a", true), iscsi("a", true), true),
            ("another iSCSI disk", iscsi("a", false), iscsi("b", false), true),
            (
                "the same RBD image",
                rbd(&["a", "b"], json!("p"), "i"),
                rbd(&["b", "c"], json!("p"), "i"),
                false,
            ),
            ("the pool rbd by default", rbd(&["a"], json!("rbd"), "i"), rbd(&["a"], Value::Null, "i"), false),
            ("another RBD image", rbd(&["a"], json!("p"), "i"), rbd(&["a"], json!("p"), "j"), true),
            ("another RBD cluster", rbd(&["a"], json!("p"), "i"), rbd(&["z"], json!("p"), "i"), true),
        ] {
            let mounting = |pod_name: &str, mut volume: Value| {
                volume["name"] = json!("v");
                pod(pod_name, json!({"volumes": [volume]}))
            };
            let cluster = cluster_of([node_with("n", json!({}), [mounting("old", there)])], &[]);
            let verdict = ask_in(&VolumeRestrictions, &mounting("p", wanted), &cluster.nodes()[0], &cluster);
            let want = if fits { Verdict::Fits } else { Verdict::Later(NO_DISK.into()) };
            assert_eq!(verdict, want, "{name}");
        }
    }

    #[test]
    fn a_claim_for_one_pod_is_used_by_one_pod() {
        let claim = |name: &str, mode: &str| {
            json!({"kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"accessModes": [mode]}})
        };
        let claims = [claim("alone", "ReadWriteOncePod"), claim("shared", "ReadWriteMany")];
        let mounting = |name: &str, claim: &str| {
            pod(name, json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}))
        };
        let (here, there) = (
            node_with("here", json!({}), [mounting("old", "alone"), mounting("other", "shared")]),
            node_with("there", json!({}), []),
        );
        let cluster = cluster_of([here, there], &claims);
        for (name, wanted, want) in [
            ("in use, on every node", "alone", Verdict::Later(IN_USE.into())),
            ("for many pods", "shared", Verdict::Fits),
            ("unknown", "none", Verdict::Never("persistentvolumeclaim \"none\" not found".into())),
        ] {
            for node in cluster.nodes() {
                let verdict = ask_in(&VolumeRestrictions, &mounting("p", wanted), node, &cluster);
                assert_eq!(verdict, want, "{name}");
            }
        }
        // A dry run that takes the user off its node.
        let pod = mounting("p", "alone");
        let ForPod::Check { check, .. } = VolumeRestrictions.for_pod(&pod, &cluster) else { panic!() };
        let mut trial = check.fork().unwrap();
        trial.pod_removed(&mounting("old", "alone"), &cluster.nodes()[0]);
        assert_eq!(trial.check(&cluster.nodes()[0]), Verdict::Fits);
        trial.pod_added(&mounting("old", "alone"), &cluster.nodes()[0]);
        assert!(!trial.check(&cluster.nodes()[0]).fits());
    }

    #[test]
    fn what_helps() {
        let mounting = |name: &str, claim: &str| {
            pod(name, json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}))
        };
        let waiting = mounting("p", "alone");
        let helps = |other: &PodInfo| {
            VolumeRestrictions.helps(&waiting, &Change::new(Wakeup::PodRemoved, Subject::Pod(other)))
        };
        assert!(helps(&mounting("old", "alone")) && !helps(&mounting("old", "other")));
    }
}
