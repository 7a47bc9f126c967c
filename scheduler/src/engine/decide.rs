//! The decision itself, over what is kept: which nodes fit, which of them is best, or why none.
//!
//! Promise: follows [`crate::cycle::place`] step by step, ties and draws included. Pure but for the tables it is given.

use super::AcrossNodes;
use super::across::SpreadRule;
use super::plan::{Across, Plan};
use super::shape::{FITS, Local, Shape};
use super::sums::{Sum, World};
use super::topology::{Domain, EMPTY, KeyId, NOWHERE};
use crate::cache::Snapshot;
use crate::cycle::{Placement, best};
use crate::failure::{Failure, Rejections};
use crate::framework::{MAX_NODE_SCORE, Profile, Verdict, Why};
use crate::pod::PodInfo;
use component::random::Random;
use std::sync::Arc;

/// What the plugins that look across nodes say, as they say it.
const KINDS: [(&str, fn(Why) -> Verdict, &str); 5] = [
    (
        "PodTopologySpread",
        Verdict::Never,
        "node(s) didn't match pod topology spread constraints (missing required label)",
    ),
    ("PodTopologySpread", Verdict::Later, "node(s) didn't match pod topology spread constraints"),
    ("InterPodAffinity", Verdict::Never, "node(s) didn't match pod affinity rules"),
    ("InterPodAffinity", Verdict::Later, "node(s) didn't match pod anti-affinity rules"),
    ("InterPodAffinity", Verdict::Later, "node(s) didn't satisfy existing pods anti-affinity rules"),
];
const NO_LABEL: usize = 0;
const NOT_SPREAD: usize = 1;
const NOT_NEAR: usize = 2;
const TOO_NEAR: usize = 3;
const UNWELCOME: usize = 4;

type Decision = Option<Result<Placement, Failure>>;

/// Lists that are filled anew for each decision; kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    feasible: Vec<usize>,
    totals: Vec<i64>,
    raw: Vec<i64>,
    seen: Vec<bool>,
}

/// Decides for a pod that nothing elsewhere concerns.
pub(super) fn alone(
    shape: &mut Shape,
    pod: &Arc<PodInfo>,
    plan: &Plan,
    profile: &Profile,
    cluster: &Snapshot,
    random: &Random,
    scratch: &mut Scratch,
) -> Decision {
    if cluster.promised_to(&pod.uid).is_some() {
        // What is kept counts the pod's own promise against it.
        return promised(pod, plan, profile, cluster);
    }
    match shape.feasible() {
        0 => Some(Err(Failure::nothing_fits(shape.rejections()))),
        1 => {
            let at = shape.codes().iter().position(|code| *code == FITS)?;
            Some(Ok(placement(cluster, at, 1)))
        }
        feasible if shape.scaled.iter().any(|scaled| scaled.some > 0) => {
            scratch.feasible.clear();
            let fits = shape.codes().iter().enumerate().filter(|(_, code)| **code == FITS);
            scratch.feasible.extend(fits.map(|(at, _)| at));
            kept_scores(shape, scratch);
            let at = scratch.feasible[best(&scratch.totals, random)];
            Some(Ok(placement(cluster, at, feasible)))
        }
        feasible => {
            let (total, ties) = shape.best();
            let nth = if ties > 1 { usize::try_from(random.below(ties as u64)).unwrap_or(0) } else { 0 };
            Some(Ok(placement(cluster, shape.nth_with(total, nth)?, feasible)))
        }
    }
}

/// A pod with a promise goes there if it fits; otherwise the plain path looks at the others.
fn promised(pod: &Arc<PodInfo>, plan: &Plan, profile: &Profile, cluster: &Snapshot) -> Decision {
    let node = cluster.node(cluster.promised_to(&pod.uid)?)?;
    let local = Local::prepare(pod, plan, profile, cluster)?;
    let fits = local.ask_with_promised(pod, node, cluster).is_none();
    fits.then(|| Ok(Placement { node: node.name.clone(), feasible: 1 }))
}

fn placement(cluster: &Snapshot, at: usize, feasible: usize) -> Placement {
    Placement { node: cluster.nodes()[at].name.clone(), feasible }
}

/// Sums up the kept scores of the feasible nodes.
fn kept_scores(shape: &Shape, scratch: &mut Scratch) {
    let Scratch { feasible, totals, .. } = scratch;
    totals.clear();
    totals.extend(feasible.iter().map(|at| i64::from(shape.totals()[*at])));
    for scaled in shape.scaled.iter().filter(|scaled| scaled.some > 0) {
        let max = feasible.iter().map(|at| scaled.raw[*at]).max().unwrap_or(0);
        let weight = i64::from(scaled.weight);
        for (total, at) in totals.iter_mut().zip(feasible.iter()) {
            let share = if max == 0 { 0 } else { scaled.raw[*at] * MAX_NODE_SCORE / max };
            *total += weight * if scaled.reverse { MAX_NODE_SCORE - share } else { share };
        }
    }
}

/// Decides for a pod that pods elsewhere concern.
pub(super) fn across(
    shape: &mut Shape,
    across: &mut AcrossNodes,
    pod: &Arc<PodInfo>,
    plan: &Plan,
    profile: &Profile,
    world: &World<'_>,
    random: &Random,
    scratch: &mut Scratch,
) -> Decision {
    let refuses = !across.resolved.rules.refuse_nothing();
    let cluster = world.cluster;
    if cluster.promised_to(&pod.uid).is_some() {
        // Promised pods would have to be added to the sums.
        return if refuses { None } else { promised(pod, plan, profile, cluster) };
    }
    if refuses && cluster.has_promises() {
        return None;
    }
    let blocked = if refuses { across.blocked(world) } else { Vec::new() };
    find_feasible(shape, &blocked, world, scratch);
    match scratch.feasible.as_slice() {
        [] => {
            let rejections = match blocked.as_slice() {
                [] => shape.rejections(),
                _ => across.rejections(shape, plan, world),
            };
            Some(Err(Failure::nothing_fits(rejections)))
        }
        [only] => Some(Ok(placement(cluster, *only, 1))),
        several => {
            let feasible = several.len();
            kept_scores(shape, scratch);
            for (_, kind, weight) in &plan.wishes {
                match kind {
                    Across::Spread => across.score_spread(*weight, world, scratch),
                    Across::Pods => across.score_wishes(*weight, world, scratch),
                }
            }
            let at = scratch.feasible[best(&scratch.totals, random)];
            Some(Ok(placement(cluster, at, feasible)))
        }
    }
}

fn find_feasible(shape: &Shape, blocked: &[Blocked], world: &World<'_>, scratch: &mut Scratch) {
    let feasible = &mut scratch.feasible;
    feasible.clear();
    let fits = shape.codes().iter().enumerate().filter(|(_, code)| **code == FITS).map(|(at, _)| at);
    match blocked {
        [] => feasible.extend(fits),
        [one] => {
            let domains = world.topology.domains(one.key);
            feasible.extend(fits.filter(|at| !one.domains[domains[*at] as usize]));
        }
        several => {
            let all: Vec<_> = several
                .iter()
                .map(|blocked| (world.topology.domains(blocked.key), &blocked.domains))
                .collect();
            let free = |at: &usize| !all.iter().any(|(domains, blocked)| blocked[domains[*at] as usize]);
            feasible.extend(fits.filter(free));
        }
    }
}

/// The domains of a key that some rule refuses.
#[derive(Debug)]
struct Blocked {
    key: KeyId,
    domains: Vec<bool>,
}

impl AcrossNodes {
    fn blocked(&mut self, world: &World<'_>) -> Vec<Blocked> {
        let mut all: Vec<Blocked> = Vec::new();
        for (sum, rule) in self.spread.iter_mut().zip(&self.resolved.rules.spread) {
            let most = most(sum, rule);
            let blocked = of_key(&mut all, sum.key(), world);
            blocked[NOWHERE as usize] = true;
            for (blocked, there) in blocked.iter_mut().zip(sum.all()) {
                *blocked |= *there > most;
            }
            // Domains that no counted node is in have none.
            if most < 0 {
                blocked.iter_mut().skip(sum.all().len()).for_each(|blocked| *blocked = true);
            }
        }
        let anywhere = self.may_go_anywhere();
        for sum in &self.near {
            let blocked = of_key(&mut all, sum.key(), world);
            blocked[NOWHERE as usize] = true;
            for domain in 1..blocked.len() {
                blocked[domain] |= !anywhere && sum.at(domain as Domain) <= 0;
            }
        }
        for sum in self.far.iter().chain(&self.unwelcome) {
            let blocked = of_key(&mut all, sum.key(), world);
            for (blocked, there) in blocked.iter_mut().zip(sum.all()).skip(1) {
                *blocked |= *there > 0;
            }
        }
        all
    }

    /// The first of a group that wants to be together may go anywhere.
    fn may_go_anywhere(&self) -> bool {
        self.resolved.rules.near_itself && self.near.iter().all(Sum::is_empty)
    }

    /// What every node says, as the plain path does: the kept checks first, then these in the profile's order.
    fn rejections(&mut self, shape: &Shape, plan: &Plan, world: &World<'_>) -> Rejections {
        let most: Vec<i64> = self
            .spread
            .iter_mut()
            .zip(&self.resolved.rules.spread)
            .map(|(sum, rule)| most(sum, rule))
            .collect();
        let anywhere = self.may_go_anywhere();
        let (mut kinds, codes) = shape.told();
        let first = kinds.len() + 1;
        kinds.extend(KINDS.map(|(plugin, kind, text)| (plugin, kind(text.into()))));
        let here = |at: usize| {
            plan.across.iter().find_map(|(_, kind)| match kind {
                Across::Spread => self.spread_refusal(at, &most, world),
                Across::Pods => self.pods_refusal(at, anywhere, world),
            })
        };
        let code = |(at, code): (usize, &u16)| match *code {
            FITS => here(at).map_or(FITS, |kind| u16::try_from(first + kind).unwrap_or(FITS)),
            code => code,
        };
        let codes: Vec<u16> = codes.iter().enumerate().map(code).collect();
        Rejections::from_codes(kinds, codes.into_iter())
    }

    /// A place in [`KINDS`].
    fn spread_refusal(&self, at: usize, most: &[i64], world: &World<'_>) -> Option<usize> {
        self.spread.iter().zip(most).find_map(|(sum, most)| match world.topology.domains(sum.key())[at] {
            NOWHERE => Some(NO_LABEL),
            domain => (sum.at(domain) > *most).then_some(NOT_SPREAD),
        })
    }

    /// The same of pods near pods.
    fn pods_refusal(&self, at: usize, anywhere: bool, world: &World<'_>) -> Option<usize> {
        let domain = |sum: &Sum| world.topology.domains(sum.key())[at];
        let is_there = |sum: &Sum| domain(sum) != NOWHERE && sum.at(domain(sum)) > 0;
        let near = self.near.iter().all(|sum| domain(sum) != NOWHERE)
            && (anywhere || self.near.iter().all(is_there));
        if !near {
            return Some(NOT_NEAR);
        }
        if self.far.iter().any(is_there) {
            return Some(TOO_NEAR);
        }
        self.unwelcome.iter().any(is_there).then_some(UNWELCOME)
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
    fn score_spread(&self, weight: i64, world: &World<'_>, scratch: &mut Scratch) {
        let rules = &self.resolved.rules;
        if rules.rather_spread.is_empty() {
            return;
        }
        let keys: Vec<&[Domain]> =
            rules.rather_spread.iter().map(|rule| world.topology.domains(rule.terms.key)).collect();
        let counted = |at: usize| !rules.all_keys || keys.iter().all(|domains| domains[at] != NOWHERE);
        let Scratch { feasible, totals, raw, seen } = scratch;
        let weights: Vec<f64> = rules
            .rather_spread
            .iter()
            .zip(&keys)
            .map(|(rule, domains)| {
                let scored = feasible.iter().filter(|at| counted(**at));
                let size = if rule.hosts {
                    scored.count()
                } else {
                    distinct(scored.map(|at| domains[*at]), seen, world.topology.size(rule.terms.key))
                };
                ((size + 2) as f64).ln()
            })
            .collect();
        raw.clear();
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for at in feasible.iter().copied() {
            if !counted(at) {
                raw.push(i64::MIN);
                continue;
            }
            let mut score = 0.0;
            for (number, rule) in rules.rather_spread.iter().enumerate() {
                let domain = keys[number][at];
                if domain == NOWHERE {
                    continue;
                }
                let sum = &self.rather_spread[number];
                let count = if rule.hosts { sum.values()[at] } else { sum.at(domain) };
                score += count as f64 * weights[number] + (rule.max_skew - 1) as f64;
            }
            let score = score.round() as i64;
            least = least.min(score);
            most = most.max(score);
            raw.push(score);
        }
        for (total, raw) in totals.iter_mut().zip(raw.iter()) {
            *total += weight
                * match most {
                    _ if *raw == i64::MIN => 0,
                    0 => MAX_NODE_SCORE,
                    most => MAX_NODE_SCORE * (most + least - raw) / most,
                };
        }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
    fn score_wishes(&self, weight: i64, world: &World<'_>, scratch: &mut Scratch) {
        let Scratch { feasible, totals, raw, .. } = scratch;
        raw.clear();
        raw.resize(feasible.len(), 0);
        for sum in &self.wishes {
            let domains = world.topology.domains(sum.key());
            for (raw, at) in raw.iter_mut().zip(feasible.iter()) {
                let domain = domains[*at];
                *raw += if domain == NOWHERE { 0 } else { sum.at(domain) };
            }
        }
        let least = raw.iter().copied().min().unwrap_or(0);
        let range = raw.iter().copied().max().unwrap_or(0) - least;
        if range > 0 {
            for (total, raw) in totals.iter_mut().zip(raw.iter()) {
                let share = (*raw - least) as f64 / range as f64;
                *total += weight * (MAX_NODE_SCORE as f64 * share) as i64;
            }
        }
    }
}

/// The most pods that a domain may have for one more to fit.
fn most(sum: &mut Sum, rule: &SpreadRule) -> i64 {
    let (domains, least) = sum.range();
    let least = if domains < rule.min_domains { 0 } else { least };
    rule.max_skew + least - rule.own
}

fn of_key<'a>(all: &'a mut Vec<Blocked>, key: KeyId, world: &World<'_>) -> &'a mut Vec<bool> {
    let known = all.iter().position(|blocked| blocked.key == key);
    let at = known.unwrap_or_else(|| {
        all.push(Blocked { key, domains: vec![false; world.topology.size(key)] });
        all.len() - 1
    });
    &mut all[at].domains
}

/// How many different domains; nodes without the label are in one together with those whose label is empty.
fn distinct(domains: impl Iterator<Item = Domain>, seen: &mut Vec<bool>, size: usize) -> usize {
    seen.clear();
    seen.resize(size, false);
    let mut count = 0;
    for domain in domains {
        let domain = if domain == NOWHERE { EMPTY } else { domain } as usize;
        count += usize::from(!seen[domain]);
        seen[domain] = true;
    }
    count
}
