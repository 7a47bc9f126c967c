//! What the nodes that fit are worth to a pod: kept scores, even spreading, pods it wants near or far.
//!
//! Promise: the same numbers as the plugins give, in the same arithmetic, so that ties are the same ties; of single nodes
//! or of groups that are worth the same ([`Places`]). Adds to the totals of [`Scratch`] and writes nothing else.

use super::across::{AcrossNodes, Rule};
use super::plan::{Across, Plan};
use super::shape::{Scaled, Shape};
use super::sums::{Sum, World};
use super::topology::{Domain, EMPTY, NOWHERE};
use crate::framework::MAX_NODE_SCORE;

/// Different raw scores for which the shares are worked out beforehand.
const SHARES_LIMIT: i64 = 1024;
/// What is there where the node has no label.
pub(super) const NO_LABEL: i64 = i64::MIN;
/// The raw score of a node that spreading does not compare.
const UNCOMPARED: i64 = i64::MIN;

/// What is compared: nodes, or groups of nodes.
pub(super) trait Places {
    /// How many nodes a place stands for.
    fn nodes(&self, place: usize) -> usize;
    /// The domain it is in; asked where domains are counted.
    fn domain(&self, sum: &Sum, column: usize, place: usize) -> Domain;
    /// What the sum has there, or [`NO_LABEL`]. `column` is the place of the sum among those of the rules.
    fn there(&self, sum: &Sum, column: usize, place: usize) -> i64;
}

/// All nodes, one by one.
pub(super) struct Nodes<'a> {
    pub(super) across: &'a AcrossNodes,
    pub(super) world: &'a World<'a>,
}

impl Places for Nodes<'_> {
    fn nodes(&self, _: usize) -> usize {
        1
    }

    fn domain(&self, sum: &Sum, _: usize, place: usize) -> Domain {
        self.world.topology.domains(sum.key())[place]
    }

    fn there(&self, sum: &Sum, column: usize, place: usize) -> i64 {
        match self.domain(sum, column, place) {
            NOWHERE => NO_LABEL,
            _ if self.across.counts_hosts(column) => sum.values()[place],
            domain => sum.at(domain),
        }
    }
}

/// Lists that are filled anew for each decision; kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The places that fit.
    pub(super) feasible: Vec<usize>,
    /// What each of those is worth.
    pub(super) totals: Vec<i64>,
    raw: Vec<i64>,
    /// What each rule finds in each place, rule by rule.
    there: Vec<i64>,
    seen: Vec<bool>,
    /// What each place counts against spreading; not a number where it is not compared.
    crowds: Vec<f64>,
    shares: Vec<i64>,
}

/// The kept scores of the feasible nodes.
pub(super) fn kept_scores(shape: &Shape, scratch: &mut Scratch) {
    let Scratch { feasible, totals, .. } = &mut *scratch;
    totals.clear();
    totals.extend(feasible.iter().map(|at| i64::from(shape.totals()[*at])));
    scaled_scores(shape, |scaled, _, at| scaled.at(at), scratch);
}

/// Adds the kept scores that are normalised by the greatest. `raw` answers the raw score of a place.
pub(super) fn scaled_scores(
    shape: &Shape,
    raw: impl Fn(&Scaled, usize, usize) -> i64,
    scratch: &mut Scratch,
) {
    let Scratch { feasible, totals, .. } = scratch;
    for (number, scaled) in shape.scaled.iter().enumerate().filter(|(_, scaled)| scaled.some > 0) {
        let max = feasible.iter().map(|place| raw(scaled, number, *place)).max().unwrap_or(0);
        let weight = i64::from(scaled.weight);
        for (total, place) in totals.iter_mut().zip(feasible.iter()) {
            let share = if max == 0 { 0 } else { raw(scaled, number, *place) * MAX_NODE_SCORE / max };
            *total += weight * if scaled.reverse { MAX_NODE_SCORE - share } else { share };
        }
    }
}

impl AcrossNodes {
    /// Adds what the rules say to the totals of the feasible places in `scratch`.
    pub(super) fn score(&self, plan: &Plan, places: &impl Places, world: &World<'_>, scratch: &mut Scratch) {
        for (_, kind, weight) in &plan.wishes {
            match kind {
                Across::Spread => self.score_spread(*weight, places, world, scratch),
                Across::Pods => self.score_wishes(*weight, places, scratch),
            }
        }
    }

    /// Even spreading, where it is preferred. Source: PodTopologySpread's score and its normalisation.
    #[expect(clippy::cast_precision_loss, reason = "upstream's arithmetic")]
    fn score_spread(&self, weight: i64, places: &impl Places, world: &World<'_>, scratch: &mut Scratch) {
        let rules = &self.resolved.rules;
        if rules.rather_spread.is_empty() {
            return;
        }
        let columns = || self.columns(|rule| matches!(rule, Rule::RatherSpread { .. }));
        let Scratch { feasible, totals, raw, there, seen, crowds, shares, .. } = scratch;
        gather(columns(), places, feasible, there);
        crowds.clear();
        crowds.resize(feasible.len(), 0.0);
        if rules.all_keys {
            for there in there.chunks(feasible.len().max(1)) {
                let without = crowds.iter_mut().zip(there).filter(|(_, there)| **there == NO_LABEL);
                without.for_each(|(crowd, _)| *crowd = f64::NAN);
            }
        }
        let compared = |crowds: &[f64]| {
            let compared = feasible.iter().zip(crowds).filter(|(_, crowd)| !crowd.is_nan());
            compared.map(|(place, _)| *place).collect::<Vec<_>>()
        };
        let compared = compared(crowds);
        let nodes: usize = compared.iter().map(|place| places.nodes(*place)).sum();
        let each = columns().zip(&rules.rather_spread).zip(there.chunks(feasible.len().max(1)));
        for (((column, sum), rule), there) in each {
            let domains = if rule.hosts {
                nodes
            } else {
                let domains = compared.iter().map(|place| places.domain(sum, column, *place));
                distinct(domains, seen, world.topology.size(rule.terms.key))
            };
            let (skew, factor) = ((rule.max_skew - 1) as f64, ((domains + 2) as f64).ln());
            for (crowd, there) in crowds.iter_mut().zip(there).filter(|(_, there)| **there != NO_LABEL) {
                *crowd += *there as f64 * factor + skew;
            }
        }
        let range = rounded(crowds, raw);
        add_evenness(weight, raw, range, totals, shares);
    }

    /// Pods it would like near, or far. Source: InterPodAffinity's score and its normalisation.
    fn score_wishes(&self, weight: i64, places: &impl Places, scratch: &mut Scratch) {
        let Scratch { feasible, totals, raw, .. } = scratch;
        raw.clear();
        raw.resize(feasible.len(), 0);
        for (column, sum) in self.columns(|rule| rule == Rule::Wish) {
            for (raw, place) in raw.iter_mut().zip(feasible.iter()) {
                let there = places.there(sum, column, *place);
                *raw += if there == NO_LABEL { 0 } else { there };
            }
        }
        let range = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
        // Most are worth the same as the one before.
        let mut last = (range.0, weight * share(range.0, range));
        for (total, raw) in totals.iter_mut().zip(raw.iter()) {
            if *raw != last.0 {
                last = (*raw, weight * share(*raw, range));
            }
            *total += last.1;
        }
    }
}

/// What each of the sums has in each of the places, sum by sum.
fn gather<'a>(
    columns: impl Iterator<Item = (usize, &'a Sum)>,
    places: &impl Places,
    feasible: &[usize],
    there: &mut Vec<i64>,
) {
    there.clear();
    for (column, sum) in columns {
        there.extend(feasible.iter().map(|place| places.there(sum, column, *place)));
    }
}

/// Rounds to whole numbers, halves upwards: the least and the most of them. What is not compared becomes
/// [`UNCOMPARED`].
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
fn rounded(crowds: &[f64], raw: &mut Vec<i64>) -> (i64, i64) {
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    raw.clear();
    raw.extend(crowds.iter().map(|crowd| {
        if crowd.is_nan() {
            return UNCOMPARED;
        }
        // Never negative, and quicker than a call of the library for each node.
        let whole = *crowd as i64;
        let score = whole + i64::from(crowd - whole as f64 >= 0.5);
        (least, most) = (least.min(score), most.max(score));
        score
    }));
    (least, most)
}

/// Adds to each total what its raw score is worth among the others: the fewer pods, the more.
fn add_evenness(
    weight: i64,
    raw: &[i64],
    (least, most): (i64, i64),
    totals: &mut [i64],
    shares: &mut Vec<i64>,
) {
    if most < least {
        return; // None is compared.
    }
    let share = |raw: i64| match most {
        0 => weight * MAX_NODE_SCORE,
        most => weight * (MAX_NODE_SCORE * (most + least - raw) / most),
    };
    let compared = totals.iter_mut().zip(raw).filter(|(_, raw)| **raw != UNCOMPARED);
    if most - least >= SHARES_LIMIT {
        return compared.for_each(|(total, raw)| *total += share(*raw));
    }
    // A division a score instead of one a node.
    shares.clear();
    shares.extend((least..=most).map(share));
    compared.for_each(|(total, raw)| *total += shares[usize::try_from(raw - least).unwrap_or(0)]);
}

/// Where a raw score stands between the least and the greatest, 0 to 100; 0 when they are equal.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
fn share(raw: i64, (least, most): (i64, i64)) -> i64 {
    if most == least {
        0
    } else {
        (MAX_NODE_SCORE as f64 * ((raw - least) as f64 / (most - least) as f64)) as i64
    }
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
