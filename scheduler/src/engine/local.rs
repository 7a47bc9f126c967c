//! The plugins of a profile that look at one node at a time, prepared for one pod, and what they answer.
//!
//! Promise: a node is refused by the plugin that would refuse it first on the plain path, and scored as there; of many
//! nodes, each plugin is asked about all of them before the next one is, which is quicker and answers the same.

use super::plan::Plan;
use super::tables::At;
use crate::cache::{NodeInfo, Snapshot};
use crate::cycle::Checks;
use crate::framework::{ForPod, NodeCheck, NodeScore, Profile, Reads, Verdict};
use crate::pod::PodInfo;
use std::sync::Arc;

/// The plugins of a profile that look at one node at a time, ready for one shape.
pub(super) struct Local<'a> {
    checks: Vec<(&'static str, Box<dyn NodeCheck + 'a>)>,
    /// (what it asks, weight)
    scores: Vec<(Box<dyn NodeScore + 'a>, i32)>,
    /// For each of the shape's `scaled`.
    pub(super) scaled: Vec<Option<Box<dyn NodeScore + 'a>>>,
    pub(super) reads_images: bool,
}

/// The only nodes worth asking.
pub(super) struct Named<'a> {
    pub(super) names: Vec<&'a str>,
    /// Who says so.
    pub(super) by: Vec<&'static str>,
}

impl<'a> Local<'a> {
    /// `None`: one of them refuses the pod altogether or knows its nodes by name.
    pub(super) fn prepare(
        pod: &'a PodInfo,
        plan: &Plan,
        profile: &'a Profile,
        cluster: &'a Snapshot,
    ) -> Option<Self> {
        let (local, only) = Self::prepare_named(pod, plan, profile, cluster)?;
        only.is_none().then_some(local)
    }

    /// The same, with the only nodes worth asking, by name in order, and the plugins that said so.
    pub(super) fn prepare_named(
        pod: &'a PodInfo,
        plan: &Plan,
        profile: &'a Profile,
        cluster: &'a Snapshot,
    ) -> Option<(Self, Option<Named<'a>>)> {
        let enabled = profile.enabled();
        let mut named: Option<Named<'a>> = None;
        let mut local =
            Self { checks: Vec::new(), scores: Vec::new(), scaled: Vec::new(), reads_images: false };
        for at in &plan.filters {
            let filter = enabled[*at].plugin.filter()?;
            match filter.for_pod(pod, cluster) {
                ForPod::Nothing => {}
                ForPod::Check { check, only } => {
                    if let Some(mut names) = only {
                        names.sort_unstable();
                        names.dedup();
                        let named =
                            named.get_or_insert_with(|| Named { names: names.clone(), by: Vec::new() });
                        named.names.retain(|name| names.binary_search(name).is_ok());
                        named.by.push(filter.name());
                    }
                    local.checks.push((filter.name(), check));
                }
                ForPod::Refuse(_) => return None,
            }
        }
        for kept in &plan.scores {
            let plugin = &enabled[kept.plugin].plugin;
            let score = plugin.score()?.for_pod(pod, cluster, &[]);
            match (kept.by_max, score) {
                (Some(_), score) => local.scaled.push(score),
                (None, Some(score)) => {
                    local.reads_images |= plugin.reads() == Reads::NodeAndImages;
                    local.scores.push((score, kept.weight));
                }
                (None, None) => {}
            }
        }
        Some((local, named))
    }

    /// The checks alone.
    pub(super) fn into_checks(self) -> Checks<'a> {
        Checks::of(self.checks)
    }

    /// The first refusal, as the plain path has it.
    pub(super) fn ask(&self, node: &NodeInfo) -> Option<(&'static str, Verdict)> {
        self.checks.iter().find_map(|(name, check)| {
            let verdict = check.check(node);
            (!verdict.fits()).then_some((*name, verdict))
        })
    }

    /// The same, counting pods of at least this priority that were promised room there, but for the pod itself.
    pub(super) fn ask_with_promised(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        cluster: &Snapshot,
    ) -> Option<(&'static str, Verdict)> {
        let promised = cluster.nominated(&node.name).iter();
        self.ask_ahead(promised.filter(|other| other.priority >= pod.priority && other.uid != pod.uid), node)
    }

    /// The same for every pod without a promise that lets those from this priority on go before it; `None`: nobody.
    pub(super) fn ask_for_any(
        &self,
        before: Option<i32>,
        node: &NodeInfo,
        cluster: &Snapshot,
    ) -> Option<(&'static str, Verdict)> {
        let Some(least) = before else { return self.ask(node) };
        let promised = cluster.nominated(&node.name).iter();
        self.ask_ahead(promised.filter(|other| other.priority >= least), node)
    }

    fn ask_ahead<'p>(
        &self,
        ahead: impl Iterator<Item = &'p Arc<PodInfo>>,
        node: &NodeInfo,
    ) -> Option<(&'static str, Verdict)> {
        let mut ahead = ahead.peekable();
        if ahead.peek().is_some() {
            let mut trial = node.clone();
            ahead.for_each(|other| trial.add_pod(other.clone()));
            let refusal = self.ask(&trial);
            if refusal.is_some() {
                return refusal;
            }
        }
        self.ask(node)
    }

    /// Asks about several nodes, for pods without a promise where there is none: those that fit stay in `left`. Answers
    /// who refused each of the others, and why.
    pub(super) fn ask_each(
        &self,
        cluster: &Snapshot,
        left: &mut Vec<At>,
    ) -> Vec<(At, (&'static str, Verdict))> {
        let (mut refused, mut refusals) = (Vec::new(), Vec::new());
        for (name, check) in &self.checks {
            check.check_each(cluster, left, &mut refused);
            refusals.extend(refused.drain(..).map(|(at, verdict)| (at, (*name, verdict))));
        }
        refusals
    }

    /// The weighted sum of the scores that are kept as they are.
    pub(super) fn total(&self, node: &NodeInfo) -> i32 {
        self.scores.iter().map(|(score, weight)| weighted(score.score(node), *weight)).sum()
    }

    /// The same of several nodes, added to what they have. `scores` is for the moment.
    pub(super) fn add_totals(
        &self,
        cluster: &Snapshot,
        at: &[At],
        totals: &mut [i32],
        scores: &mut Vec<i64>,
    ) {
        for (score, weight) in &self.scores {
            scores.clear();
            score.score_each(cluster, at, scores);
            for (at, score) in at.iter().zip(scores.iter()) {
                totals[*at as usize] += weighted(*score, *weight);
            }
        }
    }
}

fn weighted(score: i64, weight: i32) -> i32 {
    i32::try_from(score).unwrap_or(0) * weight
}
