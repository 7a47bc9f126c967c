//! Groups of pods that start together or not at all (KEP-4671): what each asks for, and how far its pods are.
//!
//! Kept up to date by the scheduler's task, which also writes the condition PodGroupScheduled from it. A member is known from the moment the watch shows it, placed once it has a
//! node by our decision or by the watch, and refused from a failed try until the next one.

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::Uid;
use component::informers::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A PodGroup (scheduling.k8s.io/v1alpha2).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodGroup {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: GroupSpec,
    /// What was said of it.
    pub status: GroupStatus,
}

/// The read part of a group's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GroupStatus {
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// The condition that says whether a group has been scheduled (API reference: PodGroupStatus).
pub const SCHEDULED: &str = "PodGroupScheduled";

/// The read part of a group's spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupSpec {
    /// How its pods are scheduled.
    pub scheduling_policy: SchedulingPolicy,
}

/// How the pods of a group are scheduled; one by one unless there is a gang.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulingPolicy {
    /// All or nothing.
    pub gang: Option<Gang>,
}

/// All or nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gang {
    /// How many pods must be able to start for any to start.
    pub min_count: i32,
}

objects::view_of!(PodGroup, "PodGroup", "scheduling.k8s.io", "v1alpha2", "podgroups", NamespaceResourceScope);

impl PodGroup {
    /// Its namespace and name.
    pub fn key(&self) -> Key {
        Key::of(self)
    }

    /// Whether it has been scheduled, as far as anybody has said.
    pub fn scheduled(&self) -> Option<bool> {
        let condition = self.status.conditions.iter().find(|known| known.type_ == SCHEDULED)?;
        Some(condition.status == "True")
    }

    /// How many pods must be able to start for any to start; 0 unless it is a gang.
    fn least(&self) -> usize {
        let gang = self.spec.scheduling_policy.gang.as_ref();
        gang.map_or(0, |gang| usize::try_from(gang.min_count).unwrap_or(0))
    }
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The group itself is not there.
    Unknown,
    /// Too few of its pods are there.
    TooFew,
    /// So many of its pods fit nowhere that the others need not wait for them.
    Hopeless,
    /// Some of its pods have yet to be placed.
    Waiting,
    /// Enough are placed, or it asks for nothing.
    Reached,
}

/// All groups. See the file header.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: FxHashMap<Key, Arc<PodGroup>>,
    members: FxHashMap<Key, Members>,
    /// What was last said of a group, until the watch shows it.
    told: FxHashMap<Key, bool>,
}

#[derive(Clone, Debug, Default)]
struct Members {
    known: FxHashSet<Uid>,
    placed: FxHashSet<Uid>,
    /// Those of them that are not bound yet.
    unbound: BTreeSet<Uid>,
    refused: FxHashSet<Uid>,
}

impl Groups {
    /// The watch shows a group. Answers what that may mean to waiting pods.
    pub fn see(&mut self, group: &Arc<PodGroup>) -> WakeupSet {
        let before = self.groups.insert(group.key(), group.clone());
        if group.scheduled().is_some() && group.scheduled() == self.told.get(&group.key()).copied() {
            self.told.remove(&group.key());
        }
        match before {
            None => WakeupSet::of(&[Wakeup::GroupAdded]),
            Some(before) if before.spec != group.spec => WakeupSet::of(&[Wakeup::GroupUpdated]),
            // What is said of it is said by us.
            Some(_) => WakeupSet::default(),
        }
    }

    /// The watch shows a group no more.
    pub fn gone(&mut self, group: &PodGroup) {
        self.groups.remove(&group.key());
        self.told.remove(&group.key());
    }

    /// The watch shows a member, which may have a node. Answers whether enough are there now, and were not before.
    pub fn joined(&mut self, group: &Key, pod: &Uid, has_node: bool) -> bool {
        let before = self.standing(group);
        let members = self.members.entry(group.clone()).or_default();
        members.known.insert(pod.clone());
        if has_node {
            members.placed.insert(pod.clone());
            members.unbound.remove(pod);
            members.refused.remove(pod);
        }
        let lacked = |standing| matches!(standing, Standing::TooFew | Standing::Hopeless);
        lacked(before) && !lacked(self.standing(group))
    }

    /// A member is gone, has ended, or is on its way out.
    pub fn left(&mut self, group: &Key, pod: &Uid) {
        let Some(members) = self.members.get_mut(group) else { return };
        members.known.remove(pod);
        members.placed.remove(pod);
        members.unbound.remove(pod);
        members.refused.remove(pod);
        if members.known.is_empty() {
            self.members.remove(group);
        }
    }

    /// A member is tried.
    pub fn tried(&mut self, group: &Key, pod: &Uid) {
        if let Some(members) = self.members.get_mut(group) {
            members.refused.remove(pod);
        }
    }

    /// A member fits nowhere. Says nothing while too few are there: then none was tried.
    pub fn refused(&mut self, group: &Key, pod: &Uid) {
        if matches!(self.standing(group), Standing::Unknown | Standing::TooFew) {
            return;
        }
        if let Some(members) = self.members.get_mut(group).filter(|members| members.known.contains(pod)) {
            members.refused.insert(pod.clone());
        }
    }

    /// A node was chosen for a member.
    pub fn placed(&mut self, group: &Key, pod: &Uid) {
        let members = self.members.entry(group.clone()).or_default();
        members.placed.insert(pod.clone());
        members.unbound.insert(pod.clone());
    }

    /// The node of a member was given up.
    pub fn taken_back(&mut self, group: &Key, pod: &Uid) {
        if let Some(members) = self.members.get_mut(group)
            && members.unbound.remove(pod)
        {
            members.placed.remove(pod);
        }
    }

    /// A member is bound.
    pub fn bound(&mut self, group: &Key, pod: &Uid) {
        if let Some(members) = self.members.get_mut(group) {
            members.unbound.remove(pod);
        }
    }

    /// How far the group is.
    pub fn standing(&self, group: &Key) -> Standing {
        let Some(wanted) = self.groups.get(group) else { return Standing::Unknown };
        let least = wanted.least();
        static NONE: std::sync::LazyLock<Members> = std::sync::LazyLock::new(Members::default);
        let members = self.members.get(group).unwrap_or(&NONE);
        if members.placed.len() >= least {
            Standing::Reached
        } else if members.known.len() < least {
            Standing::TooFew
        } else if members.known.len() - members.refused.len() < least {
            Standing::Hopeless
        } else {
            Standing::Waiting
        }
    }

    /// Members with a node that are not bound yet, when all of them have to be told; few are when nothing has changed
    /// for them.
    pub fn to_tell(&self, group: &Key) -> Vec<Uid> {
        let Some(members) = self.members.get(group) else { return Vec::new() };
        let least = self.groups.get(group).map_or(0, |group| group.least());
        // Those beyond the least were never made to wait.
        let just_reached = members.placed.len() == least;
        if just_reached || matches!(self.standing(group), Standing::Hopeless | Standing::TooFew) {
            members.unbound.iter().cloned().collect()
        } else {
            Vec::new()
        }
    }

    /// The group and whether it is scheduled, when that was decided just now and has to be said. One that was scheduled
    /// once stays so, whatever becomes of its pods (upstream: `updatePodGroupCondition`).
    pub fn news(&mut self, group: &Key) -> Option<(Arc<PodGroup>, bool)> {
        let wanted = self.groups.get(group)?;
        let members = self.members.get(group)?;
        let scheduled = match self.standing(group) {
            Standing::Reached if !members.placed.is_empty() => true,
            Standing::Reached if members.refused.len() == members.known.len() => false,
            Standing::Hopeless => false,
            _ => return None,
        };
        let said = self.told.get(group).copied().or_else(|| wanted.scheduled());
        if said == Some(true) || said == Some(scheduled) {
            return None;
        }
        self.told.insert(group.clone(), scheduled);
        Some((wanted.clone(), scheduled))
    }

    /// True when this is the first of the group's members to get a node.
    pub fn is_first(&self, group: &Key) -> bool {
        self.members.get(group).is_some_and(|members| members.placed.len() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(least: Option<i32>, scheduled: Option<&str>) -> Arc<PodGroup> {
        let policy = least.map_or_else(|| json!({"basic": {}}), |least| json!({"gang": {"minCount": least}}));
        let conditions: Vec<_> = scheduled
            .map(|status| {
                json!({"type": SCHEDULED, "status": status, "reason": "", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .into_iter()
            .collect();
        let group = json!({"metadata": {"name": "g", "namespace": "d"}, "spec": {"schedulingPolicy": policy},
            "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(group).unwrap())
    }

    /// What is said after these members joined, were placed and were refused.
    fn said(group: Arc<PodGroup>, known: usize, placed: usize, refused: usize) -> Option<bool> {
        let (key, mut groups) = (group.key(), Groups::default());
        groups.see(&group);
        let uids: Vec<Uid> = (0..known).map(|number| number.to_string().as_str().into()).collect();
        uids.iter().for_each(|uid| {
            groups.joined(&key, uid, false);
        });
        uids[..placed].iter().for_each(|uid| groups.placed(&key, uid));
        uids[placed..placed + refused].iter().for_each(|uid| groups.refused(&key, uid));
        let news = groups.news(&key).map(|(_, scheduled)| scheduled);
        assert_eq!(groups.news(&key), None, "it is said once");
        news
    }

    #[test]
    fn what_is_said_of_a_group() {
        for (name, group, (known, placed, refused), want) in [
            ("too few", group(Some(3), None), (2, 0, 0), None),
            ("under way", group(Some(3), None), (3, 2, 0), None),
            ("one more may come", group(Some(2), None), (3, 1, 1), None),
            ("hopeless", group(Some(3), None), (3, 2, 1), Some(false)),
            ("reached", group(Some(3), None), (4, 3, 1), Some(true)),
            ("one by one, nothing tried", group(None, None), (2, 0, 0), None),
            ("one by one, the first runs", group(None, None), (2, 1, 1), Some(true)),
            ("one by one, none fits", group(None, None), (2, 0, 2), Some(false)),
            ("said already", group(Some(3), Some("False")), (3, 2, 1), None),
            ("fits now", group(Some(3), Some("False")), (3, 3, 0), Some(true)),
            ("was scheduled once", group(Some(3), Some("True")), (3, 2, 1), None),
        ] {
            assert_eq!(said(group, known, placed, refused), want, "{name}");
        }
    }

    #[test]
    fn only_what_a_group_asks_for_wakes_its_pods() {
        let mut groups = Groups::default();
        assert!(groups.see(&group(Some(2), None)).contains(Wakeup::GroupAdded));
        assert!(groups.see(&group(Some(1), None)).contains(Wakeup::GroupUpdated));
        assert_eq!(groups.see(&group(Some(1), Some("False"))), WakeupSet::default());
    }
}
