//! Groups of pods that start together or not at all (KEP-4671): what each asks for, and how far its pods are.
//!
//! Kept up to date by the scheduler's task. A member is known from the moment the watch shows it, placed once it has a
//! node by our decision or by the watch, and refused from a failed try until the next one.

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::Uid;
use crate::related::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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
}

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
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Key { namespace: text(&self.metadata.namespace), name: text(&self.metadata.name) }
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
        let added = self.groups.insert(group.key(), group.clone()).is_none();
        WakeupSet::of(&[if added { Wakeup::GroupAdded } else { Wakeup::GroupUpdated }])
    }

    /// The watch shows a group no more.
    pub fn gone(&mut self, group: &PodGroup) {
        self.groups.remove(&group.key());
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
        let gang = wanted.spec.scheduling_policy.gang.as_ref();
        let least = gang.map_or(0, |gang| usize::try_from(gang.min_count).unwrap_or(0));
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
        let gang = self.groups.get(group).and_then(|group| group.spec.scheduling_policy.gang.as_ref());
        let least = gang.map_or(0, |gang| usize::try_from(gang.min_count).unwrap_or(0));
        // Those beyond the least were never made to wait.
        let just_reached = members.placed.len() == least;
        if just_reached || matches!(self.standing(group), Standing::Hopeless | Standing::TooFew) {
            members.unbound.iter().cloned().collect()
        } else {
            Vec::new()
        }
    }

    /// True when this is the first of the group's members to get a node.
    pub fn is_first(&self, group: &Key) -> bool {
        self.members.get(group).is_some_and(|members| members.placed.len() == 1)
    }
}
