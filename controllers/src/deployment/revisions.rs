//! Which ReplicaSet carries the Deployment's template, and the history in the annotations of the others.
//!
//! A template seen before is not made again: its old ReplicaSet becomes the new one and gets the next revision.
//! That is all a rollback is. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rolling::{Bounds, Set};
use super::{DESIRED, HISTORY, MAX, REVISION};
use crate::views::{Deployment, ReplicaSet};

/// Longest list of past revisions kept in one annotation, in characters.
const HISTORY_LIMIT: usize = 2_000;

/// Annotations of a Deployment that its ReplicaSets do not take over.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
];

/// Splits the sets into the one with the Deployment's template (the oldest, if there are several) and the others.
pub(super) fn split(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> (Option<Set>, Vec<Set>) {
    let mut sets: Vec<Set> = sets.iter().cloned().map(Set::of).collect();
    sets.sort_by(|a, b| a.created().cmp(&b.created()));
    let new = sets.iter().position(|set| set.seen.spec.template.same_as(&deployment.spec.template));
    let new = new.map(|at| sets.remove(at));
    (new, sets)
}

/// The revision of a set; 0 when it has none.
pub(super) fn revision(set: &Set) -> i64 {
    set.seen.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The revision that the new set must at least have.
pub(super) fn next(old: &[Set]) -> i64 {
    old.iter().map(revision).max().unwrap_or(0) + 1
}

/// Annotations the new set is to have besides its own: those of the Deployment, and its place in the history.
pub(super) fn annotations(deployment: &Deployment, new: Option<&Set>, next: i64) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, String> = deployment.metadata.annotations.clone().unwrap_or_default();
    wanted.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let before = new.map_or(0, revision);
    if before < next {
        wanted.insert(REVISION.to_owned(), next.to_string());
        if let Some(history) = new.filter(|_| before > 0).and_then(|new| history(new, before)) {
            wanted.insert(HISTORY.to_owned(), history);
        }
    }
    wanted
}

/// The set's past revisions with `left` added; the oldest fall off. None when even that one does not fit.
fn history(set: &Set, left: i64) -> Option<String> {
    let left = left.to_string();
    let before = set.seen.annotation(HISTORY).unwrap_or_default();
    let mut past: Vec<&str> = before.split(',').filter(|revision| !revision.is_empty()).collect();
    past.push(&left);
    while past.iter().map(|revision| revision.len() + 1).sum::<usize>() > HISTORY_LIMIT {
        past.remove(0);
    }
    (!past.is_empty()).then(|| past.join(","))
}

/// The two sizes every scaled set notes, so that a later resize of the Deployment is noticed.
pub(super) fn sizes(deployment: &Deployment) -> [(String, String); 2] {
    let wanted = deployment.replicas();
    let max = wanted + Bounds::of(deployment).surge;
    [(DESIRED.to_owned(), wanted.to_string()), (MAX.to_owned(), max.to_string())]
}

/// Old sets beyond the history limit, lowest revision first; only those that are empty and settled.
pub(super) fn expired(deployment: &Deployment, old: &[Set]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
        return Vec::new();
    };
    let mut alive: Vec<&Set> =
        old.iter().filter(|set| set.seen.metadata.deletion_timestamp.is_none()).collect();
    alive.sort_by_key(|set| (revision(set), set.created()));
    let excess = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let settled = |set: &&&Set| {
        let seen = &set.seen;
        let unseen = seen.metadata.generation > seen.status.observed_generation;
        seen.status.replicas == 0 && seen.replicas() == 0 && set.replicas == 0 && !unseen
    };
    alive.iter().take(excess).filter(settled).map(|set| set.seen.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{HASH_LABEL, Template};
    use jiff::Timestamp;
    use serde_json::json;

    fn template(image: &str) -> Template {
        let template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}});
        serde_json::from_value(template).unwrap()
    }

    fn set(name: &str, age: i64, image: &str, notes: &[(&str, &str)]) -> Arc<ReplicaSet> {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some(name.into());
        set.metadata.creation_timestamp = Some(Timestamp::from_second(age).unwrap().into());
        set.metadata.annotations =
            Some(notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        set.spec.replicas = Some(0);
        set.spec.template = template(image).with_label(HASH_LABEL, name);
        Arc::new(set)
    }

    fn deployment(image: &str) -> Deployment {
        let mut deployment = Deployment::default();
        deployment.spec.template = template(image);
        deployment.spec.revision_history_limit = Some(1);
        deployment.metadata.annotations =
            Some([("team".to_owned(), "a".to_owned()), (REVISION.to_owned(), "9".to_owned())].into());
        deployment
    }

    #[test]
    fn rollback_takes_the_old_set_again() {
        let sets = [set("a", 1, "web:1", &[(REVISION, "1")]), set("b", 2, "web:2", &[(REVISION, "2")])];
        let deployment = deployment("web:1");
        let (new, old) = split(&deployment, &sets);
        let new = new.unwrap();
        assert_eq!(new.seen.name(), "a");
        assert_eq!(next(&old), 3);
        let wanted = annotations(&deployment, Some(&new), 3);
        assert_eq!(wanted[REVISION], "3");
        assert_eq!(wanted["team"], "a");
        assert!(!wanted.contains_key(DESIRED));
    }

    #[test]
    fn history_notes_past_revisions_and_drops_the_oldest() {
        let fits = vec!["1234567890"; 181].join(",");
        for (before, expected) in [
            ("", "4".to_owned()),
            ("1", "1,4".to_owned()),
            (fits.as_str(), format!("{fits},4")),
            (&format!("{fits},22,33,44"), format!("{},22,33,44,4", &fits[11..])),
        ] {
            let set = Set::of(set("a", 1, "web:1", &[(REVISION, "4"), (HISTORY, before)]));
            assert_eq!(annotations(&deployment("web:1"), Some(&set), 7)[HISTORY], expected);
        }
    }

    #[test]
    fn a_set_at_the_latest_revision_keeps_it() {
        let set = Set::of(set("a", 1, "web:1", &[(REVISION, "5")]));
        assert!(!annotations(&deployment("web:1"), Some(&set), 3).contains_key(REVISION));
    }

    #[test]
    fn only_settled_sets_beyond_the_limit_expire() {
        let busy = |name: &str, age| {
            let mut set = ReplicaSet::clone(&set(name, age, name, &[(REVISION, "1")]));
            set.status.replicas = 1;
            Arc::new(set)
        };
        let old = [
            busy("busy", 1),
            set("c", 3, "c", &[(REVISION, "7")]),
            set("a", 4, "a", &[(REVISION, "2")]),
            set("b", 2, "b", &[(REVISION, "3")]),
        ]
        .map(Set::of);
        let names: Vec<String> =
            expired(&deployment("web:1"), &old).iter().map(|set| set.name().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        let mut keeps_all = deployment("web:1");
        keeps_all.spec.revision_history_limit = None;
        assert!(expired(&keeps_all, &old).is_empty());
    }
}
