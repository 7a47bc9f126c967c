//! Pods that an extender has a say about: they are decided one after the other, each in two steps around the question,
//! while all other pods go on being decided and bound.
//!
//! One after the other, because an extender knows of a choice only when it is asked to bind or sees the pod bound: two
//! questions at once would get the same answer. Between question and answer the cluster may have changed, so the node
//! is checked again, and asked about again if none of those left fits any more.

use super::{Effect, State};
use crate::cycle::{self, Checks, Placement};
use crate::extender::{Advice, Refused, names};
use crate::failure::{Failure, Rejection};
use crate::framework::{EXTENDER, Profile, Verdict};
use crate::pod::{NodeName, PodInfo, Uid};
use crate::queue::History;
use jiff::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Pods that wait for extenders.
#[derive(Debug, Default)]
pub(super) struct Extending {
    waiting: VecDeque<(Arc<PodInfo>, History)>,
    asking: Option<Asking>,
}

#[derive(Debug)]
struct Asking {
    pod: Arc<PodInfo>,
    history: History,
    about: About,
}

/// What extenders are asked.
#[derive(Debug)]
pub(super) enum About {
    /// Which node will do; what the plugins give each that was asked about.
    Node(Points),
    /// Who is to go for it; why it fits nowhere.
    Room(Failure),
}

type Points = FxHashMap<NodeName, i64>;

impl State {
    /// Puts a pod in line for the extenders.
    pub(super) fn ask_extenders(&mut self, pod: Arc<PodInfo>, history: History, now: Timestamp) {
        self.extending.waiting.push_back((pod, history));
        self.ask_next(now);
    }

    /// Whether no extender is being asked.
    pub(super) fn may_ask(&self) -> bool {
        self.extending.asking.is_none()
    }

    /// A question is on its way.
    pub(super) fn ask_about(&mut self, pod: Arc<PodInfo>, history: History, about: About) {
        self.extending.asking = Some(Asking { pod, history, about });
    }

    /// The question about this pod was answered.
    pub(super) fn answered(&mut self, uid: &Uid) -> Option<(History, About)> {
        let asking = self.extending.asking.take_if(|asking| asking.pod.uid == *uid)?;
        Some((asking.history, asking.about))
    }

    /// The extenders have said which nodes will do, or failed.
    pub(super) fn advised(&mut self, uid: &Uid, advice: Result<Advice, String>, now: Timestamp) {
        let Some((history, About::Node(points))) = self.answered(uid) else { return };
        // The pod as it is now; gone or bound by another meanwhile, it is not decided any more.
        if let Some(pod) = self.queue.in_flight(uid).cloned() {
            match advice {
                Ok(advice) if advice.fits.is_empty() => self.refused_by_extenders(pod, history, &advice, now),
                Ok(advice) => self.choose(pod, history, &points, &advice, now),
                Err(error) => self.broken(&pod, error, now),
            }
        }
        self.ask_next(now);
    }

    pub(super) fn ask_next(&mut self, now: Timestamp) {
        while self.may_ask() {
            let Some((pod, history)) = self.extending.waiting.pop_front() else { return };
            let Some(pod) = self.queue.in_flight(&pod.uid).cloned() else { continue };
            let profiles = self.profiles.clone();
            let Some(profile) = profiles.of(&pod) else { continue };
            let cluster = self.cache.snapshot();
            let found = self.metrics.decide(|| {
                if cluster.is_empty() {
                    return Err(Failure::no_nodes());
                }
                let checks = Checks::prepare(&pod, profile, cluster)?;
                let feasible = cycle::fitting(&pod, &checks, cluster)?;
                let points = cycle::score(&pod, profile, cluster, &feasible);
                Ok((names(&feasible), points))
            });
            match found {
                Err(failure) => self.unplaced(pod, history, failure, now),
                Ok((nodes, points)) => {
                    let points = nodes.iter().cloned().zip(points).collect();
                    if self.interests.concern(&pod) {
                        self.effects.push(Effect::Extend { pod: pod.clone(), nodes });
                        self.ask_about(pod, history, About::Node(points));
                    } else {
                        // Extenders would only have chosen its victims.
                        let fits = nodes.into_iter().map(|node| (node, 0)).collect();
                        let advice = Advice { fits, ..Advice::default() };
                        self.choose(pod, history, &points, &advice, now);
                    }
                }
            }
        }
    }

    /// The best of the nodes that are left and still fit.
    fn choose(
        &mut self,
        pod: Arc<PodInfo>,
        history: History,
        points: &Points,
        advice: &Advice,
        now: Timestamp,
    ) {
        let profiles = self.profiles.clone();
        let Some(profile) = profiles.of(&pod) else { return };
        let total = |(node, given): &(NodeName, i64)| points.get(node).copied().unwrap_or(0) + given;
        let mut ranked: Vec<(i64, u64, NodeName)> =
            advice.fits.iter().map(|fit| (total(fit), self.random.below(u64::MAX), fit.0.clone())).collect();
        ranked.sort_unstable_by(|one, other| other.cmp(one));
        let cluster = self.cache.snapshot();
        let chosen = Checks::prepare(&pod, profile, cluster).ok().and_then(|checks| {
            let fits = |node: &NodeName| {
                let node = cluster.node(node)?;
                (!checks.leaves_out(node) && checks.ask_with_nominated(&pod, node, cluster).is_none())
                    .then_some(())
            };
            ranked.into_iter().map(|(.., node)| node).find(|node| fits(node).is_some())
        });
        match chosen {
            Some(node) => {
                let placement = Placement { node: node.clone(), feasible: advice.fits.len() };
                let seen = (profile, self.cache.snapshot());
                self.decisions.placed(&pod, history, &placement, seen, now);
                self.commit(pod, node, now);
            }
            // All of them were taken meanwhile: from the start.
            None => self.extending.waiting.push_front((pod, history)),
        }
    }

    fn refused_by_extenders(&mut self, pod: Arc<PodInfo>, history: History, advice: &Advice, now: Timestamp) {
        let profiles = self.profiles.clone();
        let Some(profile) = profiles.of(&pod) else { return };
        let failure = self.failure_with(&pod, profile, &advice.refused);
        self.unplaced(pod, history, failure, now);
    }

    /// What each node said: a plugin, or else an extender.
    fn failure_with(&self, pod: &PodInfo, profile: &Profile, refused: &[Refused]) -> Failure {
        let cluster = self.cache.snapshot();
        let checks = match Checks::prepare(pod, profile, cluster) {
            Ok(checks) => checks,
            Err(failure) => return failure,
        };
        let rejection = |(at, node): (usize, &Arc<crate::cache::NodeInfo>)| {
            if let Some((plugin, verdict)) = checks.ask_with_nominated(pod, node, cluster) {
                return Some(Rejection { node: at, plugin, verdict });
            }
            let refused = refused.iter().find(|refused| refused.node == node.name)?;
            let why = refused.why.clone().into();
            let verdict = if refused.hopeless { Verdict::Never(why) } else { Verdict::Later(why) };
            Some(Rejection { node: at, plugin: EXTENDER, verdict })
        };
        let rejections = cluster.nodes().iter().enumerate().filter_map(rejection).collect();
        Failure::no_fit(cluster.len(), rejections, vec![EXTENDER])
    }
}
