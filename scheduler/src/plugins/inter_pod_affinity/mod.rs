//! Keeps pods near to or away from other pods: refuses nodes by the required terms, the incoming pod's and those of
//! the pods that are there, and prefers nodes by the preferred ones.
//!
//! This is the plain definition: it walks the pods of all nodes for a pod that has terms, and those that have terms
//! themselves for one that has none.

mod filter;
mod places;
mod score;

use super::args::InterPodAffinityArgs;
use crate::framework::{Atom, Change, Filter, Lack, Plugin, Score, Subject, Wakeup};
use crate::pod::PodInfo;
use crate::terms::{Term, Terms};
use std::any::Any;

/// Upstream's InterPodAffinity.
#[derive(Debug)]
pub struct InterPodAffinity {
    /// What another pod's required affinity for the incoming pod is worth (upstream's hardPodAffinityWeight).
    pub required_weight: i64,
    /// Leave out the wishes of pods that are there already.
    pub ignore_preferred_of_others: bool,
}

impl InterPodAffinity {
    /// The plugin with these arguments.
    pub fn new(args: &InterPodAffinityArgs) -> Self {
        Self {
            required_weight: args.hard_pod_affinity_weight.into(),
            ignore_preferred_of_others: args.ignore_preferred_terms_of_existing_pods,
        }
    }
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self::new(&InterPodAffinityArgs::default())
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::PodAssigned,
            Wakeup::PodRemoved,
            Wakeup::PodLabels,
            Wakeup::NodeAdded,
            // Its pods are gone with it, those that kept others away among them.
            Wakeup::NodeDeleted,
            Wakeup::NodeLabels,
            Wakeup::OwnLabels,
            Wakeup::NamespaceLabels,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        let own = own_terms(pod);
        match change.subject {
            // Its labels may be what stopped matching, so a relabelled pod always counts.
            Subject::Pod(_) if change.kinds.contains(Wakeup::PodLabels) => true,
            Subject::Pod(other) => {
                let wanted =
                    !own.affinity.is_empty() && own.affinity.iter().all(|term| term.may_match(other));
                let unwanted = own.anti_affinity.iter().any(|term| term.may_match(other))
                    || own_terms(other).anti_affinity.iter().any(|term| term.may_match(pod));
                // That the last wanted pod leaves helps too: the first of its kind may then go anywhere.
                wanted || (unwanted && change.kinds.contains(Wakeup::PodRemoved))
            }
            Subject::Node { now, .. } => {
                own.affinity.iter().all(|term| now.labels().contains_key(&term.topology_key))
            }
            Subject::Own(_) | Subject::Related(_) | Subject::Other => true,
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn lacks(&self, pod: &PodInfo, kind: Wakeup) -> Lack {
        let own = own_terms(pod);
        // A pod is wanted if all terms mean it, so it can be found by any one of them.
        let wanted = || match own.affinity.iter().filter_map(Term::atoms).min_by_key(Vec::len) {
            None if own.affinity.is_empty() => Some(Vec::new()),
            atoms => atoms,
        };
        let atoms = match kind {
            Wakeup::PodAssigned => wanted(),
            Wakeup::PodRemoved => {
                let unwanted: Option<Vec<_>> = own.anti_affinity.iter().map(Term::atoms).collect();
                wanted().zip(unwanted).map(|(wanted, unwanted)| {
                    [wanted, unwanted.concat(), vec![Atom::unwelcoming_pod()]].concat()
                })
            }
            _ => None,
        };
        atoms.map_or(Lack::Anything, Lack::OneOf)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

/// The terms of a pod; empty ones if it has none.
fn own_terms(pod: &PodInfo) -> &Terms {
    static NONE: Terms = Terms {
        affinity: Vec::new(),
        anti_affinity: Vec::new(),
        preferred: Vec::new(),
        preferred_anti: Vec::new(),
    };
    pod.terms().unwrap_or(&NONE)
}

fn all_match(terms: &[Term], pod: &PodInfo, namespaces: &crate::terms::Namespaces) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, namespaces))
}

#[cfg(test)]
mod tests;
