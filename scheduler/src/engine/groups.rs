//! Nodes that the rules of a pod cannot tell apart: those in the same domain of every key that the rules name.
//!
//! Promise: rules that name zones are weighed a group, not a node, so that more nodes in the same zones cost no more
//! than a glance each. After [`Groups::refresh`] every node is in its group, or [`Groups::usable`] is false: where
//! each node is a domain of its own, or pods are counted host by host.

use super::across::Rules;
use super::log::{Mark, Stale, What};
use super::shape::{FITS, OUT, Shape};
use super::sums::World;
use super::tables::At;
use super::topology::{Domain, KeyId};
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Groups at most, and nodes a group at least: else weighing groups saves nothing.
const GROUPS_LIMIT: usize = 256;
const NODES_A_GROUP: usize = 4;
/// The worth of a group that may not be chosen.
pub(super) const REFUSED: i64 = OUT as i64;

/// The groups under one set of rules.
#[derive(Debug)]
pub(super) struct Groups {
    /// The keys that the rules name.
    keys: Vec<KeyId>,
    /// Some rule counts host by host.
    hosts: bool,
    /// The group of each node.
    of: Vec<u16>,
    /// Whether it fits, as the counts have it.
    fits: Vec<bool>,
    /// How many nodes of each group fit.
    counts: Vec<usize>,
    /// For each of the keys the domain of each group.
    domains: Vec<Vec<Domain>>,
    known: FxHashMap<Box<[Domain]>, u16>,
    mark: Option<Mark>,
    many: bool,
}

/// The best of the nodes that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Best {
    /// The greatest total.
    pub(super) total: i64,
    /// How many nodes have it.
    pub(super) ties: usize,
}

impl Groups {
    pub(super) fn new(rules: &Rules) -> Self {
        let spread = rules.spread.iter().chain(&rules.rather_spread).map(|rule| &rule.terms);
        let pods = rules.near.iter().chain(&rules.far).chain(&rules.unwelcome).chain(&rules.wishes);
        let mut keys: Vec<KeyId> = spread.chain(pods).map(|terms| terms.key).collect();
        keys.sort_unstable();
        keys.dedup();
        Self {
            hosts: rules.rather_spread.iter().any(|rule| rule.hosts),
            domains: vec![Vec::new(); keys.len()],
            keys,
            of: Vec::new(),
            fits: Vec::new(),
            counts: Vec::new(),
            known: FxHashMap::default(),
            mark: None,
            many: false,
        }
    }

    /// Brings it up to date, with what the shape says of each node by now.
    pub(super) fn refresh(&mut self, shape: &Shape, world: &World<'_>) {
        if self.hosts {
            return;
        }
        let nodes = world.cluster.len();
        match Mark::advance(&mut self.mark, world.order, nodes, world.log) {
            Stale::Some(some) => {
                self.resize(nodes);
                for (at, what) in some.iter().filter(|(_, what)| *what != What::Versions) {
                    self.look(*at, *what == What::Object, shape, world);
                }
            }
            Stale::All => {
                self.of.clear();
                self.fits.clear();
                self.counts.clear();
                self.domains.iter_mut().for_each(Vec::clear);
                self.known.clear();
                self.many = false;
                self.resize(nodes);
                (0..nodes).for_each(|at| self.look(at as At, true, shape, world));
            }
        }
    }

    fn resize(&mut self, nodes: usize) {
        self.of.resize(nodes, 0);
        self.fits.resize(nodes, false);
    }

    fn look(&mut self, at: At, moved: bool, shape: &Shape, world: &World<'_>) {
        if self.many {
            return;
        }
        let place = at as usize;
        let fits = shape.codes()[place] == FITS;
        let before = std::mem::replace(&mut self.fits[place], fits);
        if before {
            self.counts[usize::from(self.of[place])] -= 1;
        }
        if moved {
            match self.group(at, world) {
                Some(group) => self.of[place] = group,
                None => {
                    self.many = true;
                    return;
                }
            }
        }
        if fits {
            self.counts[usize::from(self.of[place])] += 1;
        }
    }

    /// The group of a node; `None`: it would be one too many.
    fn group(&mut self, at: At, world: &World<'_>) -> Option<u16> {
        let domains: Box<[Domain]> =
            self.keys.iter().map(|key| world.topology.domains(*key)[at as usize]).collect();
        if let Some(known) = self.known.get(&domains) {
            return Some(*known);
        }
        let next = self.known.len();
        if next >= GROUPS_LIMIT.min(world.cluster.len() / NODES_A_GROUP) {
            return None;
        }
        for (of_key, domain) in self.domains.iter_mut().zip(&domains) {
            of_key.push(*domain);
        }
        let group = u16::try_from(next).expect("the limit is less");
        self.counts.push(0);
        self.known.insert(domains, group);
        Some(group)
    }

    /// Whether nodes can be weighed by group.
    pub(super) fn usable(&self) -> bool {
        !self.hosts && !self.many
    }

    /// How many groups.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The domain of each group, for one of the keys that the rules name.
    pub(super) fn domains(&self, key: KeyId) -> &[Domain] {
        self.keys.binary_search(&key).map_or(&[], |at| &self.domains[at])
    }

    /// How many nodes of each group fit.
    pub(super) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The best nodes, where a node is worth its total and what its group is worth.
    pub(super) fn best(&self, shape: &Shape, worths: &[i64]) -> Best {
        // Scores are not negative: only what may not be chosen is less than nothing.
        let mut best = Best { total: -1, ties: 0 };
        let most = most(worths);
        for (block, kept) in shape.blocks().iter().enumerate() {
            if i64::from(*kept) + most < best.total {
                continue;
            }
            for (_, total) in self.worth(shape.block(block), shape, worths) {
                if total > best.total {
                    best = Best { total, ties: 1 };
                } else {
                    best.ties += usize::from(total == best.total);
                }
            }
        }
        best
    }

    /// The place of the `nth` node with this total.
    pub(super) fn nth(&self, shape: &Shape, worths: &[i64], wanted: i64, nth: usize) -> Option<usize> {
        let most = most(worths);
        let blocks = shape.blocks().iter().enumerate().filter(|(_, kept)| i64::from(**kept) + most >= wanted);
        let nodes = blocks.flat_map(|(block, _)| self.worth(shape.block(block), shape, worths));
        nodes.filter(|(_, total)| *total == wanted).map(|(at, _)| at).nth(nth)
    }

    fn worth(
        &self,
        places: Range<usize>,
        shape: &Shape,
        worths: &[i64],
    ) -> impl Iterator<Item = (usize, i64)> {
        let (totals, groups) = (&shape.totals()[places.clone()], &self.of[places.clone()]);
        let nodes = places.zip(totals.iter().zip(groups));
        nodes.map(|(at, (total, group))| (at, i64::from(*total) + worths[usize::from(*group)]))
    }
}

fn most(worths: &[i64]) -> i64 {
    worths.iter().copied().max().unwrap_or(REFUSED)
}
