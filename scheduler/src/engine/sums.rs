//! How many of some pods, or how much of some wishes, each domain of a key has.
//!
//! Promise: after [`Sum::refresh`], `by_domain` is the sum over the nodes that count, as if all pods had been walked.
//! It remembers what each node contributed, so that a changed node costs one correction.

use super::log::{Log, Stale, What};
use super::tables::{At, CounterId, Tables, WishId};
use super::topology::{Domain, KeyId, NOWHERE, Topology};
use crate::cache::Snapshot;
use std::cmp::Ordering;

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
#[derive(Clone, Debug)]
pub(super) struct Sum {
    terms: Terms,
    /// What each node contributes.
    values: Vec<i64>,
    /// To which domain; [`NOWHERE`] if it does not count.
    domains: Vec<Domain>,
    by_domain: Vec<i64>,
    /// How many nodes that count each domain has.
    members: Vec<u32>,
    /// Domains whose sum is not 0.
    some: usize,
    /// Domains whose sum the last refresh corrected.
    touched: Vec<Domain>,
    range: Option<Range>,
}

/// Of the domains with a node that counts.
#[derive(Clone, Copy, Debug)]
struct Range {
    domains: usize,
    least: i64,
    /// How many have the least.
    with_least: usize,
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
        let (values, domains, by_domain, members, touched) = Default::default();
        Self { terms, values, domains, by_domain, members, some: 0, touched, range: None }
    }

    pub(super) fn key(&self) -> KeyId {
        self.terms.key
    }

    /// The sum of a domain.
    pub(super) fn at(&self, domain: Domain) -> i64 {
        self.by_domain.get(domain as usize).copied().unwrap_or(0)
    }

    /// What each node contributes, whether it counts or not.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    /// (number of domains with a node that counts, the least sum of one).
    pub(super) fn range(&mut self) -> (usize, i64) {
        let (sums, members) = (&self.by_domain, &self.members);
        let range = self.range.get_or_insert_with(|| {
            let counting = sums.iter().zip(members).skip(1).filter(|(_, members)| **members > 0);
            let mut range = Range { domains: 0, least: i64::MAX, with_least: 0 };
            for (sum, _) in counting {
                range.domains += 1;
                match sum.cmp(&range.least) {
                    Ordering::Less => (range.least, range.with_least) = (*sum, 1),
                    Ordering::Equal => range.with_least += 1,
                    Ordering::Greater => {}
                }
            }
            range
        });
        (range.domains, if range.domains == 0 { 0 } else { range.least })
    }

    /// True when no domain has anything; sums are not negative.
    pub(super) fn is_empty(&self) -> bool {
        self.some == 0
    }

    /// Domains whose sum the last [`Self::refresh`] corrected; none after one of all nodes.
    pub(super) fn touched(&self) -> &[Domain] {
        &self.touched
    }

    /// The same sum from elsewhere: all numbers stay as they are until [`Self::refresh`] is told of their nodes.
    pub(super) fn of(&self, sources: Vec<(Source, i64)>) -> Self {
        Self { terms: Terms { key: self.terms.key, sources }, ..self.clone() }
    }

    /// The nodes that have something now, or had when this was last brought up to date.
    pub(super) fn with_something(&self, tables: &Tables) -> impl Iterator<Item = At> {
        let had = (0..).zip(&self.values).filter(|(_, value)| **value != 0).map(|(at, _)| at);
        let has = self.terms.sources.iter().flat_map(|(source, _)| tables.numbers(*source));
        had.chain(has.map(|(at, _)| *at))
    }

    /// Brings it up to date. `counts` says of which nodes it sums; it reads nothing but the object.
    pub(super) fn refresh(&mut self, stale: &Stale<'_>, world: &World<'_>, counts: impl Fn(At) -> bool) {
        self.touched.clear();
        match stale {
            Stale::Some([]) => {}
            Stale::Some(some) => {
                self.reserve(world.cluster.len(), world);
                for (at, what) in *some {
                    match what {
                        What::Versions => {}
                        What::Pods => self.correct(*at, self.domains[*at as usize], world),
                        What::Object => {
                            let domain = domain(&self.terms, *at, world, &counts);
                            self.correct(*at, domain, world);
                        }
                    }
                }
            }
            Stale::All => self.fill(world, counts),
        }
    }

    fn fill(&mut self, world: &World<'_>, counts: impl Fn(At) -> bool) {
        self.by_domain.clear();
        self.members.clear();
        self.domains.clear();
        self.values.clear();
        self.reserve(world.cluster.len(), world);
        self.range = None;
        for (source, factor) in &self.terms.sources {
            for (at, number) in world.tables.numbers(*source) {
                self.values[*at as usize] += number * factor;
            }
        }
        for at in 0..world.cluster.len() {
            let domain = domain(&self.terms, super::place(at), world, &counts);
            self.domains[at] = domain;
            if domain != NOWHERE {
                self.by_domain[domain as usize] += self.values[at];
                self.members[domain as usize] += 1;
            }
        }
        self.some = self.by_domain.iter().filter(|sum| **sum != 0).count();
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
        if from == domain {
            self.add(domain, value - before);
        } else {
            self.range = None;
            for (domain, by, member) in [(from, -before, -1), (domain, value, 1)] {
                if domain != NOWHERE {
                    self.add(domain, by);
                    let members = &mut self.members[domain as usize];
                    *members = members.saturating_add_signed(member);
                }
            }
        }
        self.values[at as usize] = value;
        self.domains[at as usize] = domain;
    }

    fn add(&mut self, domain: Domain, by: i64) {
        if domain == NOWHERE || by == 0 {
            return;
        }
        let sum = &mut self.by_domain[domain as usize];
        let before = *sum;
        *sum += by;
        self.some = self.some + usize::from(before == 0) - usize::from(*sum == 0);
        self.touched.push(domain);
        Range::follow(&mut self.range, before, *sum);
    }
}

impl Range {
    /// A domain has another sum than before. Forgets the range if the last that had the least has more now.
    fn follow(this: &mut Option<Self>, before: i64, after: i64) {
        let Some(range) = this else { return };
        if after < range.least {
            (range.least, range.with_least) = (after, 1);
        } else if after == range.least {
            range.with_least += 1;
        } else if before == range.least {
            range.with_least -= 1;
            if range.with_least == 0 {
                *this = None;
            }
        }
    }
}

fn domain(terms: &Terms, at: At, world: &World<'_>, counts: impl Fn(At) -> bool) -> Domain {
    let domain = world.topology.domains(terms.key)[at as usize];
    if domain == NOWHERE || !counts(at) { NOWHERE } else { domain }
}
