//! Nodes that the rules of a pod cannot tell apart: those in the same domain of every key that the rules name.
//!
//! Promise: rules that name zones are weighed a group, not a node, so that more nodes in the same zones cost no more
//! than a glance each. After [`Groups::refresh`] every node is in its group, or [`Groups::usable`] is false: where
//! each node is a domain of its own, or pods are counted host by host.

use super::across::Rules;
use super::log::{Mark, Stale, What};
use super::sums::World;
use super::tables::At;
use super::topology::{Domain, KeyId};
use rustc_hash::FxHashMap;

/// Groups at most, and nodes a group at least: else weighing groups saves nothing.
const GROUPS_LIMIT: usize = 256;
const NODES_A_GROUP: usize = 4;
/// The worth of a group that may not be chosen.
pub(super) const REFUSED: i64 = super::shape::OUT as i64;

/// The groups under one set of rules.
#[derive(Debug)]
pub(super) struct Groups {
    /// The keys that the rules name.
    keys: Vec<KeyId>,
    /// Some rule counts host by host.
    hosts: bool,
    /// The group of each node.
    of: Vec<u16>,
    /// For each of the keys the domain of each group.
    domains: Vec<Vec<Domain>>,
    known: FxHashMap<Box<[Domain]>, u16>,
    mark: Option<Mark>,
    many: bool,
}

/// The best of the nodes that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Best {
    /// How many may be chosen.
    pub(super) feasible: usize,
    /// The greatest total, and how many nodes have it.
    pub(super) total: i64,
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
            known: FxHashMap::default(),
            mark: None,
            many: false,
        }
    }

    /// Brings it up to date.
    pub(super) fn refresh(&mut self, world: &World<'_>) {
        if self.hosts {
            return;
        }
        let nodes = world.cluster.len();
        match Mark::advance(&mut self.mark, world.order, nodes, world.log) {
            Stale::Some(some) => {
                self.of.resize(nodes, 0);
                for (at, _) in some.iter().filter(|(_, what)| *what == What::Object) {
                    self.place(*at, world);
                }
            }
            Stale::All => {
                self.of.clear();
                self.of.resize(nodes, 0);
                self.domains.iter_mut().for_each(Vec::clear);
                self.known.clear();
                self.many = false;
                (0..nodes).for_each(|at| self.place(at as At, world));
            }
        }
    }

    fn place(&mut self, at: At, world: &World<'_>) {
        if self.many {
            return;
        }
        let domains: Box<[Domain]> =
            self.keys.iter().map(|key| world.topology.domains(*key)[at as usize]).collect();
        let next = self.known.len();
        let group = match self.known.get(&domains) {
            Some(known) => *known,
            None if next >= GROUPS_LIMIT.min(world.cluster.len() / NODES_A_GROUP) => {
                self.many = true;
                return;
            }
            None => {
                for (of_key, domain) in self.domains.iter_mut().zip(&domains) {
                    of_key.push(*domain);
                }
                let group = u16::try_from(next).expect("the limit is less");
                self.known.insert(domains, group);
                group
            }
        };
        self.of[at as usize] = group;
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

    /// How many nodes of each group have a total.
    pub(super) fn count(&self, totals: &[i32], counts: &mut Vec<usize>) {
        counts.clear();
        counts.resize(self.len(), 0);
        for (total, group) in totals.iter().zip(&self.of) {
            counts[usize::from(*group)] += usize::from(*total != super::shape::OUT);
        }
    }

    /// The best nodes, where a node is worth its total and what its group is worth.
    pub(super) fn best(&self, totals: &[i32], worths: &[i64]) -> Best {
        let mut best = Best { feasible: 0, total: -1, ties: 0 };
        for total in self.worth(totals, worths) {
            // Scores are not negative: only what may not be chosen is less than nothing.
            best.feasible += usize::from(total >= 0);
            if total > best.total {
                (best.total, best.ties) = (total, 1);
            } else {
                best.ties += usize::from(total == best.total);
            }
        }
        if best.feasible == 0 {
            best.ties = 0;
        }
        best
    }

    /// The place of the `nth` node with this total.
    pub(super) fn nth(&self, totals: &[i32], worths: &[i64], wanted: i64, nth: usize) -> Option<usize> {
        let equals = self.worth(totals, worths).enumerate().filter(|(_, total)| *total == wanted);
        equals.map(|(at, _)| at).nth(nth)
    }

    fn worth(&self, totals: &[i32], worths: &[i64]) -> impl Iterator<Item = i64> {
        totals.iter().zip(&self.of).map(|(total, group)| i64::from(*total) + worths[usize::from(*group)])
    }
}
