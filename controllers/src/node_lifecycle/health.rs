//! Whether a node is alive, judged by when *this* process last saw a sign of life.
//!
//! A sign is a renewed Lease or a Ready condition with a new heartbeat. The times written in them are only
//! compared with each other, never with our clock: a node whose clock is wrong is not a dead node. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Conditions that nobody keeps once the node's agent is gone.
const KEPT_BY_AGENT: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What was last seen of one node.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// When a sign of life was last seen, by our clock.
    pub(super) seen: Timestamp,
    heartbeat: Option<Timestamp>,
    renewed: Option<Timestamp>,
}

/// The signs of life a node shows now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// `lastHeartbeatTime` of the Ready condition.
    pub(super) heartbeat: Option<Timestamp>,
    /// `renewTime` of the node's Lease.
    pub(super) renewed: Option<Timestamp>,
}

impl Health {
    /// A node seen for the first time. One that never reported counts from its creation.
    pub(super) fn first(signs: Signs, created: Option<Timestamp>, now: Timestamp) -> Self {
        let reported = signs.heartbeat.is_some() || signs.renewed.is_some();
        let seen = if reported { now } else { created.unwrap_or(now) };
        Self { seen, heartbeat: signs.heartbeat, renewed: signs.renewed }
    }

    /// Takes in what the node shows now. A heartbeat that differs is a sign, a lease only if it went forward.
    pub(super) fn observe(&mut self, signs: Signs, now: Timestamp) {
        if signs.heartbeat != self.heartbeat {
            self.heartbeat = signs.heartbeat;
            self.seen = now;
        }
        if signs.renewed > self.renewed {
            self.renewed = signs.renewed;
            self.seen = now;
        }
    }

    /// Whether nothing was seen for longer than `grace`.
    pub(super) fn silent(&self, grace: Duration, now: Timestamp) -> bool {
        let silence = now.duration_since(self.seen);
        silence > SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX)
    }
}

/// The conditions of a node that went silent: those its agent kept become Unknown. None when they are already.
pub(super) fn unknown(
    before: &[NodeCondition],
    created: Option<Timestamp>,
    now: Timestamp,
) -> Option<Vec<NodeCondition>> {
    let mut conditions = before.to_vec();
    for kind in KEPT_BY_AGENT {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.map(Time),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                "Unknown".clone_into(&mut condition.status);
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    (conditions != before).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(50);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn signs(heartbeat: i64, renewed: i64) -> Signs {
        Signs { heartbeat: Some(at(heartbeat)), renewed: Some(at(renewed)) }
    }

    #[test]
    fn silence_is_measured_by_our_clock() {
        // The node's clock is an hour behind; it is alive all the same.
        let mut health = Health::first(signs(-3600, -3600), None, at(0));
        assert!(!health.silent(GRACE, at(50)));
        assert!(health.silent(GRACE, at(51)));
        health.observe(signs(-3600, -3590), at(51));
        assert!(!health.silent(GRACE, at(100)));
        // A lease that goes back is no sign, a heartbeat that changed in any direction is.
        health.observe(signs(-3600, -3595), at(101));
        assert!(health.silent(GRACE, at(102)));
        health.observe(signs(-7200, -3595), at(102));
        assert!(!health.silent(GRACE, at(150)));
    }

    #[test]
    fn a_node_that_never_reported_counts_from_its_creation() {
        let health = Health::first(Signs::default(), Some(at(-100)), at(0));
        assert!(health.silent(GRACE, at(0)));
    }

    #[test]
    fn what_the_agent_kept_becomes_unknown_once() {
        let condition = |kind: &str, status: &str| NodeCondition {
            type_: kind.into(),
            status: status.into(),
            ..NodeCondition::default()
        };
        let before = [condition("Ready", "True"), condition("NetworkUnavailable", "False")];
        let after = unknown(&before, Some(at(-5)), at(0)).unwrap();
        let shown: Vec<_> =
            after.iter().map(|found| (&*found.type_, &*found.status, found.reason.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("Ready", "Unknown", Some("NodeStatusUnknown")),
                ("NetworkUnavailable", "False", None),
                ("MemoryPressure", "Unknown", Some("NodeStatusNeverUpdated")),
                ("DiskPressure", "Unknown", Some("NodeStatusNeverUpdated")),
                ("PIDPressure", "Unknown", Some("NodeStatusNeverUpdated")),
            ]
        );
        assert_eq!(unknown(&after, None, at(9)), None);
    }
}
