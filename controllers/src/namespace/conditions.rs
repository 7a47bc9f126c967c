//! What a terminating Namespace says about the deletion of its content: five conditions, upstream's texts. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What one pass over a namespace's content found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Why discovery failed, for all or for some groups.
    pub(super) discovery: Option<String>,
    /// What went wrong while content was deleted.
    pub(super) failures: Vec<String>,
    /// Objects still there, by `plural.group`.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Objects still there, by the finalizer that holds them.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// Whether nothing is left and nothing went wrong.
    pub(super) fn clean(&self) -> bool {
        self.discovery.is_none() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

/// The namespace's status after a pass. Conditions of other kinds stay.
pub(super) fn status(before: &NamespaceStatus, findings: &Findings, now: Timestamp) -> NamespaceStatus {
    let mut status = before.clone();
    status.phase = Some("Terminating".to_owned());
    for (kind, found, failed_reason, fine_reason, fine) in rows(findings) {
        let (state, reason, message) = match found {
            Some(message) => ("True", failed_reason, message),
            None => ("False", fine_reason, fine.to_owned()),
        };
        set(&mut status, kind, state, reason, message, now);
    }
    status
}

type Row = (&'static str, Option<String>, &'static str, &'static str, &'static str);

fn rows(findings: &Findings) -> [Row; 5] {
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            findings.discovery.as_ref().map(|why| format!("Discovery failed for some groups, {why}")),
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            (!findings.failures.is_empty())
                .then(|| format!("Failed to delete all resource types, {}", listed(&findings.failures))),
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            counted(&findings.remaining, "Some resources are remaining: ", |resource, count| {
                format!("{resource} has {count} resource instances")
            }),
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            counted(
                &findings.finalizers,
                "Some content in the namespace has finalizers remaining: ",
                |finalizer, count| format!("{finalizer} in {count} resource instances"),
            ),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
}

fn listed(failures: &[String]) -> String {
    let mut sorted = failures.to_vec();
    sorted.sort();
    format!("{} remaining: {}", sorted.len(), sorted.join(", "))
}

fn counted(
    counts: &BTreeMap<String, usize>,
    prefix: &str,
    text: impl Fn(&str, usize) -> String,
) -> Option<String> {
    let parts: Vec<String> = counts.iter().map(|(name, count)| text(name, *count)).collect();
    (!parts.is_empty()).then(|| format!("{prefix}{}", parts.join(", ")))
}

fn set(status: &mut NamespaceStatus, kind: &str, state: &str, reason: &str, message: String, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let current = conditions.iter_mut().find(|condition| condition.type_ == kind);
    let wanted = NamespaceCondition {
        type_: kind.to_owned(),
        status: state.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    match current {
        None => conditions.push(wanted),
        Some(current) => {
            let transition = if current.status == wanted.status {
                current.last_transition_time.clone()
            } else {
                wanted.last_transition_time
            };
            *current = NamespaceCondition { last_transition_time: transition, ..wanted };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: &NamespaceStatus) -> Vec<(String, String)> {
        let conditions = status.conditions.iter().flatten().filter(|condition| condition.status == "True");
        conditions.map(|found| (found.reason.clone().unwrap(), found.message.clone().unwrap())).collect()
    }

    #[test]
    fn texts() {
        let now = Timestamp::UNIX_EPOCH;
        let status_clean = status(&NamespaceStatus::default(), &Findings::default(), now);
        assert_eq!(status_clean.phase.as_deref(), Some("Terminating"));
        assert_eq!(status_clean.conditions.as_ref().unwrap().len(), 5);
        assert_eq!(shown(&status_clean), []);
        let findings = Findings {
            remaining: [("pods.".to_owned(), 2), ("widgets.example.com".to_owned(), 1)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: vec!["b: no".into(), "a: no".into()],
            ..Findings::default()
        };
        let later = now + jiff::SignedDuration::from_secs(5);
        let held = status(&status_clean, &findings, later);
        let expected = [
            ("ContentDeletionFailed", "Failed to delete all resource types, 2 remaining: a: no, b: no"),
            (
                "SomeResourcesRemain",
                "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances",
            ),
            (
                "SomeFinalizersRemain",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ),
        ];
        assert_eq!(shown(&held), expected.map(|(reason, message)| (reason.to_owned(), message.to_owned())));
        let times: Vec<_> =
            held.conditions.iter().flatten().map(|found| found.last_transition_time.clone()).collect();
        assert_eq!(times.iter().filter(|time| **time == Some(Time(later))).count(), 3);
    }
}
