//! Whether an object is garbage, given a live look at it and at each of its owners. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::graph::{FOREGROUND, ORPHAN};

/// What a live look at an owner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there: the object is wanted.
    Solid,
    /// It is not there, or another object has taken its name.
    Gone,
    /// It is being deleted in the foreground: it waits for the object to go.
    Waiting,
}

impl Standing {
    /// The standing of an owner that was found with this metadata under the name in `reference`.
    pub(super) fn of(reference: &OwnerReference, found: Option<&ObjectMeta>) -> Self {
        match found {
            Some(owner) if owner.uid.as_ref() == Some(&reference.uid) => {
                let waits = owner.deletion_timestamp.is_some() && has(owner, FOREGROUND);
                if waits { Self::Waiting } else { Self::Solid }
            }
            _ => Self::Gone,
        }
    }
}

/// How an object is to be deleted; the names are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays as it is.
    Keep,
    /// It stays, without its references to these UIDs.
    Disown(Vec<String>),
    /// It goes. `unblock`: first say that it holds up no owner, or a circle of owners would wait for ever.
    Delete { how: Propagation, unblock: bool },
}

/// What is to be known of an object's dependents.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dependents {
    pub(super) any: bool,
    /// One of them is itself waiting for its dependents.
    pub(super) waiting: bool,
}

/// Decides on the object with metadata `latest`, whose owners stand as told.
pub(super) fn decide(
    latest: &ObjectMeta,
    owners: &[(&OwnerReference, Standing)],
    dependents: Dependents,
) -> Verdict {
    let with = |wanted: Standing| owners.iter().filter(move |(_, standing)| *standing == wanted);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if with(Standing::Solid).next().is_some() {
        let rest: Vec<String> =
            with(Standing::Gone).chain(with(Standing::Waiting)).map(|(owner, _)| owner.uid.clone()).collect();
        return if rest.is_empty() { Verdict::Keep } else { Verdict::Disown(rest) };
    }
    if with(Standing::Waiting).next().is_some() && dependents.any {
        return Verdict::Delete { how: Propagation::Foreground, unblock: dependents.waiting };
    }
    // Respect what whoever deleted it before asked for.
    let how = if has(latest, ORPHAN) {
        Propagation::Orphan
    } else if has(latest, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    Verdict::Delete { how, unblock: false }
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|found| found == finalizer)
}

#[cfg(test)]
mod tests {
    use super::Standing::{Gone, Solid, Waiting};
    use super::*;

    #[test]
    fn verdicts() {
        let none = Dependents::default();
        let some = Dependents { any: true, waiting: false };
        let circle = Dependents { any: true, waiting: true };
        let disown = |uids: &[&str]| Verdict::Disown(uids.iter().map(|uid| (*uid).to_owned()).collect());
        let delete = |how| Verdict::Delete { how, unblock: false };
        for (standings, finalizer, dependents, expected) in [
            (&[][..], "", none, Verdict::Keep),
            (&[Solid], "", none, Verdict::Keep),
            (&[Solid, Gone], "", none, disown(&["1"])),
            (&[Waiting, Solid, Gone], "", some, disown(&["2", "0"])),
            (&[Gone], "", none, delete(Propagation::Background)),
            (&[Gone, Gone], "", some, delete(Propagation::Background)),
            (&[Gone], ORPHAN, some, delete(Propagation::Orphan)),
            (&[Gone], FOREGROUND, some, delete(Propagation::Foreground)),
            (&[Waiting], "", none, delete(Propagation::Background)),
            (&[Waiting, Gone], "", some, delete(Propagation::Foreground)),
            (&[Waiting], "", circle, Verdict::Delete { how: Propagation::Foreground, unblock: true }),
        ] {
            let references: Vec<OwnerReference> = (0..standings.len())
                .map(|at| OwnerReference { uid: at.to_string(), ..OwnerReference::default() })
                .collect();
            let owners: Vec<_> = references.iter().zip(standings.iter().copied()).collect();
            let latest = ObjectMeta { finalizers: Some(vec![finalizer.to_owned()]), ..ObjectMeta::default() };
            assert_eq!(decide(&latest, &owners, dependents), expected, "{standings:?} {finalizer}");
        }
    }

    #[test]
    fn an_owner_with_another_uid_is_gone() {
        let reference = OwnerReference { uid: "a".into(), ..OwnerReference::default() };
        let meta = |uid: &str| ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() };
        assert_eq!(Standing::of(&reference, None), Gone);
        assert_eq!(Standing::of(&reference, Some(&meta("b"))), Gone);
        assert_eq!(Standing::of(&reference, Some(&meta("a"))), Solid);
        let mut going = meta("a");
        going.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        assert_eq!(Standing::of(&reference, Some(&going)), Solid);
        going.finalizers = Some(vec![FOREGROUND.into()]);
        assert_eq!(Standing::of(&reference, Some(&going)), Waiting);
    }
}
