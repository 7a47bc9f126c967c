//! Pods that scheduling cannot tell apart, and what one node after the other answers them.
//!
//! Promise: after [`Shape::refresh`] the columns say of every node what the profile's plugins that look at one node
//! at a time say, asked by the very same code; only nodes that changed since are asked again. So of a thousand pods
//! of one deployment the first costs a look at each node, and each other one a look at the node of its predecessor.

use super::local::Local;
use super::log::{Log, Mark, Stale, What};
use super::plan::Plan;
use super::tables::{At, hash_of};
use crate::cache::Snapshot;
use crate::failure::Rejections;
use crate::framework::{Profile, Verdict};
use crate::pod::PodInfo;
use std::ops::Range;
use std::sync::Arc;

/// Says that a node fits.
pub(super) const FITS: u16 = 0;
/// The total of a node that does not fit.
pub(super) const OUT: i32 = i32::MIN;
/// Nodes in a block whose best total is kept.
const BLOCK: usize = if cfg!(test) { 8 } else { 64 };

/// Changed nodes from which on they are asked together.
const MANY: usize = 8;

/// One shape of pods under one profile.
#[derive(Debug)]
pub(super) struct Shape {
    pod: Arc<PodInfo>,
    /// The least priority of promised pods that go before its pods, as [`Snapshot::least_before`] has it.
    before: Option<i32>,
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
    /// Empty while all are 0.
    raw: Vec<i64>,
    /// Feasible nodes whose score is not 0.
    pub(super) some: usize,
}

impl Scaled {
    /// The raw score of a node; 0 where the pod does not fit.
    pub(super) fn at(&self, at: usize) -> i64 {
        self.raw.get(at).copied().unwrap_or(0)
    }

    fn set(&mut self, at: usize, raw: i64, nodes: usize) {
        let before = self.at(at);
        if before == raw {
            return;
        }
        if self.raw.len() < nodes {
            self.raw.resize(nodes, 0);
        }
        self.some = self.some - usize::from(before != 0) + usize::from(raw != 0);
        self.raw[at] = raw;
    }
}

/// A hash of all that a shape's pods share.
pub(super) fn shape_hash(pod: &PodInfo, cluster: &Snapshot) -> u64 {
    let spec = pod.spec();
    let requests = &pod.requests;
    let before = cluster.least_before(pod.priority);
    let amounts = (requests.milli_cpu, requests.memory, requests.ephemeral, &requests.scalars);
    let scoring = (pod.requests_for_scoring.milli_cpu, pod.requests_for_scoring.memory);
    let texts = (known_images(pod, cluster), &spec.node_selector, &spec.node_name, &pod.ports);
    let affinity = spec.affinity.as_deref().map(|affinity| (affinity.node_affinity.is_some(), pod.terms()));
    let lists = (spec.tolerations.len(), spec.topology_spread_constraints.len(), affinity);
    hash_of(&(amounts, scoring, before, texts, lists))
}

/// What can be told of a pod by its images: those that any node has, and then how many it has in all.
fn known_images<'p>(pod: &'p PodInfo, cluster: &Snapshot) -> (usize, Vec<&'p str>) {
    let all = pod.images().iter().map(|image| &**image);
    let known: Vec<&str> = all.filter(|image| cluster.nodes_with_image(image) > 0).collect();
    (if known.is_empty() { 0 } else { pod.images().len() }, known)
}

/// True when scheduling cannot tell the two apart but by their priority, namespace, labels, owner and images.
fn same_shape(one: &PodInfo, other: &PodInfo) -> bool {
    let (a, b) = (one.spec(), other.spec());
    one.requests == other.requests
        && one.requests_for_scoring == other.requests_for_scoring
        && one.ports == other.ports
        && a.node_name == b.node_name
        && a.node_selector == b.node_selector
        && a.tolerations == b.tolerations
        && a.affinity == b.affinity
        && a.topology_spread_constraints == b.topology_spread_constraints
}

impl Shape {
    pub(super) fn new(pod: Arc<PodInfo>, plan: &Plan, cluster: &Snapshot) -> Self {
        let scaled = plan.scores.iter().filter_map(|kept| {
            let reverse = kept.by_max?;
            Some(Scaled { weight: kept.weight, reverse, raw: Vec::new(), some: 0 })
        });
        Self {
            before: cluster.least_before(pod.priority),
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
        same_shape(&self.pod, pod)
            && self.before == cluster.least_before(pod.priority)
            && known_images(&self.pod, cluster) == known_images(pod, cluster)
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
                let changed = some.iter().filter(|(_, what)| *what != What::Versions).map(|(at, _)| *at);
                if some.len() < MANY {
                    changed.for_each(|at| self.look_again(at, &local, cluster));
                } else {
                    self.look_at_many_again(changed.collect(), &local, cluster);
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
        let (mut places, mut scores) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
        for block in 0..self.blocks.len() {
            places.clear();
            places.extend(self.block(block).map(super::place));
            self.look_at_each(&mut places, &mut scores, local, cluster);
        }
        if self.before.is_some() {
            cluster.promised_places().for_each(|at| self.look(at, local, cluster));
        }
        (0..self.blocks.len()).for_each(|block| self.find_best_of(block));
    }

    /// What [`Self::look_again`] does, of many nodes, some perhaps twice.
    fn look_at_many_again(&mut self, mut changed: Vec<At>, local: &Local<'_>, cluster: &Snapshot) {
        changed.sort_unstable();
        changed.dedup();
        let (mut places, mut scores) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
        for at in changed.iter().map(|at| *at as usize) {
            self.feasible -= usize::from(self.codes[at] == FITS);
            (self.codes[at], self.totals[at]) = (u16::MAX, OUT);
            self.scaled.iter_mut().for_each(|scaled| scaled.set(at, 0, cluster.len()));
        }
        for some in changed.chunks(BLOCK) {
            places.clear();
            places.extend_from_slice(some);
            self.look_at_each(&mut places, &mut scores, local, cluster);
        }
        if self.before.is_some() {
            let promised = |at: &At| !cluster.nominated(&cluster.nodes()[*at as usize].name).is_empty();
            let promised = changed.iter().filter(|at| promised(at));
            promised.for_each(|at| self.look(*at as usize, local, cluster));
        }
        let block = |at: &At| *at as usize / BLOCK;
        changed
            .chunk_by(|one, next| block(one) == block(next))
            .for_each(|at| self.find_best_of(block(&at[0])));
    }

    /// What [`Self::look`] does, of up to a block of nodes that count as refused yet, as if no room were promised to
    /// anybody. The next plugin finds in the processor's cache what the one before it has read. Leaves those that fit in `places`;
    /// `scores` is for the moment.
    fn look_at_each(
        &mut self,
        places: &mut Vec<At>,
        scores: &mut Vec<i64>,
        local: &Local<'_>,
        cluster: &Snapshot,
    ) {
        for (at, refusal) in local.ask_each(cluster, places) {
            self.codes[at as usize] = self.code(refusal);
        }
        for at in &*places {
            self.codes[*at as usize] = FITS;
            self.totals[*at as usize] = 0;
        }
        self.feasible += places.len();
        local.add_totals(cluster, places, &mut self.totals, scores);
        for (scaled, score) in self.scaled.iter_mut().zip(&local.scaled) {
            let Some(score) = score else { continue };
            scores.clear();
            score.score_each(cluster, places, scores);
            for (at, raw) in places.iter().zip(&*scores).filter(|(_, raw)| **raw != 0) {
                scaled.set(*at as usize, *raw, cluster.len());
            }
        }
    }

    /// New nodes count as refused until they were asked.
    fn resize(&mut self, nodes: usize) {
        if self.codes.len() < nodes {
            self.codes.resize(nodes, u16::MAX);
            self.totals.resize(nodes, OUT);
            self.blocks.resize(nodes.div_ceil(BLOCK), OUT);
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
        let refusal = local.ask_for_any(self.before, node, cluster);
        let fits = refusal.is_none();
        self.codes[at] = refusal.map_or(FITS, |refusal| self.code(refusal));
        self.totals[at] = if fits { local.total(node) } else { OUT };
        self.feasible = self.feasible - usize::from(fitted) + usize::from(fits);
        for (scaled, score) in self.scaled.iter_mut().zip(&local.scaled) {
            let raw = score.as_ref().filter(|_| fits).map_or(0, |score| score.score(node));
            scaled.set(at, raw, cluster.len());
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
