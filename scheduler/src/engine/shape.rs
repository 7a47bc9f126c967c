//! Pods that scheduling cannot tell apart, and what one node after the other answers them.
//!
//! Promise: after [`Shape::refresh`] the columns say of every node what the profile's plugins that look at one node
//! at a time say, asked by the very same code; only nodes that changed since are asked again. So of a thousand pods
//! of one deployment the first costs a look at each node, and each other one a look at the node of its predecessor.

use super::log::{Log, Mark, Stale, What};
use super::plan::Plan;
use super::tables::{At, hash_of};
use crate::cache::{NodeInfo, Snapshot};
use crate::cycle::Checks;
use crate::failure::Rejections;
use crate::framework::{ForPod, NodeCheck, NodeScore, Profile, Verdict};
use crate::pod::PodInfo;
use std::ops::Range;
use std::sync::Arc;

/// Says that a node fits.
pub(super) const FITS: u16 = 0;
/// The total of a node that does not fit.
pub(super) const OUT: i32 = i32::MIN;
/// Nodes in a block whose best total is kept.
const BLOCK: usize = 64;

/// One shape of pods under one profile.
#[derive(Debug)]
pub(super) struct Shape {
    pod: Arc<PodInfo>,
    /// For each node [`FITS`] or one more than the place of the refusal in `refusals`.
    codes: Vec<u16>,
    refusals: Vec<(&'static str, Verdict)>,
    /// The weighted sum of the scores that are normalised as they are; [`OUT`] where the pod does not fit.
    totals: Vec<i32>,
    /// The best total of each block of nodes.
    blocks: Vec<i32>,
    pub(super) scaled: Vec<Scaled>,
    feasible: usize,
    mark: Option<Mark>,
    /// How often every node was asked.
    filled: u64,
    images: u64,
    used_images: bool,
}

/// Raw scores of one plugin that are normalised by the greatest.
#[derive(Debug)]
pub(super) struct Scaled {
    pub(super) weight: i32,
    pub(super) reverse: bool,
    pub(super) raw: Vec<i64>,
    /// Feasible nodes whose score is not 0.
    pub(super) some: usize,
}

/// The plugins of a profile that look at one node at a time, ready for one shape.
pub(super) struct Local<'a> {
    checks: Vec<(&'static str, Box<dyn NodeCheck + 'a>)>,
    /// (what it asks, weight)
    scores: Vec<(Box<dyn NodeScore + 'a>, i32)>,
    /// For each of the shape's `scaled`.
    scaled: Vec<Option<Box<dyn NodeScore + 'a>>>,
    reads_images: bool,
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
                    local.reads_images |= plugin.reads() == crate::framework::Reads::NodeAndImages;
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

    /// The same for every pod of that priority without a promise.
    fn ask_for_any(
        &self,
        priority: i32,
        node: &NodeInfo,
        cluster: &Snapshot,
    ) -> Option<(&'static str, Verdict)> {
        let promised = cluster.nominated(&node.name).iter();
        self.ask_ahead(promised.filter(|other| other.priority >= priority), node)
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

    fn total(&self, node: &NodeInfo) -> i32 {
        let weighted = |(score, weight): &(Box<dyn NodeScore + 'a>, i32)| {
            i32::try_from(score.score(node)).unwrap_or(0) * weight
        };
        self.scores.iter().map(weighted).sum()
    }
}

/// A hash of all that a shape's pods share.
pub(super) fn shape_hash(pod: &PodInfo, cluster: &Snapshot) -> u64 {
    let spec = pod.spec();
    let requests = &pod.requests;
    let amounts = (requests.milli_cpu, requests.memory, requests.ephemeral, &requests.scalars);
    let scoring = (pod.requests_for_scoring.milli_cpu, pod.requests_for_scoring.memory);
    let texts = (known_images(pod, cluster), &spec.node_selector, &spec.node_name, &pod.ports);
    let affinity = spec.affinity.as_deref().map(|affinity| (affinity.node_affinity.is_some(), pod.terms()));
    let lists = (spec.tolerations.len(), spec.topology_spread_constraints.len(), affinity);
    hash_of(&(amounts, scoring, pod.priority, texts, lists))
}

/// What can be told of a pod by its images: those that any node has, and then how many it has in all.
fn known_images<'p>(pod: &'p PodInfo, cluster: &Snapshot) -> (usize, Vec<&'p str>) {
    let all = pod.images().iter().map(|image| &**image);
    let known: Vec<&str> = all.filter(|image| cluster.nodes_with_image(image) > 0).collect();
    (if known.is_empty() { 0 } else { pod.images().len() }, known)
}

/// True when scheduling cannot tell the two apart but by their namespace, labels, owner and images.
fn same_shape(one: &PodInfo, other: &PodInfo) -> bool {
    let (a, b) = (one.spec(), other.spec());
    one.priority == other.priority
        && one.requests == other.requests
        && one.requests_for_scoring == other.requests_for_scoring
        && one.ports == other.ports
        && a.node_name == b.node_name
        && a.node_selector == b.node_selector
        && a.tolerations == b.tolerations
        && a.affinity == b.affinity
        && a.topology_spread_constraints == b.topology_spread_constraints
}

impl Shape {
    pub(super) fn new(pod: Arc<PodInfo>, plan: &Plan) -> Self {
        let scaled = plan.scores.iter().filter_map(|kept| {
            let reverse = kept.by_max?;
            Some(Scaled { weight: kept.weight, reverse, raw: Vec::new(), some: 0 })
        });
        Self {
            pod,
            codes: Vec::new(),
            refusals: Vec::new(),
            totals: Vec::new(),
            blocks: Vec::new(),
            scaled: scaled.collect(),
            feasible: 0,
            mark: None,
            filled: 0,
            images: 0,
            used_images: false,
        }
    }

    pub(super) fn fits(&self, pod: &PodInfo, cluster: &Snapshot) -> bool {
        same_shape(&self.pod, pod) && known_images(&self.pod, cluster) == known_images(pod, cluster)
    }

    /// A pod of this shape.
    pub(super) fn pod(&self) -> &Arc<PodInfo> {
        &self.pod
    }

    /// How many nodes fit.
    pub(super) fn feasible(&self) -> usize {
        self.feasible
    }

    pub(super) fn codes(&self) -> &[u16] {
        &self.codes
    }

    pub(super) fn totals(&self) -> &[i32] {
        &self.totals
    }

    /// True when fitting nodes differ in a score that is normalised by the greatest.
    pub(super) fn is_scaled(&self) -> bool {
        self.scaled.iter().any(|scaled| scaled.some > 0)
    }

    /// Changes whenever every node was asked anew; otherwise only what the log tells of has changed.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// The places of the nodes of a block.
    fn block(&self, block: usize) -> Range<usize> {
        let from = block * BLOCK;
        from..(from + BLOCK).min(self.totals.len())
    }

    /// Brings the columns up to date; answers false when the shape is one for the plain path.
    pub(super) fn refresh(
        &mut self,
        plan: &Plan,
        profile: &Profile,
        cluster: &Snapshot,
        log: &Log,
        order: u64,
    ) -> bool {
        let images = plan.reads_images && self.images != cluster.images_version();
        let current = Some(Mark { order, read: log.end() });
        if self.mark == current && !images {
            return true;
        }
        let pod = self.pod.clone();
        let Some(local) = Local::prepare(&pod, plan, profile, cluster) else { return false };
        if images && (local.reads_images || self.used_images) {
            self.mark = None;
        }
        (self.images, self.used_images) = (cluster.images_version(), local.reads_images);
        match Mark::advance(&mut self.mark, order, cluster.len(), log) {
            Stale::All => self.fill(&local, cluster),
            Stale::Some(some) => {
                self.resize(cluster.len());
                for (at, _) in some.iter().filter(|(_, what)| *what != What::Versions) {
                    self.look_again(*at, &local, cluster);
                }
            }
        }
        true
    }

    fn fill(&mut self, local: &Local<'_>, cluster: &Snapshot) {
        self.codes.clear();
        self.totals.clear();
        self.blocks.clear();
        self.refusals.clear();
        self.feasible = 0;
        self.filled += 1;
        for scaled in &mut self.scaled {
            scaled.raw.clear();
            scaled.some = 0;
        }
        self.resize(cluster.len());
        for at in 0..cluster.len() {
            self.look(at, local, cluster);
        }
        (0..self.blocks.len()).for_each(|block| self.find_best_of(block));
    }

    /// New nodes count as refused until they were asked.
    fn resize(&mut self, nodes: usize) {
        if self.codes.len() < nodes {
            self.codes.resize(nodes, u16::MAX);
            self.totals.resize(nodes, OUT);
            self.blocks.resize(nodes.div_ceil(BLOCK), OUT);
            self.scaled.iter_mut().for_each(|scaled| scaled.raw.resize(nodes, 0));
        }
    }

    fn look_again(&mut self, at: At, local: &Local<'_>, cluster: &Snapshot) {
        let at = at as usize;
        let total = self.totals[at];
        self.look(at, local, cluster);
        if self.totals[at] > total {
            let block = &mut self.blocks[at / BLOCK];
            *block = (*block).max(self.totals[at]);
        } else if self.totals[at] < total {
            self.find_best_of(at / BLOCK);
        }
    }

    fn look(&mut self, at: usize, local: &Local<'_>, cluster: &Snapshot) {
        let node = &cluster.nodes()[at];
        let fitted = self.codes[at] == FITS;
        let refusal = local.ask_for_any(self.pod.priority, node, cluster);
        let fits = refusal.is_none();
        self.codes[at] = refusal.map_or(FITS, |refusal| self.code(refusal));
        self.totals[at] = if fits { local.total(node) } else { OUT };
        self.feasible = self.feasible - usize::from(fitted) + usize::from(fits);
        for (scaled, score) in self.scaled.iter_mut().zip(&local.scaled) {
            let raw = score.as_ref().filter(|_| fits).map_or(0, |score| score.score(node));
            scaled.some = scaled.some - usize::from(scaled.raw[at] != 0) + usize::from(raw != 0);
            scaled.raw[at] = raw;
        }
    }

    fn code(&mut self, refusal: (&'static str, Verdict)) -> u16 {
        let known = self.refusals.iter().position(|known| *known == refusal);
        let at = known.unwrap_or_else(|| {
            self.refusals.push(refusal);
            self.refusals.len() - 1
        });
        u16::try_from(at + 1).expect("a node has few reasons")
    }

    fn find_best_of(&mut self, block: usize) {
        self.blocks[block] = self.totals[self.block(block)].iter().copied().max().unwrap_or(OUT);
    }

    /// The best total, and how many nodes have it.
    pub(super) fn best(&self) -> (i32, usize) {
        let best = self.blocks.iter().copied().max().unwrap_or(OUT);
        (best, self.equals_in_blocks(best).map(|(_, equals)| equals).sum())
    }

    /// The node that is the `nth` of those with this total.
    pub(super) fn nth_with(&self, total: i32, nth: usize) -> Option<usize> {
        let mut left = nth;
        for (block, equals) in self.equals_in_blocks(total) {
            if left < equals {
                return self.block(block).filter(|at| self.totals[*at] == total).nth(left);
            }
            left -= equals;
        }
        None
    }

    fn equals_in_blocks(&self, total: i32) -> impl Iterator<Item = (usize, usize)> {
        let best = self.blocks.iter().enumerate().filter(move |(_, best)| **best == total);
        best.map(move |(block, _)| {
            (block, self.totals[self.block(block)].iter().filter(|other| **other == total).count())
        })
    }

    /// True when that node refuses for now only.
    pub(super) fn is_curable(&self, at: usize) -> bool {
        let refusal = usize::from(self.codes[at]).checked_sub(1).and_then(|kind| self.refusals.get(kind));
        refusal.is_some_and(|(_, verdict)| matches!(verdict, Verdict::Later(_)))
    }

    /// What every node says, when none fits.
    pub(super) fn rejections(&self) -> Rejections {
        Rejections::from_codes(self.refusals.clone(), self.codes.clone())
    }

    /// What can be said, for more to be added, and what each node says of it.
    pub(super) fn told(&self) -> (Vec<(&'static str, Verdict)>, &[u16]) {
        (self.refusals.clone(), &self.codes)
    }
}
