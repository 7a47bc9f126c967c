//! What rules refuse: groups and nodes that may not be chosen for what pods elsewhere are like, and what they say then.
//!
//! Promise: refuses as the plugins do, and says it in their words and their order. Pure.

use super::across::{AcrossNodes, Rule, SpreadRule};
use super::plan::{Across, Plan};
use super::score::{NO_LABEL, Nodes, Places};
use super::shape::{FITS, Shape};
use super::sums::{Sum, World};
use crate::failure::Rejections;
use crate::framework::{Verdict, Why};

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
const NO_KEY: usize = 0;
const NOT_SPREAD: usize = 1;
const NOT_NEAR: usize = 2;
const TOO_NEAR: usize = 3;
const UNWELCOME: usize = 4;

/// What refuses a place, by what all places are like.
#[derive(Debug)]
pub(super) struct Limits {
    /// For each required spreading the most pods that a domain may have for one more to fit.
    most: Vec<i64>,
    /// The first of a group that wants to be together may go anywhere.
    anywhere: bool,
}

impl AcrossNodes {
    /// The limits as they are now.
    pub(super) fn limits(&mut self) -> Limits {
        let rules = &self.resolved.rules;
        let most = self.sums.iter_mut().zip(&rules.spread).map(|(sum, rule)| most(sum, rule)).collect();
        let anywhere =
            rules.near_itself && self.columns(|rule| rule == Rule::Near).all(|(_, sum)| sum.is_empty());
        Limits { most, anywhere }
    }

    /// True when some rule refuses that place.
    pub(super) fn refuses(&self, limits: &Limits, places: &impl Places, place: usize) -> bool {
        let spread = || self.spread_refusal(limits, places, place).is_some();
        let pods = || self.pods_refusal(limits, places, place).is_some();
        spread() || pods()
    }

    /// A place in [`KINDS`].
    fn spread_refusal(&self, limits: &Limits, places: &impl Places, place: usize) -> Option<usize> {
        let mut each = self.columns(|rule| rule == Rule::Spread).zip(&limits.most);
        each.find_map(|((column, sum), most)| match places.there(sum, column, place) {
            NO_LABEL => Some(NO_KEY),
            there => (there > *most).then_some(NOT_SPREAD),
        })
    }

    /// The same of pods near pods.
    fn pods_refusal(&self, limits: &Limits, places: &impl Places, place: usize) -> Option<usize> {
        let there = |rule| {
            let columns = self.columns(move |other| other == rule);
            columns.map(|(column, sum)| places.there(sum, column, place))
        };
        if !there(Rule::Near).all(|there| there != NO_LABEL && (limits.anywhere || there > 0)) {
            return Some(NOT_NEAR);
        }
        if there(Rule::Far).any(|there| there > 0) {
            return Some(TOO_NEAR);
        }
        there(Rule::Unwelcome).any(|there| there > 0).then_some(UNWELCOME)
    }

    /// What every node says, as the plain path does: the kept checks first, then these in the profile's order.
    pub(super) fn rejections(
        &self,
        limits: &Limits,
        shape: &Shape,
        plan: &Plan,
        world: &World<'_>,
    ) -> Rejections {
        let (mut kinds, codes) = shape.told();
        let first = kinds.len() + 1;
        kinds.extend(KINDS.map(|(plugin, kind, text)| (plugin, kind(text.into()))));
        let nodes = Nodes { across: self, world };
        let here = |at: usize| {
            plan.across.iter().find_map(|(_, kind)| match kind {
                Across::Spread => self.spread_refusal(limits, &nodes, at),
                Across::Pods => self.pods_refusal(limits, &nodes, at),
            })
        };
        let code = |(at, code): (usize, &u16)| match *code {
            FITS => here(at).map_or(FITS, |kind| u16::try_from(first + kind).unwrap_or(FITS)),
            code => code,
        };
        Rejections::from_codes(kinds, codes.iter().enumerate().map(code).collect())
    }
}

/// The most pods that a domain may have for one more to fit.
fn most(sum: &mut Sum, rule: &SpreadRule) -> i64 {
    let (domains, least) = sum.range();
    let least = if domains < rule.min_domains { 0 } else { least };
    rule.max_skew + least - rule.own
}
