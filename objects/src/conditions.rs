//! Status conditions of every kind.
//!
//! Promise: one condition a type; its transition time moves only when its status changes.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    DaemonSetCondition, DeploymentCondition, ReplicaSetCondition, StatefulSetCondition,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition;
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::{
    NamespaceCondition, NodeCondition, PersistentVolumeClaimCondition, PodCondition,
    ReplicationControllerCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, Time};

/// What the condition types of all kinds have in common.
pub trait Condition {
    /// The type, unique in its list.
    fn kind(&self) -> &str;

    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;

    /// The machine-readable reason, "" if there is none.
    fn reason(&self) -> &str;

    /// The text for people, "" if there is none.
    fn message(&self) -> &str;

    /// When the status last changed.
    fn last_transition(&self) -> Option<Timestamp>;

    /// Says that the status changed at `when`.
    fn set_last_transition(&mut self, when: Timestamp);
}

/// The condition of this type.
pub fn get<'a, C: Condition>(conditions: &'a [C], kind: &str) -> Option<&'a C> {
    conditions.iter().find(|condition| condition.kind() == kind)
}

/// Whether there is a condition of this type with status `True`.
pub fn is_true<C: Condition>(conditions: &[C], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status() == "True")
}

/// Whether there is a condition of this type with status `False`.
pub fn is_false<C: Condition>(conditions: &[C], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status() == "False")
}

/// Puts a condition in the place of the one with its type, or at the end. The transition time becomes `now` where
/// the status differs from what was there, and stays otherwise. Answers whether anything changed.
pub fn set<C: Condition + PartialEq>(conditions: &mut Vec<C>, mut condition: C, now: Timestamp) -> bool {
    let Some(at) = conditions.iter().position(|old| old.kind() == condition.kind()) else {
        condition.set_last_transition(now);
        conditions.push(condition);
        return true;
    };
    let old = &conditions[at];
    match old.last_transition() {
        Some(when) if old.status() == condition.status() => condition.set_last_transition(when),
        _ => condition.set_last_transition(now),
    }
    let changed = *old != condition;
    conditions[at] = condition;
    changed
}

/// Takes the condition of this type away. Answers whether it was there.
pub fn remove<C: Condition>(conditions: &mut Vec<C>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.kind() != kind);
    conditions.len() != before
}

macro_rules! conditions {
    ($($name:ty),+ $(,)?) => {$(
        impl Condition for $name {
            fn kind(&self) -> &str {
                &self.type_
            }

            fn status(&self) -> &str {
                &self.status
            }

            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or_default()
            }

            fn message(&self) -> &str {
                self.message.as_deref().unwrap_or_default()
            }

            fn last_transition(&self) -> Option<Timestamp> {
                self.last_transition_time.as_ref().map(|time| time.0)
            }

            fn set_last_transition(&mut self, when: Timestamp) {
                self.last_transition_time = Some(Time(when));
            }
        }
    )+};
}

conditions!(
    DaemonSetCondition,
    DeploymentCondition,
    HorizontalPodAutoscalerCondition,
    JobCondition,
    NamespaceCondition,
    NodeCondition,
    PersistentVolumeClaimCondition,
    PodCondition,
    ReplicaSetCondition,
    ReplicationControllerCondition,
    StatefulSetCondition,
);

impl Condition for meta::Condition {
    fn kind(&self) -> &str {
        &self.type_
    }

    fn status(&self) -> &str {
        &self.status
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    fn message(&self) -> &str {
        &self.message
    }

    fn last_transition(&self) -> Option<Timestamp> {
        Some(self.last_transition_time.0)
    }

    fn set_last_transition(&mut self, when: Timestamp) {
        self.last_transition_time = Time(when);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &str, reason: &str) -> PodCondition {
        PodCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            ..PodCondition::default()
        }
    }

    #[test]
    fn the_transition_time_follows_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, ready("False", "a"), at(1)));
        assert!(!set(&mut conditions, ready("False", "a"), at(2)));
        assert!(set(&mut conditions, ready("False", "b"), at(3)));
        assert_eq!(get(&conditions, "Ready").unwrap().last_transition(), Some(at(1)));
        assert!(set(&mut conditions, ready("True", "b"), at(4)));
        assert_eq!(get(&conditions, "Ready").unwrap().last_transition(), Some(at(4)));
        assert!(is_true(&conditions, "Ready"));
        assert_eq!(conditions.len(), 1);
        assert!(remove(&mut conditions, "Ready"));
        assert!(!remove(&mut conditions, "Ready"));
    }
}
