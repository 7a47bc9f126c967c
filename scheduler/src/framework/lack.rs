//! What a refused pod lacks, and what a change offers, in a form in which the one can be looked up by the other.
//!
//! Promise: a lookup never misses a pod that [`super::Plugin::helps`] would answer yes for; it may find others, which
//! `helps` then sorts out. So a change costs what it concerns, however many pods wait.

use super::{Change, Subject, Wakeup};
use crate::cache::NodeInfo;
use crate::pod::PodInfo;
use objects::labels::{Requirement, Selector};
use rustc_hash::FxHasher;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// What would have to come for a pod that a plugin refused, as far as it can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Any change of the kind may help.
    Anything,
    /// A change helps only if it offers one of these; none: no change of the kind ever helps.
    OneOf(Vec<Atom>),
    /// A change helps only if it concerns a node that has this room, or no node that is known.
    Space(Space),
}

/// Space that a pod lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Space {
    /// Pods of less than this priority do not count: they may be evicted.
    pub priority: i32,
    /// Thousandths of a core.
    pub milli_cpu: i64,
}

impl Space {
    /// What a pod needs; one that never preempts gets no room from others.
    pub fn needed_by(pod: &PodInfo) -> Self {
        let priority = if pod.never_preempts() { i32::MIN } else { pod.priority };
        Self { priority, milli_cpu: pod.requests.milli_cpu }
    }

    /// Thousandths of a core that are free on a node, or taken by pods of less than this priority. Never less than
    /// zero: a pod that asks for nothing fits a node that is more than full.
    pub(crate) fn on(node: &NodeInfo, priority: i32) -> i64 {
        let lower = node.pods.iter().filter(|pod| pod.priority < priority);
        let evictable: i64 = lower.map(|pod| pod.requests.milli_cpu).sum();
        (node.allocatable.milli_cpu - node.requested.milli_cpu + evictable).max(0)
    }
}

/// Something that a change shows and that a pod may wait for: a hash of what it is. Two things with one hash cost a
/// question that is answered no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Atom(u64);

impl Atom {
    fn of(kind: u8, what: impl Hash) -> Self {
        let mut hasher = FxHasher::default();
        (kind, what).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A pod with this label.
    pub fn pod_label(key: &str, value: &str) -> Self {
        Self::of(0, (key, value))
    }

    /// A pod that has a label of this key.
    pub fn pod_key(key: &str) -> Self {
        Self::of(1, key)
    }

    /// A pod that keeps others away.
    pub fn unwelcoming_pod() -> Self {
        Self::of(2, ())
    }

    /// A pod that has this host port.
    pub fn port(port: i32) -> Self {
        Self::of(3, port)
    }

    /// A node with this label.
    pub fn node_label(key: &str, value: &str) -> Self {
        Self::of(4, (key, value))
    }

    /// What a pod with these labels shows by them.
    pub(crate) fn shown_by_labels(labels: &BTreeMap<String, String>) -> Vec<Self> {
        let shown = labels.iter().flat_map(|(key, value)| [Self::pod_label(key, value), Self::pod_key(key)]);
        shown.collect()
    }

    /// What every pod shows of which the selector selects one; `None`: it cannot be told from the outside.
    pub fn of_selector(selector: &Selector) -> Option<Vec<Self>> {
        let of = |requirement: &Requirement| {
            let values: Vec<&str> = requirement.values().collect();
            // Only what needs the label to be there, and says which values will do.
            let needs = !requirement.holds(None);
            match values.as_slice() {
                _ if !needs => None,
                [] => Some(vec![Self::pod_key(requirement.key())]),
                several if several.iter().all(|value| requirement.holds(Some(value))) => {
                    Some(several.iter().map(|value| Self::pod_label(requirement.key(), value)).collect())
                }
                _ => Some(vec![Self::pod_key(requirement.key())]),
            }
        };
        selector.requirements().iter().filter_map(of).min_by_key(Vec::len)
    }
}

/// What a change offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer<'a> {
    /// Everything it shows; `None`: too much to tell, so that all who wait have to be asked.
    pub(crate) atoms: Option<Vec<Atom>>,
    /// The node that it is about; `None`: no node in particular.
    pub(crate) node: Option<&'a NodeInfo>,
}

impl<'a> Offer<'a> {
    pub(crate) fn of(change: &Change<'a>) -> Self {
        match change.subject {
            // What stopped being there is not to be seen in a pod that was relabelled.
            Subject::Pod(_) if change.kinds.contains(Wakeup::PodLabels) => {
                Self { atoms: None, node: change.at }
            }
            Subject::Pod(pod) => Self { atoms: Some(shown_by(pod)), node: change.at },
            Subject::Node { now, .. } => {
                let labels = now.labels().iter().map(|(key, value)| Atom::node_label(key, value));
                Self { atoms: Some(labels.collect()), node: Some(now) }
            }
            Subject::Own(_) | Subject::Related(_) | Subject::Other => Self::default(),
        }
    }
}

fn shown_by(pod: &PodInfo) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = pod.ports.iter().map(|port| Atom::port(port.port)).collect();
    atoms.extend(Atom::shown_by_labels(pod.labels()));
    if pod.terms().is_some_and(|terms| !terms.anti_affinity.is_empty()) {
        atoms.push(Atom::unwelcoming_pod());
    }
    atoms
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_a_selector_selects_shows_one_of_its_atoms() {
        for (selector, labels, selects) in [
            ("app=web", [("app", "web")].as_slice(), true),
            ("app in (web,db)", &[("app", "db")], true),
            ("app", &[("app", "any")], true),
            ("app notin (db),tier=front", &[("tier", "front")], true),
            ("n>3", &[("n", "4")], true),
            ("app=web", &[("app", "db")], false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            let labels: BTreeMap<String, String> =
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parsed.matches(&labels), selects, "{selector}");
            let wanted = Atom::of_selector(&parsed).unwrap();
            let shown =
                labels.iter().flat_map(|(key, value)| [Atom::pod_label(key, value), Atom::pod_key(key)]);
            assert_eq!(shown.into_iter().any(|atom| wanted.contains(&atom)), selects, "{selector}");
        }
        for open in ["", "app!=web", "!app"] {
            assert_eq!(Atom::of_selector(&open.parse().unwrap()), None, "{open:?}");
        }
    }
}
