//! How many of some pods, or how much of some wishes, each domain of a key has.
//!
//! Promise: after [`Sum::refresh`], `by_domain` is the sum over the nodes that count, as if all pods had been walked.
//! It remembers what each node contributed, so that a changed node costs one correction.

use super::log::{Log, Mark, Stale, What};
use super::tables::{At, CounterId, Tables, WishId};
use super::topology::{Domain, KeyId, NOWHERE, Topology};
use crate::cache::{NodeInfo, Snapshot};

/// Where a number a node comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Counter(CounterId),
    Wish(WishId),
}

/// What is summed: by which key, from where, times what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) key: KeyId,
    pub(super) sources: Vec<(Source, i64)>,
}

/// A sum by domain.
#[derive(Debug)]
pub(super) struct Sum {
    terms: Terms,
    /// What each node contributes.
    values: Vec<i64>,
    /// To which domain; [`NOWHERE`] if it does not count.
    domains: Vec<Domain>,
    by_domain: Vec<i64>,
    /// How many nodes that count each domain has.
    members: Vec<u32>,
    mark: Option<Mark>,
    range: Option<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    domains: usize,
    least: i64,
}

/// What sums are brought up to date with.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) cluster: &'a Snapshot,
    pub(super) tables: &'a Tables,
    pub(super) topology: &'a Topology,
    pub(super) log: &'a Log,
    pub(super) order: u64,
}

impl Sum {
    pub(super) fn new(terms: Terms) -> Self {
        let (values, domains, by_domain, members) = Default::default();
        Self { terms, values, domains, by_domain, members, mark: None, range: None }
    }

    pub(super) fn key(&self) -> KeyId {
        self.terms.key
    }

    /// The sum of a domain.
    pub(super) fn at(&self, domain: Domain) -> i64 {
        self.by_domain.get(domain as usize).copied().unwrap_or(0)
    }

    /// The sums of all domains, by number; a domain past the end has 0.
    pub(super) fn all(&self) -> &[i64] {
        &self.by_domain
    }

    /// What each node contributes, whether it counts or not.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    /// (number of domains with a node that counts, the least sum of one).
    pub(super) fn range(&mut self) -> (usize, i64) {
        let (sums, members) = (&self.by_domain, &self.members);
        let range = self.range.get_or_insert_with(|| {
            let mut range = Range { domains: 0, least: i64::MAX };
            for (sum, members) in sums.iter().zip(members).skip(1) {
                if *members > 0 {
                    range.domains += 1;
                    range.least = range.least.min(*sum);
                }
            }
            range
        });
        (range.domains, if range.domains == 0 { 0 } else { range.least })
    }

    /// True when no domain has anything; sums are not negative.
    pub(super) fn is_empty(&self) -> bool {
        self.by_domain.iter().skip(1).all(|sum| *sum == 0)
    }

    /// Brings it up to date. `counts` says of which nodes it sums; it reads nothing but the object.
    pub(super) fn refresh(&mut self, world: &World<'_>, counts: impl Fn(&NodeInfo) -> bool) {
        let nodes = world.cluster.nodes();
        match Mark::advance(&mut self.mark, world.order, nodes.len(), world.log) {
            Stale::Some([]) => {}
            Stale::Some(some) => {
                self.reserve(nodes.len(), world);
                for (at, what) in some {
                    match what {
                        What::Versions => {}
                        What::Pods => self.correct(*at, self.domains[*at as usize], world),
                        What::Object => {
                            let domain = domain(&self.terms, *at, &nodes[*at as usize], world, &counts);
                            self.correct(*at, domain, world);
                        }
                    }
                }
            }
            Stale::All => self.fill(world, counts),
        }
    }

    fn fill(&mut self, world: &World<'_>, counts: impl Fn(&NodeInfo) -> bool) {
        let nodes = world.cluster.nodes();
        self.by_domain.clear();
        self.members.clear();
        self.domains.clear();
        self.values.clear();
        self.reserve(nodes.len(), world);
        self.range = None;
        for (source, factor) in &self.terms.sources {
            for (at, number) in world.tables.numbers(*source) {
                self.values[*at as usize] += number * factor;
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let domain = domain(&self.terms, at as At, node, world, &counts);
            self.domains[at] = domain;
            if domain != NOWHERE {
                self.by_domain[domain as usize] += self.values[at];
                self.members[domain as usize] += 1;
            }
        }
    }

    fn reserve(&mut self, nodes: usize, world: &World<'_>) {
        let size = world.topology.size(self.terms.key);
        if self.by_domain.len() < size {
            self.by_domain.resize(size, 0);
            self.members.resize(size, 0);
        }
        if self.values.len() < nodes {
            self.values.resize(nodes, 0);
            self.domains.resize(nodes, NOWHERE);
        }
    }

    fn correct(&mut self, at: At, domain: Domain, world: &World<'_>) {
        let sources = self.terms.sources.iter();
        let value = sources.map(|(source, factor)| world.tables.number(*source, at) * factor).sum();
        let (before, from) = (self.values[at as usize], self.domains[at as usize]);
        if (before, from) == (value, domain) {
            return;
        }
        self.range = None;
        if from != NOWHERE {
            self.by_domain[from as usize] -= before;
            self.members[from as usize] -= 1;
        }
        if domain != NOWHERE {
            self.by_domain[domain as usize] += value;
            self.members[domain as usize] += 1;
        }
        self.values[at as usize] = value;
        self.domains[at as usize] = domain;
    }
}

fn domain(
    terms: &Terms,
    at: At,
    node: &NodeInfo,
    world: &World<'_>,
    counts: impl Fn(&NodeInfo) -> bool,
) -> Domain {
    let domain = world.topology.domains(terms.key)[at as usize];
    if domain == NOWHERE || !counts(node) { NOWHERE } else { domain }
}
