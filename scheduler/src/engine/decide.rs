//! The decision itself, over what is kept: which nodes fit, which of them is best, or why none.
//!
//! Promise: follows [`crate::cycle::place`] step by step, ties and draws included. Pure but for the tables it is given.

use super::across::AcrossNodes;
use super::local::Local;
use super::plan::Plan;
use super::ranks;
use super::refuse::Limits;
use super::score::{Nodes, Places, Scratch, kept_scores, scaled_scores};
use super::shape::{FITS, Shape};
use super::sums::World;
use super::tables::At;
use crate::cache::Snapshot;
use crate::cycle::{Placement, best};
use crate::failure::Failure;
use crate::framework::Profile;
use crate::pod::PodInfo;
use component::random::Random;
use std::sync::Arc;

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

/// Decides for a pod that nothing elsewhere concerns, and whose scores are kept as they are.
pub(super) fn alone(shape: &Shape, question: &Question<'_>) -> Decision {
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
        feasible => {
            let (total, ties) = shape.best();
            let nth = draw(ties, random);
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
    let Question { pod, plan, cluster, .. } = *question;
    let refuses = !across.resolved.rules.refuse_nothing();
    if cluster.promised_to(&pod.uid).is_some() {
        // Promised pods would have to be added to the sums.
        return if refuses { None } else { promised(question) };
    }
    if refuses && cluster.has_promises() {
        return None;
    }
    let limits = refuses.then(|| across.limits());
    let best = if across.groups.usable() {
        best_group(shape, across, limits.as_ref(), question, world, scratch)
    } else {
        best_node(shape, across, limits.as_ref(), question, world, scratch)
    };
    Some(best.map(|(at, feasible)| placement(cluster, at, feasible)).ok_or_else(|| {
        let rejections = match &limits {
            None => shape.rejections(),
            Some(limits) => across.rejections(limits, shape, plan, world),
        };
        Failure::nothing_fits(rejections)
    }))
}

/// The best of the nodes that fit, weighed by group, and among how many; `None`: there is none.
fn best_group(
    shape: &Shape,
    across: &AcrossNodes,
    limits: Option<&Limits>,
    question: &Question<'_>,
    world: &World<'_>,
    scratch: &mut Scratch,
) -> Option<(usize, usize)> {
    let groups = &across.groups;
    let refused = |group: usize| limits.is_some_and(|limits| across.refuses(limits, groups, group));
    scratch.feasible.clear();
    scratch.feasible.extend(groups.places().filter(|group| !refused(*group)));
    scratch.totals.clear();
    scratch.totals.extend(scratch.feasible.iter().map(|group| groups.best(*group).0));
    scaled_scores(shape, |_, scaled, group| groups.scaled(group, scaled), scratch);
    across.score(question.plan, groups, world, scratch);
    let Scratch { feasible, totals, .. } = scratch;
    let best = *totals.iter().max()?;
    let tied = feasible.iter().zip(totals.iter()).filter(|(_, total)| **total == best);
    let lists: Vec<&[At]> = tied.map(|(group, _)| groups.best(*group).1).collect();
    let nth = draw(lists.iter().map(|list| list.len()).sum(), question.random);
    let nodes = feasible.iter().map(|group| groups.nodes(*group)).sum();
    Some((ranks::nth(&lists, nth)? as usize, nodes))
}

/// The same, node by node: where groups would be too many.
fn best_node(
    shape: &Shape,
    across: &AcrossNodes,
    limits: Option<&Limits>,
    question: &Question<'_>,
    world: &World<'_>,
    scratch: &mut Scratch,
) -> Option<(usize, usize)> {
    let nodes = Nodes { across, world };
    let refused = |at: usize| limits.is_some_and(|limits| across.refuses(limits, &nodes, at));
    let fits = shape.codes().iter().enumerate().filter(|(at, code)| **code == FITS && !refused(*at));
    scratch.feasible.clear();
    scratch.feasible.extend(fits.map(|(at, _)| at));
    if let [] | [_] = scratch.feasible.as_slice() {
        return scratch.feasible.first().map(|only| (*only, 1));
    }
    kept_scores(shape, scratch);
    across.score(question.plan, &nodes, world, scratch);
    Some((scratch.feasible[best(&scratch.totals, question.random)], scratch.feasible.len()))
}

/// Which of several equally good nodes.
fn draw(ties: usize, random: &Random) -> usize {
    if ties > 1 { usize::try_from(random.below(ties as u64)).unwrap_or(0) } else { 0 }
}
