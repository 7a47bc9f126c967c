//! The required terms: where pods are that the incoming pod has to be near to or away from, and where pods are that
//! do not want it near.

use super::places::Places;
use super::{InterPodAffinity, all_match, own_terms};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Filter, ForPod, NodeCheck, Verdict};
use crate::pod::PodInfo;
use crate::terms::Namespaces;

impl Filter for InterPodAffinity {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let own = own_terms(pod);
        let mut check = Check::new(pod, cluster.namespaces());
        let has_terms = !own.affinity.is_empty() || !own.anti_affinity.is_empty();
        for node in cluster.nodes() {
            // Pods without terms matter only to terms of ours.
            let others = if has_terms { &node.pods } else { &node.pods_with_terms };
            others.iter().for_each(|other| check.count(other, node, 1));
        }
        if !has_terms && check.unwelcome.is_empty() {
            return ForPod::Nothing;
        }
        ForPod::check(check)
    }
}

#[derive(Clone, Debug)]
struct Check<'a> {
    pod: &'a PodInfo,
    namespaces: &'a Namespaces,
    /// Pods that match all affinity terms of the incoming pod.
    wanted: Places,
    /// Pods that match an anti-affinity term of the incoming pod.
    unwanted: Places,
    /// Pods with an anti-affinity term that matches the incoming pod.
    unwelcome: Places,
}

impl<'a> Check<'a> {
    fn new(pod: &'a PodInfo, namespaces: &'a Namespaces) -> Self {
        let (wanted, unwanted, unwelcome) = Default::default();
        Self { pod, namespaces, wanted, unwanted, unwelcome }
    }

    /// Counts another pod on a node in, or out.
    fn count(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        let own = own_terms(self.pod);
        if all_match(&own.affinity, other, self.namespaces) {
            own.affinity.iter().for_each(|term| self.wanted.add(&term.topology_key, node, by));
        }
        for term in own.anti_affinity.iter().filter(|term| term.matches(other, self.namespaces)) {
            self.unwanted.add(&term.topology_key, node, by);
        }
        let theirs = own_terms(other).anti_affinity.iter();
        for term in theirs.filter(|term| term.matches(self.pod, self.namespaces)) {
            self.unwelcome.add(&term.topology_key, node, by);
        }
    }

    fn is_near_wanted(&self, node: &NodeInfo) -> bool {
        let terms = &own_terms(self.pod).affinity;
        if terms.iter().any(|term| !node.labels().contains_key(&term.topology_key)) {
            return false;
        }
        let near = terms.iter().all(|term| self.wanted.at(&term.topology_key, node) > 0);
        // The first of a group that wants to be together may go anywhere, or none would ever start.
        near || (self.wanted.is_empty() && all_match(terms, self.pod, self.namespaces))
    }
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        let own = own_terms(self.pod);
        if !self.is_near_wanted(node) {
            return Verdict::Never("node(s) didn't match pod affinity rules".into());
        }
        if own.anti_affinity.iter().any(|term| self.unwanted.at(&term.topology_key, node) > 0) {
            return Verdict::Later("node(s) didn't match pod anti-affinity rules".into());
        }
        if self.unwelcome.keys().any(|key| self.unwelcome.at(key, node) > 0) {
            return Verdict::Later("node(s) didn't satisfy existing pods anti-affinity rules".into());
        }
        Verdict::Fits
    }

    fn fork(&self) -> Option<Box<dyn NodeCheck + '_>> {
        Some(Box::new(self.clone()))
    }

    fn pod_added(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count(pod, node, 1);
    }

    fn pod_removed(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count(pod, node, -1);
    }
}
