//! Refuses nodes outside the zone and region that the labels of the pod's volumes name.
//!
//! It concerns pods with a claim whose volume has such a label (old volumes; newer ones have node affinity). A node
//! without any such label passes, so that clusters without zones work.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Change, Filter, ForPod, NodeCheck, Plugin, Subject, Verdict, Wakeup};
use crate::pod::PodInfo;
use crate::related::Related;
use crate::volumes::{PersistentVolume, Volumes, ZONES_APART};

/// The labels, newer ones first, with the newer name of each.
const LABELS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];
const ELSEWHERE: &str = "node(s) had no available volume zone";

/// Upstream's VolumeZone.
#[derive(Debug)]
pub struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::ClassAdded,
            Wakeup::NodeAdded,
            Wakeup::NodeLabels,
            Wakeup::ClaimAdded,
            Wakeup::ClaimUpdated,
            Wakeup::VolumeAdded,
            Wakeup::VolumeUpdated,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Related(Related::Claim(claim)) => super::volume_binding::mounts(pod, claim),
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

impl Filter for VolumeZone {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let mut places = Vec::new();
        // Only claims by name, as upstream: an ephemeral volume is made where the pod goes.
        for mounted in pod.claims().iter().filter(|mounted| !mounted.ephemeral) {
            match volume_of(pod, &mounted.name, cluster.volumes()) {
                Ok(volume) => places.extend(volume.into_iter().flat_map(places_of)),
                Err(why) => return ForPod::Refuse(Verdict::Never(why.into())),
            }
        }
        if places.is_empty() { ForPod::Nothing } else { ForPod::check(Check { places }) }
    }
}

/// The volume of a claim; `None` when it is made where the pod goes.
fn volume_of<'a>(
    pod: &PodInfo,
    name: &str,
    volumes: &'a Volumes,
) -> Result<Option<&'a PersistentVolume>, String> {
    let claim = volumes.claim(pod.namespace(), name);
    let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
    if let Some(volume) = claim.volume() {
        let found = volumes.volume(volume).map(|volume| &**volume);
        return found.map(Some).ok_or_else(|| format!("persistentvolume {volume:?} not found"));
    }
    if claim.class().is_empty() {
        return Err("PersistentVolumeClaim had no pv name and storageClass name".to_owned());
    }
    match volumes.class(claim.class()) {
        None => Err(format!("storageclass.storage.k8s.io {:?} not found", claim.class())),
        Some(class) if class.waits_for_consumer() => Ok(None),
        Some(_) => Err("PersistentVolume had no name".to_owned()),
    }
}

/// Where a volume is: (label, the newer name of the label, values).
type Place<'a> = (&'static str, &'static str, Vec<&'a str>);

fn places_of(volume: &PersistentVolume) -> impl Iterator<Item = Place<'_>> {
    LABELS.into_iter().filter_map(|(label, newer)| {
        let values = volume.metadata.labels.as_ref()?.get(label)?;
        Some((label, newer, values.split(ZONES_APART).map(str::trim).collect()))
    })
}

#[derive(Debug)]
struct Check<'a> {
    places: Vec<Place<'a>>,
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        let labels = node.labels();
        if LABELS.iter().all(|(label, _)| !labels.contains_key(*label)) {
            return Verdict::Fits;
        }
        let is_there = |(label, newer, values): &Place<'_>| {
            let own = labels.get(*label).or_else(|| labels.get(*newer));
            own.is_some_and(|own| values.contains(&own.as_str()))
        };
        if self.places.iter().all(is_there) { Verdict::Fits } else { Verdict::Never(ELSEWHERE.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask_in, cluster_of, node, pod};
    use serde_json::{Value, json};

    const ZONE: &str = "topology.kubernetes.io/zone";
    const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
    const REGION: &str = "topology.kubernetes.io/region";

    fn volume(name: &str, labels: Value) -> Value {
        json!({"kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}})
    }

    fn claim(name: &str, volume: &str, class: &str) -> Value {
        json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
            "spec": {"volumeName": volume, "storageClassName": class}})
    }

    #[test]
    fn filter_table() {
        let objects = [
            volume("in-a", json!({ZONE: "a"})),
            volume("in-a-of-r", json!({ZONE: "a", REGION: "r"})),
            volume("in-a-or-b", json!({ZONE: "a__b"})),
            volume("in-old-a", json!({OLD_ZONE: "a"})),
            volume("anywhere", json!({"disk": "ssd"})),
            claim("a", "in-a", ""),
            claim("a-of-r", "in-a-of-r", ""),
            claim("a-or-b", "in-a-or-b", ""),
            claim("old-a", "in-old-a", ""),
            claim("anywhere", "anywhere", ""),
            claim("lost", "none", ""),
            claim("classless", "", ""),
            claim("waits", "", "wait"),
            claim("immediate", "", "now"),
            claim("unknown-class", "", "none"),
            json!({"kind": "StorageClass", "metadata": {"name": "wait"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"}),
            json!({"kind": "StorageClass", "metadata": {"name": "now"}, "provisioner": "p", "volumeBindingMode": "Immediate"}),
        ];
        let elsewhere = || Verdict::Never(ELSEWHERE.into());
        let never = |why: &str| Verdict::Never(why.to_owned().into());
        for (name, claim, labels, want) in [
            ("the zone of the volume", "a", json!({ZONE: "a"}), Verdict::Fits),
            ("another zone", "a", json!({ZONE: "b"}), elsewhere()),
            ("a node without zones", "a", json!({"host": "n"}), Verdict::Fits),
            ("a node with a region only", "a", json!({REGION: "r"}), elsewhere()),
            ("zone and region", "a-of-r", json!({ZONE: "a", REGION: "r"}), Verdict::Fits),
            ("zone without region", "a-of-r", json!({ZONE: "a", REGION: "s"}), elsewhere()),
            ("one of two zones", "a-or-b", json!({ZONE: "b"}), Verdict::Fits),
            ("the old label", "old-a", json!({OLD_ZONE: "a"}), Verdict::Fits),
            (
                "the old label on the volume, the new one on the node",
                "old-a",
                json!({ZONE: "a"}),
                Verdict::Fits,
            ),
            ("the old label, another zone", "old-a", json!({ZONE: "b"}), elsewhere()),
            ("a volume without zone", "anywhere", json!({ZONE: "b"}), Verdict::Fits),
            ("made where the pod goes", "waits", json!({ZONE: "b"}), Verdict::Fits),
            ("to be bound at once", "immediate", json!({}), never("PersistentVolume had no name")),
            ("unknown claim", "none", json!({}), never("persistentvolumeclaim \"none\" not found")),
            ("unknown volume", "lost", json!({}), never("persistentvolume \"none\" not found")),
            (
                "no class",
                "classless",
                json!({}),
                never("PersistentVolumeClaim had no pv name and storageClass name"),
            ),
            (
                "unknown class",
                "unknown-class",
                json!({}),
                never("storageclass.storage.k8s.io \"none\" not found"),
            ),
        ] {
            let cluster = cluster_of([node("n", json!({"metadata": {"labels": labels}}))], &objects);
            let pod =
                pod("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}));
            assert_eq!(ask_in(&VolumeZone, &pod, &cluster.nodes()[0], &cluster), want, "{name}");
        }
    }
}
