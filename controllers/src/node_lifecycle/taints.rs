//! The taints a node should carry, from its conditions. Taints of other origin are left alone. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use objects::taints::{NO_EXECUTE, NO_SCHEDULE};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A condition, the status of it that taints, and the taint's key.
const CONDITIONS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The node's taints with those of effect NoSchedule as its conditions say; none when they are so already.
pub(super) fn no_schedule(
    taints: &[Taint],
    conditions: &[NodeCondition],
    unschedulable: bool,
    now: Timestamp,
) -> Option<Vec<Taint>> {
    let holds = |kind: &str, status: &str| {
        conditions.iter().any(|condition| condition.type_ == kind && condition.status == status)
    };
    let mut wanted: Vec<&str> =
        CONDITIONS.iter().filter(|(kind, status, _)| holds(kind, status)).map(|(_, _, key)| *key).collect();
    if unschedulable {
        wanted.push(UNSCHEDULABLE);
    }
    let ours = CONDITIONS.iter().map(|(_, _, key)| *key).chain([UNSCHEDULABLE]);
    let unwanted: Vec<&str> = ours.filter(|key| !wanted.contains(key)).collect();
    swap(taints, &wanted, &unwanted, NO_SCHEDULE, now)
}

/// Which NoExecute taint the Ready condition asks for; none for a ready node.
pub(super) fn no_execute_key(ready: &str) -> Option<&'static str> {
    match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

/// The node's taints with exactly `key` of the two NoExecute ones that this controller sets; none when they are so already.
pub(super) fn no_execute(taints: &[Taint], key: Option<&str>, now: Timestamp) -> Option<Vec<Taint>> {
    let wanted: Vec<&str> = key.into_iter().collect();
    let unwanted: Vec<&str> =
        [NOT_READY, UNREACHABLE].into_iter().filter(|ours| Some(*ours) != key).collect();
    swap(taints, &wanted, &unwanted, NO_EXECUTE, now)
}

/// The NoExecute taint of this controller that the node carries.
pub(super) fn carried(taints: &[Taint]) -> Option<&str> {
    let ours =
        |taint: &&Taint| taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
    taints.iter().find(ours).map(|taint| taint.key.as_str())
}

fn swap(
    taints: &[Taint],
    wanted: &[&str],
    unwanted: &[&str],
    effect: &str,
    now: Timestamp,
) -> Option<Vec<Taint>> {
    let mut after: Vec<Taint> = taints
        .iter()
        .filter(|taint| taint.effect != effect || !unwanted.contains(&taint.key.as_str()))
        .cloned()
        .collect();
    for key in wanted {
        if !objects::taints::has(taints, key, effect) {
            let (key, effect) = ((*key).to_owned(), effect.to_owned());
            after.push(Taint { key, effect, value: None, time_added: Some(Time(now)) });
        }
    }
    (after != taints).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    fn condition(kind: &str, status: &str) -> NodeCondition {
        NodeCondition { type_: kind.into(), status: status.into(), ..NodeCondition::default() }
    }

    fn keys(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
        taints.map(|taints| taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
    }

    #[test]
    fn conditions_taint_and_untaint() {
        let now = Timestamp::UNIX_EPOCH;
        let own = taint("team/gpu", NO_SCHEDULE);
        let not_ready = taint(NOT_READY, NO_SCHEDULE);
        for (taints, conditions, cordoned, expected) in [
            (vec![], vec![condition("Ready", "True")], false, None),
            (
                vec![own.clone()],
                vec![condition("Ready", "False")],
                false,
                Some("team/gpu:NoSchedule node.kubernetes.io/not-ready:NoSchedule"),
            ),
            (vec![not_ready.clone()], vec![condition("Ready", "False")], false, None),
            (
                vec![not_ready.clone(), own.clone()],
                vec![condition("Ready", "True")],
                false,
                Some("team/gpu:NoSchedule"),
            ),
            (
                vec![not_ready],
                vec![condition("Ready", "Unknown")],
                false,
                Some("node.kubernetes.io/unreachable:NoSchedule"),
            ),
            (
                vec![],
                vec![condition("DiskPressure", "True")],
                true,
                Some(
                    "node.kubernetes.io/disk-pressure:NoSchedule node.kubernetes.io/unschedulable:NoSchedule",
                ),
            ),
            (vec![], vec![condition("DiskPressure", "False")], false, None),
        ] {
            let expected = expected.map(|text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(keys(no_schedule(&taints, &conditions, cordoned, now)), expected, "{conditions:?}");
        }
    }

    #[test]
    fn the_execute_taint_follows_ready() {
        let now = Timestamp::UNIX_EPOCH;
        let unreachable = vec![taint(UNREACHABLE, NO_EXECUTE), taint(UNREACHABLE, NO_SCHEDULE)];
        assert_eq!(no_execute(&unreachable, no_execute_key("Unknown"), now), None);
        assert_eq!(
            keys(no_execute(&unreachable, no_execute_key("False"), now)).unwrap(),
            ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]
        );
        assert_eq!(
            keys(no_execute(&unreachable, no_execute_key("True"), now)).unwrap(),
            ["node.kubernetes.io/unreachable:NoSchedule"]
        );
        assert_eq!(carried(&unreachable), Some(UNREACHABLE));
        assert_eq!(carried(&unreachable[1..]), None);
    }
}
