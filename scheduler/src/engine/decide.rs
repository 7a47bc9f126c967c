//! The decision itself, over what is kept: which nodes fit, which of them is best, or why none.
//!
//! Promise: follows [`crate::cycle::place`] step by step, ties and draws included. Pure but for the tables it is given.

use super::AcrossNodes;
use super::across::SpreadRule;
use super::groups::{Best, REFUSED};
use super::plan::{Across, Plan};
use super::score::{Scratch, kept_scores};
use super::shape::{FITS, Local, OUT, Shape};
use super::sums::{Sum, World};
use super::topology::{Domain, KeyId, NOWHERE};
use crate::cache::Snapshot;
use crate::cycle::{Placement, best};
use crate::failure::{Failure, Rejections};
use crate::framework::{Profile, Verdict, Why};
use crate::pod::PodInfo;
use component::random::Random;
use std::cmp::Ordering;
use std::sync::Arc;

/// By whom, for how long, and what.
type Said = (&'static str, fn(Why) -> Verdict, &'static str);

/// What the plugins that look across nodes say, as they say it.
const KINDS: [Said; 5] = [
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

/// What is to be decided, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) pod: &'a Arc<PodInfo>,
    pub(super) plan: &'a Plan,
    pub(super) profile: &'a Profile,
    pub(super) cluster: &'a Snapshot,
    /// Chooses between equally good nodes.
    pub(super) random: &'a Random,
}

/// Decides for a pod that nothing elsewhere concerns.
pub(super) fn alone(shape: &Shape, question: &Question<'_>, scratch: &mut Scratch) -> Decision {
    let Question { pod, cluster, random, .. } = *question;
    if cluster.promised_to(&pod.uid).is_some() {
        // What is kept counts the pod's own promise against it.
        return promised(question);
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
fn promised(question: &Question<'_>) -> Decision {
    let Question { pod, plan, profile, cluster, .. } = *question;
    let node = cluster.node(cluster.promised_to(&pod.uid)?)?;
    let local = Local::prepare(pod, plan, profile, cluster)?;
    let fits = local.ask_with_promised(pod, node, cluster).is_none();
    fits.then(|| Ok(Placement { node: node.name.clone(), feasible: 1 }))
}

fn placement(cluster: &Snapshot, at: usize, feasible: usize) -> Placement {
    Placement { node: cluster.nodes()[at].name.clone(), feasible }
}

/// Decides for a pod that pods elsewhere concern.
pub(super) fn across(
    shape: &Shape,
    across: &mut AcrossNodes,
    question: &Question<'_>,
    world: &World<'_>,
    scratch: &mut Scratch,
) -> Decision {
    let Question { pod, plan, cluster, random, .. } = *question;
    let refuses = !across.resolved.rules.refuse_nothing();
    if cluster.promised_to(&pod.uid).is_some() {
        // Promised pods would have to be added to the sums.
        return if refuses { None } else { promised(question) };
    }
    if refuses && cluster.has_promises() {
        return None;
    }
    let blocked = if refuses { across.blocked(world) } else { Vec::new() };
    if shape.scaled.iter().all(|scaled| scaled.some == 0) {
        let found = if across.groups.usable() {
            best_group(shape, across, &blocked, question, world, scratch)
        } else if across.resolved.rules.wish_nothing() {
            best_free(shape, &Free::new(&blocked, world), random)
        } else {
            None
        };
        if let Some((at, feasible)) = found {
            return Some(Ok(placement(cluster, at, feasible)));
        }
    }
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
            across.score(plan, |key| world.topology.domains(key), world, scratch);
            let at = scratch.feasible[best(&scratch.totals, random)];
            Some(Ok(placement(cluster, at, feasible)))
        }
    }
}

/// The best of the nodes that fit, weighed by group, and among how many; `None`: there is none.
fn best_group(
    shape: &Shape,
    across: &AcrossNodes,
    blocked: &[Blocked],
    question: &Question<'_>,
    world: &World<'_>,
    scratch: &mut Scratch,
) -> Option<(usize, usize)> {
    let groups = &across.groups;
    let refused = |group: usize| {
        blocked.iter().any(|blocked| blocked.domains[groups.domains(blocked.key)[group] as usize])
    };
    scratch.feasible.clear();
    scratch.feasible.extend((0..groups.len()).filter(|group| !refused(*group)));
    // Only what could be chosen is compared.
    scratch.feasible.retain(|group| groups.counts()[*group] > 0);
    let feasible = scratch.feasible.iter().map(|group| groups.counts()[*group]).sum();
    scratch.totals.clear();
    scratch.totals.resize(scratch.feasible.len(), 0);
    across.score(question.plan, |key| groups.domains(key), world, scratch);
    let Scratch { feasible: chosen, totals, groups: worths, .. } = scratch;
    worths.clear();
    worths.resize(groups.len(), REFUSED);
    chosen.iter().zip(totals.iter()).for_each(|(group, total)| worths[*group] = *total);
    let Best { total, ties } = groups.best(shape, worths);
    let draw = || usize::try_from(question.random.below(ties as u64)).unwrap_or(0);
    let nth = if ties > 1 { draw() } else { 0 };
    (feasible > 0).then(|| Some((groups.nth(shape, worths, total, nth)?, feasible)))?
}

/// The best of the nodes that fit by what is kept of them alone, and among how many; `None`: there is none.
fn best_free(shape: &Shape, free: &Free<'_>, random: &Random) -> Option<(usize, usize)> {
    let totals =
        || shape.totals().iter().enumerate().filter(move |(at, total)| **total != OUT && free.is(*at));
    let (mut feasible, mut best, mut ties) = (0, OUT, 0);
    for (_, total) in totals() {
        feasible += 1;
        match total.cmp(&best) {
            Ordering::Greater => (best, ties) = (*total, 1),
            Ordering::Equal => ties += 1,
            Ordering::Less => {}
        }
    }
    let nth = if ties > 1 { usize::try_from(random.below(ties)).unwrap_or(0) } else { 0 };
    let (at, _) = totals().filter(|(_, total)| **total == best).nth(nth)?;
    Some((at, feasible))
}

fn find_feasible(shape: &Shape, blocked: &[Blocked], world: &World<'_>, scratch: &mut Scratch) {
    let free = Free::new(blocked, world);
    let fits = shape.codes().iter().enumerate().filter(|(at, code)| **code == FITS && free.is(*at));
    scratch.feasible.clear();
    scratch.feasible.extend(fits.map(|(at, _)| at));
}

/// Which nodes are in no domain that some rule refuses.
struct Free<'a> {
    /// For each key: the domain of each node, and whether it is refused.
    keys: Vec<(&'a [Domain], &'a [bool])>,
}

impl<'a> Free<'a> {
    fn new(blocked: &'a [Blocked], world: &World<'a>) -> Self {
        let key = |blocked: &'a Blocked| (world.topology.domains(blocked.key), &*blocked.domains);
        Self { keys: blocked.iter().map(key).collect() }
    }

    fn is(&self, at: usize) -> bool {
        match self.keys.as_slice() {
            [(domains, refused)] => !refused[domains[at] as usize],
            keys => keys.iter().all(|(domains, refused)| !refused[domains[at] as usize]),
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
            for (domain, blocked) in (0..).zip(blocked.iter_mut()).skip(1) {
                *blocked |= !anywhere && sum.at(domain) <= 0;
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
        Rejections::from_codes(kinds, codes)
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
