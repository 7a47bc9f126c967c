//! The preferred terms: each place gets the weights of the wishes that a pod there fulfils, or has about the
//! incoming pod; a node is worth the sum over its places.

use super::places::Places;
use super::{InterPodAffinity, own_terms};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{MAX_NODE_SCORE, NodeScore, Score};
use crate::pod::PodInfo;

impl Score for InterPodAffinity {
    /// `None` when no wish concerns the pod.
    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let own = own_terms(pod);
        let has_wishes = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
        if !has_wishes && self.ignore_preferred_of_others {
            return None;
        }
        let mut wishes = Wishes::default();
        for node in cluster.nodes() {
            // Pods without terms matter only to wishes of ours.
            let others = if has_wishes { &node.pods } else { &node.pods_with_terms };
            others.iter().for_each(|other| self.weigh(&mut wishes.places, pod, other, node, cluster));
        }
        (!wishes.places.is_empty()).then(|| Box::new(wishes) as Box<dyn NodeScore + 'a>)
    }
}

impl InterPodAffinity {
    fn weigh(
        &self,
        places: &mut Places,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        cluster: &Snapshot,
    ) {
        let namespaces = cluster.namespaces();
        let mut add = |terms: &[(crate::terms::Term, i64)], about: &PodInfo, sign: i64| {
            for (term, weight) in terms.iter().filter(|(term, _)| term.matches(about, namespaces)) {
                places.add(&term.topology_key, node, sign * weight);
            }
        };
        let (own, theirs) = (own_terms(pod), own_terms(other));
        add(&own.preferred, other, 1);
        add(&own.preferred_anti, other, -1);
        if !self.ignore_preferred_of_others {
            add(&theirs.preferred, pod, 1);
            add(&theirs.preferred_anti, pod, -1);
        }
        if self.required_weight > 0 {
            for term in theirs.affinity.iter().filter(|term| term.matches(pod, namespaces)) {
                places.add(&term.topology_key, node, self.required_weight);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Wishes {
    places: Places,
}

impl NodeScore for Wishes {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.places.keys().map(|key| self.places.at(key, node)).sum()
    }

    /// The least becomes 0 and the greatest 100; all 0 when they are equal.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
    fn normalise(&self, scores: &mut [i64], _: &[&NodeInfo]) {
        let least = scores.iter().copied().min().unwrap_or(0);
        let range = scores.iter().copied().max().unwrap_or(0) - least;
        for score in scores {
            let share = if range > 0 { (*score - least) as f64 / range as f64 } else { 0.0 };
            *score = (MAX_NODE_SCORE as f64 * share) as i64;
        }
    }
}
