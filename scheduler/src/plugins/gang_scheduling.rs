//! Starts the pods of a group together or not at all (KEP-4671): a pod is bound when `minCount` of its group have a
//! node.
//!
//! It concerns pods with `spec.schedulingGroup`. Until enough of them are there they are held back, which is no attempt
//! and costs nothing (upstream: PreEnqueue). A pod that got a node
//! waits for the others, at most five minutes, as upstream's does; ours is also set back as soon as so many others fit
//! nowhere that the gang cannot be complete, so that two halves of gangs do not keep room from each other. Pods of the
//! gang are tried again when the first of them gets a node.

use crate::cache::Snapshot;
use crate::framework::{
    Change, Filter, ForPod, Gate, Permission, Permit, Plugin, Reserve, Subject, Verdict, Wakeup,
};
use crate::groups::Standing;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::related::Related;
use jiff::SignedDuration;
use std::sync::Arc;

/// How long a pod that has a node waits for the others (upstream: 5 min).
pub const GANG_WAIT: SignedDuration = SignedDuration::from_mins(5);

const TOO_FEW: &str = "waiting for minCount pods from a gang to appear in scheduling queue";
const HOPELESS: &str = "other pods of the gang fit nowhere";

/// Upstream's GangScheduling.
#[derive(Debug)]
pub struct GangScheduling;

impl Plugin for GangScheduling {
    fn name(&self) -> &'static str {
        "GangScheduling"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::PodAdded, Wakeup::PodAssigned, Wakeup::GroupAdded, Wakeup::GroupUpdated]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Pod(other) => other.group() == pod.group(),
            Subject::Related(Related::Group(group)) => Some(group.key()) == pod.group(),
            _ => true,
        }
    }

    fn ignores(&self, pod: &PodInfo) -> bool {
        pod.group().is_none()
    }

    fn gate(&self) -> Option<&dyn Gate> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn permit(&self) -> Option<&dyn Permit> {
        Some(self)
    }
}

impl Gate for GangScheduling {
    fn needs_others(&self) -> bool {
        true
    }

    fn admit_among(&self, pod: &PodInfo, cluster: &Snapshot) -> Verdict {
        let Some(group) = pod.group() else { return Verdict::Fits };
        let why = match cluster.groups().standing(&group) {
            Standing::Unknown => {
                format!("waiting for pods's pod group {:?} to appear in scheduling queue", group.name)
            }
            Standing::TooFew => TOO_FEW.to_owned(),
            Standing::Hopeless | Standing::Waiting | Standing::Reached => return Verdict::Fits,
        };
        Verdict::Never(why.into())
    }
}

/// For those who ask without a queue. A gang does not care about nodes: its pods are decided like all that are alike.
impl Filter for GangScheduling {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        match self.admit_among(pod, cluster) {
            Verdict::Fits => ForPod::Nothing,
            refused => ForPod::Refuse(refused),
        }
    }
}

impl Reserve for GangScheduling {
    fn take(&self, pod: &Arc<PodInfo>, _: &NodeName, cluster: &mut Snapshot) -> Result<(), String> {
        if let Some(group) = pod.group() {
            cluster.groups_mut().placed(&group, &pod.uid);
        }
        Ok(())
    }

    fn give_back(&self, pod: &PodInfo, _: &NodeName, cluster: &mut Snapshot) {
        if let Some(group) = pod.group() {
            cluster.groups_mut().taken_back(&group, &pod.uid);
        }
    }

    fn bound(&self, pod: &PodInfo, cluster: &mut Snapshot) {
        if let Some(group) = pod.group() {
            cluster.groups_mut().bound(&group, &pod.uid);
        }
    }
}

impl Permit for GangScheduling {
    fn may_bind(&self, pod: &PodInfo, _: &NodeName, cluster: &Snapshot) -> Permission {
        let Some(group) = pod.group() else { return Permission::Granted };
        match cluster.groups().standing(&group) {
            Standing::Reached => Permission::Granted,
            Standing::Waiting => Permission::Wait(GANG_WAIT),
            Standing::Unknown | Standing::TooFew => Permission::Denied(Verdict::Never(TOO_FEW.into())),
            Standing::Hopeless => Permission::Denied(Verdict::Never(HOPELESS.into())),
        }
    }

    fn concerned(&self, pod: &PodInfo, cluster: &Snapshot) -> Vec<Uid> {
        pod.group().map(|group| cluster.groups().to_tell(&group)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask_in, cluster_of, node, pod};
    use component::informers::Key;
    use serde_json::{Value, json};

    fn group(policy: Value) -> Value {
        json!({"kind": "PodGroup", "metadata": {"name": "g", "namespace": "default"}, "spec": {"schedulingPolicy": policy}})
    }

    fn member(name: &str) -> Arc<PodInfo> {
        pod(name, json!({"schedulingGroup": {"podGroupName": "g"}}))
    }

    #[test]
    fn no_pod_is_tried_before_enough_are_there() {
        let gang = || group(json!({"gang": {"minCount": 2}}));
        let never = |why: &str| Verdict::Never(why.to_owned().into());
        for (name, objects, there, want) in [
            (
                "no group",
                vec![],
                2,
                never("waiting for pods's pod group \"g\" to appear in scheduling queue"),
            ),
            ("one of two", vec![gang()], 1, never(TOO_FEW)),
            ("two of two", vec![gang()], 2, Verdict::Fits),
            ("one by one", vec![group(json!({"basic": {}}))], 1, Verdict::Fits),
        ] {
            let mut cluster = cluster_of([node("n", json!({}))], &objects);
            let names = ["a", "b"];
            names[..there].iter().for_each(|name| {
                cluster.groups_mut().joined(&Key::new("default", "g"), &(*name).into(), false);
            });
            assert_eq!(ask_in(&GangScheduling, &member("a"), &cluster.nodes()[0], &cluster), want, "{name}");
        }
        let cluster = cluster_of([node("n", json!({}))], &[gang()]);
        assert!(matches!(GangScheduling.for_pod(&pod("p", json!({})), &cluster), ForPod::Nothing));
    }

    #[test]
    fn a_pod_waits_for_the_others() {
        let mut cluster = cluster_of([node("n", json!({}))], &[group(json!({"gang": {"minCount": 2}}))]);
        let (key, on) = (Key::new("default", "g"), NodeName::from("n"));
        let (a, b, c) = (member("a"), member("b"), member("c"));
        [&a, &b, &c].iter().for_each(|pod| {
            cluster.groups_mut().joined(&key, &pod.uid, false);
        });
        let take =
            |pod: &Arc<PodInfo>, cluster: &mut Snapshot| GangScheduling.take(pod, &on, cluster).unwrap();
        let ask = |pod: &PodInfo, cluster: &Snapshot| GangScheduling.may_bind(pod, &on, cluster);
        take(&a, &mut cluster);
        assert_eq!(ask(&a, &cluster), Permission::Wait(GANG_WAIT), "the first waits");
        cluster.groups_mut().refused(&key, &b.uid);
        assert_eq!(ask(&a, &cluster), Permission::Wait(GANG_WAIT), "the third may still come");
        cluster.groups_mut().refused(&key, &c.uid);
        assert_eq!(ask(&a, &cluster), Permission::Denied(Verdict::Never(HOPELESS.into())));
        assert_eq!(GangScheduling.concerned(&c, &cluster), std::slice::from_ref(&a.uid), "it is told");
        GangScheduling.give_back(&a, &on, &mut cluster);
        cluster.groups_mut().tried(&key, &b.uid);
        take(&b, &mut cluster);
        take(&a, &mut cluster);
        assert_eq!((ask(&a, &cluster), ask(&b, &cluster)), (Permission::Granted, Permission::Granted));
        assert_eq!(GangScheduling.concerned(&a, &cluster), [a.uid.clone(), b.uid.clone()]);
        GangScheduling.bound(&a, &mut cluster);
        GangScheduling.bound(&b, &mut cluster);
        take(&c, &mut cluster);
        assert_eq!(ask(&c, &cluster), Permission::Granted, "one beyond the least goes at once");
        assert_eq!(ask(&pod("p", json!({})), &cluster), Permission::Granted);
    }

    #[test]
    fn only_its_own_group_helps() {
        let helps = |other: &PodInfo| {
            GangScheduling.helps(&member("a"), &Change::new(Wakeup::PodAdded, Subject::Pod(other)))
        };
        assert!(helps(&member("b")));
        assert!(!helps(&pod("c", json!({"schedulingGroup": {"podGroupName": "h"}}))));
    }
}
