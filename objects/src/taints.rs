//! Taints of nodes and tolerations of pods.
//!
//! Promise: a toleration tolerates a taint exactly when upstream's `ToleratesTaint` says so, the numeric operators
//! `Gt` and `Lt` (KEP-5471) included.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Pods are not scheduled onto the node.
pub const NO_SCHEDULE: &str = "NoSchedule";

/// Pods are scheduled elsewhere if possible.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Pods are not scheduled onto the node and those that run there are evicted.
pub const NO_EXECUTE: &str = "NoExecute";

/// Whether one toleration tolerates one taint. An empty key or effect of the toleration stands for all.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let stands_for = |wanted: &Option<String>, given: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == given)
    };
    if !stands_for(&toleration.effect, &taint.effect) || !stands_for(&toleration.key, &taint.key) {
        return false;
    }
    let wanted = toleration.value.as_deref().unwrap_or_default();
    let given = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => wanted == given,
        "Exists" => true,
        "Gt" => compare(given, wanted, |given, wanted| given > wanted),
        "Lt" => compare(given, wanted, |given, wanted| given < wanted),
        _ => false,
    }
}

fn compare(given: &str, wanted: &str, holds: impl Fn(i64, i64) -> bool) -> bool {
    given.parse().ok().zip(wanted.parse().ok()).is_some_and(|(given, wanted)| holds(given, wanted))
}

/// Whether any of the tolerations tolerates the taint.
#[must_use]
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// The first taint with one of these effects that no toleration covers.
#[must_use]
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    taints.iter().find(|taint| effects.contains(&taint.effect.as_str()) && !tolerated(tolerations, taint))
}

/// Whether the list has a taint with this key and effect, whatever its value.
#[must_use]
pub fn has(taints: &[Taint], key: &str, effect: &str) -> bool {
    taints.iter().any(|taint| taint.key == key && taint.effect == effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(text: &str) -> Taint {
        let (pair, effect) = text.split_once(':').unwrap();
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn toleration_table() {
        let table = [
            (("k", "", "v", ""), "k=v:NoSchedule", true),
            (("k", "Equal", "v", "NoSchedule"), "k=v:NoExecute", false),
            (("k", "Equal", "w", ""), "k=v:NoSchedule", false),
            (("k", "Exists", "", ""), "k=v:NoSchedule", true),
            (("", "Exists", "", ""), "k=v:NoExecute", true),
            (("other", "Exists", "", ""), "k=v:NoExecute", false),
            (("k", "Gt", "5", ""), "k=7:NoSchedule", true),
            (("k", "Gt", "7", ""), "k=7:NoSchedule", false),
            (("k", "Lt", "7", ""), "k=5:NoSchedule", true),
            (("k", "Lt", "7", ""), "k=x:NoSchedule", false),
            (("k", "Like", "v", ""), "k=v:NoSchedule", false),
        ];
        for ((key, operator, value, effect), text, expected) in table {
            let toleration = toleration(key, operator, value, effect);
            assert_eq!(tolerates(&toleration, &taint(text)), expected, "{toleration:?} on {text}");
        }
    }

    #[test]
    fn finds_the_first_untolerated() {
        let taints = [taint("soft:PreferNoSchedule"), taint("a:NoSchedule"), taint("b:NoExecute")];
        let tolerations = [toleration("a", "Exists", "", "")];
        let found = untolerated(&taints, &tolerations, &[NO_SCHEDULE, NO_EXECUTE]).unwrap();
        assert_eq!(found.key, "b");
        assert!(untolerated(&taints, &tolerations, &[NO_SCHEDULE]).is_none());
        assert!(has(&taints, "a", NO_SCHEDULE));
    }
}
