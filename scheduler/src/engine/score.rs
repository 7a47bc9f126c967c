//! What the nodes that fit are worth to a pod: kept scores, even spreading, pods it wants near or far.
//!
//! Promise: the same numbers as the plugins give, in the same arithmetic, so that ties are the same ties. Adds to the
//! totals of [`Scratch`] and writes nothing else.

use super::AcrossNodes;
use super::plan::{Across, Plan};
use super::shape::Shape;
use super::sums::{Sum, World};
use super::topology::{Domain, EMPTY, KeyId, NOWHERE};
use crate::framework::MAX_NODE_SCORE;

/// Different raw scores for which the shares are worked out beforehand.
const SHARES_LIMIT: i64 = 1024;

/// Lists that are filled anew for each decision; kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The places of the nodes (or groups of nodes) that fit.
    pub(super) feasible: Vec<usize>,
    /// What each of those is worth.
    pub(super) totals: Vec<i64>,
    /// What each group is worth.
    pub(super) groups: Vec<i64>,
    raw: Vec<i64>,
    seen: Vec<bool>,
    /// What each of those counts against spreading; not a number where it is not compared.
    crowds: Vec<f64>,
    /// What a domain or a raw score is worth.
    worths: Vec<f64>,
    shares: Vec<i64>,
}

/// Sums up the kept scores of the feasible nodes.
pub(super) fn kept_scores(shape: &Shape, scratch: &mut Scratch) {
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

impl AcrossNodes {
    /// Adds what the rules say to the totals of the places in `scratch`. `domains` says where each place is.
    pub(super) fn score<'a>(
        &self,
        plan: &Plan,
        domains: impl Fn(KeyId) -> &'a [Domain],
        world: &World<'_>,
        scratch: &mut Scratch,
    ) {
        for (_, kind, weight) in &plan.wishes {
            match kind {
                Across::Spread => self.score_spread(*weight, &domains, world, scratch),
                Across::Pods => self.score_wishes(*weight, &domains, world, scratch),
            }
        }
    }

    /// Even spreading, where it is preferred. Source: PodTopologySpread's score and its normalisation.
    #[expect(clippy::cast_precision_loss, reason = "upstream's arithmetic")]
    fn score_spread<'a>(
        &self,
        weight: i64,
        domains: &impl Fn(KeyId) -> &'a [Domain],
        world: &World<'_>,
        scratch: &mut Scratch,
    ) {
        let rules = &self.resolved.rules;
        if rules.rather_spread.is_empty() {
            return;
        }
        let keys: Vec<&[Domain]> = rules.rather_spread.iter().map(|rule| domains(rule.terms.key)).collect();
        let Scratch { feasible, totals, raw, seen, crowds, worths, shares, .. } = scratch;
        let counted = |at: usize| !rules.all_keys || keys.iter().all(|domains| domains[at] != NOWHERE);
        crowds.clear();
        crowds.extend(feasible.iter().map(|at| if counted(*at) { 0.0 } else { f64::NAN }));
        let hosts = crowds.iter().filter(|crowd| !crowd.is_nan()).count();
        for ((rule, domains), sum) in rules.rather_spread.iter().zip(&keys).zip(&self.rather_spread) {
            let skew = (rule.max_skew - 1) as f64;
            if rule.hosts {
                let factor = ((hosts + 2) as f64).ln();
                for (crowd, at) in crowds.iter_mut().zip(feasible.iter()) {
                    if domains[*at] != NOWHERE {
                        *crowd += sum.values()[*at] as f64 * factor + skew;
                    }
                }
                continue;
            }
            let size = world.topology.size(rule.terms.key);
            let compared = feasible.iter().zip(crowds.iter()).filter(|(_, crowd)| !crowd.is_nan());
            let factor = ((distinct(compared.map(|(at, _)| domains[*at]), seen, size) + 2) as f64).ln();
            worths.clear();
            worths.extend((0..).take(size).map(|domain| match domain {
                NOWHERE => 0.0,
                domain => sum.at(domain) as f64 * factor + skew,
            }));
            for (crowd, at) in crowds.iter_mut().zip(feasible.iter()) {
                *crowd += worths[domains[*at] as usize];
            }
        }
        let range = rounded(crowds, raw);
        add_evenness(weight, raw, range, totals, shares);
    }

    /// Pods it would like near, or far. Source: InterPodAffinity's score and its normalisation.
    fn score_wishes<'a>(
        &self,
        weight: i64,
        domains: &impl Fn(KeyId) -> &'a [Domain],
        world: &World<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { feasible, totals, raw, seen, .. } = scratch;
        if let [sum] = self.wishes.as_slice() {
            // Nodes of one domain are worth the same: the arithmetic is done a domain.
            let domains = domains(sum.key());
            seen.clear();
            seen.resize(world.topology.size(sum.key()), false);
            feasible.iter().for_each(|at| seen[domains[*at] as usize] = true);
            raw.clear();
            raw.extend((0..).zip(seen.iter()).map(|(domain, _)| of_domain(sum, domain)));
            let there = || raw.iter().zip(seen.iter()).filter(|(_, seen)| **seen).map(|(raw, _)| *raw);
            let range = (there().min().unwrap_or(0), there().max().unwrap_or(0));
            // Most are worth the same as the one before.
            let mut last = (range.0, weight * share(range.0, range));
            for raw in raw.iter_mut() {
                if *raw != last.0 {
                    last = (*raw, weight * share(*raw, range));
                }
                *raw = last.1;
            }
            for (total, at) in totals.iter_mut().zip(feasible.iter()) {
                *total += raw[domains[*at] as usize];
            }
            return;
        }
        raw.clear();
        raw.resize(feasible.len(), 0);
        for sum in &self.wishes {
            let domains = domains(sum.key());
            for (raw, at) in raw.iter_mut().zip(feasible.iter()) {
                *raw += of_domain(sum, domains[*at]);
            }
        }
        let range = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
        for (total, raw) in totals.iter_mut().zip(raw.iter()) {
            *total += weight * share(*raw, range);
        }
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

/// The raw score of a node that spreading does not compare.
const UNCOMPARED: i64 = i64::MIN;

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

fn of_domain(sum: &Sum, domain: Domain) -> i64 {
    if domain == NOWHERE { 0 } else { sum.at(domain) }
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
