//! Inter-pod affinity terms, compiled once a pod: which pods a term means, and by which node label they are near.

use crate::framework::Atom;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use objects::labels::Selector;
use std::collections::BTreeMap;

/// The labels of every namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// All terms of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Must be near a pod of each.
    pub affinity: Vec<Term>,
    /// Must not be near a pod of any.
    pub anti_affinity: Vec<Term>,
    /// Would like to be near; with a positive weight.
    pub preferred: Vec<(Term, i64)>,
    /// Would rather not be near; with a positive weight.
    pub preferred_anti: Vec<(Term, i64)>,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The node label whose values are the places.
    pub topology_key: String,
    /// By their labels.
    selector: Selector,
    /// By the names of their namespaces,
    namespaces: Vec<String>,
    /// or the labels of these.
    namespace_selector: Selector,
}

impl Terms {
    /// The terms of a pod in `namespace`; `None` if it has none.
    pub(crate) fn new(
        affinity: Option<&Affinity>,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Box<Self>> {
        let affinity = affinity?;
        let required = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
            terms.into_iter().flatten().map(|term| Term::new(term, namespace, labels)).collect()
        };
        let preferred = |terms: Option<&Vec<WeightedPodAffinityTerm>>| -> Vec<(Term, i64)> {
            let weighted = |term: &WeightedPodAffinityTerm| {
                (Term::new(&term.pod_affinity_term, namespace, labels), i64::from(term.weight))
            };
            terms.into_iter().flatten().map(weighted).collect()
        };
        let (near, far) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let terms = Self {
            affinity: required(
                near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            anti_affinity: required(
                far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred: preferred(
                near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred_anti: preferred(
                far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref()),
            ),
        };
        (terms != Self::default()).then(|| Box::new(terms))
    }
}

/// The selector of a term with the pod's own values of `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633). Upstream's
/// API server writes them into the selector; saying it twice does no harm.
fn with_own_labels(term: &PodAffinityTerm, labels: &BTreeMap<String, String>) -> Option<LabelSelector> {
    let mut selector = term.label_selector.clone()?;
    let keys = [("In", &term.match_label_keys), ("NotIn", &term.mismatch_label_keys)];
    for (operator, key) in
        keys.iter().flat_map(|(operator, keys)| keys.iter().flatten().map(move |key| (operator, key)))
    {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: (*operator).to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    Some(selector)
}

impl Term {
    fn new(term: &PodAffinityTerm, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let parse = |selector| Selector::from_optional(selector).unwrap_or_else(|_| Selector::nothing());
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: parse(with_own_labels(term, labels).as_ref()),
            namespaces,
            namespace_selector: parse(term.namespace_selector.as_ref()),
        }
    }

    /// True when the term means this pod.
    pub fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        self.matches_labels(pod.namespace(), pod.labels(), namespaces)
    }

    /// True when the term means pods with these labels in this namespace.
    pub fn matches_labels(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        namespaces: &Namespaces,
    ) -> bool {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        let by_name = || self.namespaces.iter().any(|named| named == namespace);
        let by_labels = || {
            !self.namespace_selector.is_nothing()
                && self.namespace_selector.matches(namespaces.get(namespace).unwrap_or(&NO_LABELS))
        };
        (by_name() || by_labels()) && self.selector.matches(labels)
    }

    /// The only namespaces whose pods it can mean; `None`: that depends on their labels.
    pub fn named_namespaces(&self) -> Option<&[String]> {
        self.namespace_selector.is_nothing().then_some(self.namespaces.as_slice())
    }

    /// What every pod shows one of that the term means; `None`: it cannot be told from the outside.
    pub fn atoms(&self) -> Option<Vec<Atom>> {
        Atom::of_selector(&self.selector)
    }

    /// The same without looking at the labels of namespaces: false only when it certainly does not.
    pub fn may_match(&self, pod: &PodInfo) -> bool {
        let by_name = self.namespaces.iter().any(|namespace| namespace == pod.namespace());
        (by_name || !self.namespace_selector.is_nothing()) && self.selector.matches(pod.labels())
    }
}
