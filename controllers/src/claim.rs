//! Who belongs to a workload: what it owns, what it should adopt, what it should let go.
//!
//! Upstream's `ControllerRefManager`: a controller reference decides; an orphan whose labels match is adopted,
//! an owned object whose labels stopped matching is released. Pure; the caller checks the owner live before it adopts.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use objects::owner;
use serde_json::{Value, json};

/// The candidates of one owner, sorted out.
#[derive(Debug)]
pub(crate) struct Claim<T> {
    /// Owned and matching: these count.
    pub(crate) owned: Vec<Arc<T>>,
    /// Orphans that match: these count once adopted.
    pub(crate) adopt: Vec<Arc<T>>,
    /// Owned, but the labels no longer match.
    pub(crate) release: Vec<Arc<T>>,
}

/// Sorts `candidates` for the owner with metadata `claimant`. A deleting owner neither adopts nor releases,
/// and a deleting orphan is left alone.
pub(crate) fn claim<T>(
    claimant: &ObjectMeta,
    candidates: impl IntoIterator<Item = Arc<T>>,
    meta: impl Fn(&T) -> &ObjectMeta,
    matches: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Claim<T> {
    let deleting = claimant.deletion_timestamp.is_some();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let none = BTreeMap::new();
    for candidate in candidates {
        let found = meta(&candidate);
        let fits = matches(found.labels.as_ref().unwrap_or(&none));
        match owner::controller_of(found) {
            Some(reference) if Some(&reference.uid) != claimant.uid.as_ref() => {}
            Some(_) if fits => claim.owned.push(candidate),
            Some(_) if !deleting => claim.release.push(candidate),
            None if fits && !deleting && found.deletion_timestamp.is_none() => claim.adopt.push(candidate),
            _ => {}
        }
    }
    claim
}

/// The strategic merge patch by which an owner takes `object`. The UID makes it fail on a namesake.
pub(crate) fn adoption(owner: &OwnerReference, object: &ObjectMeta) -> Value {
    json!({"metadata": {"uid": object.uid, "ownerReferences": [owner]}})
}

/// The strategic merge patch by which the owner with UID `owner` lets `object` go.
pub(crate) fn release(owner: &str, object: &ObjectMeta) -> Value {
    json!({"metadata": {"uid": object.uid, "ownerReferences": [{"$patch": "delete", "uid": owner}]}})
}

/// Whether a claim failed because its object is gone or another one by now: nothing is left to claim.
pub(crate) fn is_moot(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.is_not_found() || status.is_conflict() || status.is_invalid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(name: &str, owner: Option<&str>, label: &str, deleting: bool) -> Arc<ObjectMeta> {
        let reference = |uid: &str| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        Arc::new(ObjectMeta {
            name: Some(name.into()),
            uid: Some(name.into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: owner.map(|uid| vec![reference(uid)]),
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        })
    }

    fn names(metas: &[Arc<ObjectMeta>]) -> Vec<&str> {
        metas.iter().filter_map(|meta| meta.name.as_deref()).collect()
    }

    #[test]
    fn owned_adopted_released() {
        let candidates = [
            meta("mine", Some("me"), "web", false),
            meta("mine-going", Some("me"), "web", true),
            meta("relabelled", Some("me"), "db", false),
            meta("orphan", None, "web", false),
            meta("orphan-going", None, "web", true),
            meta("orphan-other", None, "db", false),
            meta("theirs", Some("them"), "web", false),
        ];
        for (deleting, adopt, release) in
            [(false, vec!["orphan"], vec!["relabelled"]), (true, vec![], vec![])]
        {
            let owner = meta("me", None, "", deleting);
            let fits = |labels: &BTreeMap<String, String>| labels.get("app").is_some_and(|app| app == "web");
            let claim = claim(&owner, candidates.clone(), |meta| meta, fits);
            assert_eq!(names(&claim.owned), ["mine", "mine-going"]);
            assert_eq!(names(&claim.adopt), adopt, "deleting: {deleting}");
            assert_eq!(names(&claim.release), release, "deleting: {deleting}");
        }
    }
}
