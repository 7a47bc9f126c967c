//! Deletes pods from nodes with NoExecute taints: at once those that do not tolerate them, the others when their
//! `tolerationSeconds` are over. A taint that goes away in time saves the pod.
//!
//! Reads: Nodes, Pods. Writes: the pod condition DisruptionTarget, then deletes the pod.
//! Assumes that admission gave every pod its default tolerations of 300 s.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use objects::taints::{NO_EXECUTE, tolerates};

/// What is to become of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It may stay, for ever as far as can be seen.
    Stay,
    /// It may stay so long.
    Wait(Duration),
    /// It has to go.
    Evict,
}

/// Decides on a pod with `tolerations` on a node with `taints`, whose taints were first seen at `since`.
///
/// As upstream, the shortest of the tolerations that are needed counts, from when the taint was seen.
fn plan(tolerations: &[Toleration], taints: &[Taint], since: Timestamp, now: Timestamp) -> Plan {
    let mut shortest: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let mut used = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if used.peek().is_none() {
            return Plan::Evict;
        }
        let limited = used.filter_map(|toleration| toleration.toleration_seconds);
        shortest = shortest.into_iter().chain(limited).min();
    }
    let Some(seconds) = shortest else { return Plan::Stay };
    let passed = now.duration_since(since);
    let left = jiff::SignedDuration::from_secs(seconds.max(0)).saturating_sub(passed);
    if left.is_positive() { Plan::Wait(left.unsigned_abs()) } else { Plan::Evict }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(NO_EXECUTE.into()),
            toleration_seconds: seconds,
            value: None,
        }
    }

    #[test]
    fn plans() {
        let since = Timestamp::UNIX_EPOCH;
        let wait = |seconds| Plan::Wait(Duration::from_secs(seconds));
        let (a, b) = (taint("a", NO_EXECUTE), taint("b", NO_EXECUTE));
        for (tolerations, taints, passed, expected) in [
            (vec![], vec![], 0, Plan::Stay),
            (vec![], vec![taint("a", "NoSchedule")], 0, Plan::Stay),
            (vec![], vec![a.clone()], 0, Plan::Evict),
            (vec![toleration("a", None)], vec![a.clone()], 9_999, Plan::Stay),
            (vec![toleration("a", Some(300))], vec![a.clone()], 0, wait(300)),
            (vec![toleration("a", Some(300))], vec![a.clone()], 299, wait(1)),
            (vec![toleration("a", Some(300))], vec![a.clone()], 300, Plan::Evict),
            (vec![toleration("a", Some(-1))], vec![a.clone()], 0, Plan::Evict),
            (vec![toleration("a", Some(300)), toleration("a", Some(60))], vec![a.clone()], 0, wait(60)),
            (vec![toleration("a", Some(300)), toleration("a", None)], vec![a.clone()], 0, wait(300)),
            (vec![toleration("a", Some(300)), toleration("b", Some(60))], vec![a.clone(), b.clone()], 0, wait(60)),
            (vec![toleration("a", Some(300))], vec![a, b], 0, Plan::Evict),
        ] {
            let now = since + jiff::SignedDuration::from_secs(passed);
            assert_eq!(plan(&tolerations, &taints, since, now), expected, "{tolerations:?} {taints:?}");
        }
    }
}
