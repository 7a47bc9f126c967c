//! Nodes that the rules of a pod cannot tell apart: those where each rule has the same count, or that are in the same
//! domain of a key with few of them.
//!
//! Promise: nodes are weighed a group, not a node, so that more nodes in the same zones, or more nodes with as many pods,
//! cost no more. After [`Groups::refresh`] every node that fits the shape is in its group, filed by its total, or
//! [`Groups::usable`] is false: there are too many groups for that to pay.

use super::across::{Rule, Rules};
use super::log::{Stale, What};
use super::ranks::Ranks;
use super::score::{NO_LABEL, Places};
use super::shape::{FITS, Shape};
use super::sums::{Sum, World};
use super::tables::At;
use super::topology::{Domain, NOWHERE};
use rustc_hash::FxHashMap;

/// Nodes a group at least, on average: else weighing groups saves nothing.
const NODES_A_GROUP: usize = 8;
/// Groups that are always worth it.
const FEW_GROUPS: usize = 16;
/// Domains of a key whose nodes are told apart by domain, so that a count there moves no node.
const FEW_DOMAINS: usize = 256;

type GroupId = u32;
/// The group of nodes that do not fit.
const NONE: GroupId = GroupId::MAX;

/// The groups under one set of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// What is read of each node for each sum, in the order of the sums.
    columns: Vec<Column>,
    /// The group of each node, and the total it is filed under.
    of: Vec<(GroupId, i32)>,
    groups: Vec<Group>,
    /// Places of groups that have no node.
    empty: Vec<GroupId>,
    known: FxHashMap<Box<[i64]>, GroupId>,
    /// How often the shape was filled when this was.
    filled: u64,
    usable: bool,
    /// The last that was read.
    read: Vec<i64>,
}

/// One group.
#[derive(Clone, Debug)]
struct Group {
    /// What was read of its nodes: a number a column, then the raw scores that are normalised by the greatest.
    read: Box<[i64]>,
    ranks: Ranks,
}

/// What is read of a node for a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// The domain: there are few.
    Domain,
    /// What its domain has, or [`NO_LABEL`].
    Sum,
    /// Whether its domain has any: 1 or 0, or [`NO_LABEL`].
    Any,
    /// What the node itself has, or [`NO_LABEL`].
    Own,
}

impl Groups {
    /// Brings it up to date; shape and sums are. `stale` is what they have looked at.
    pub(super) fn refresh(
        &mut self,
        rules: &Rules,
        shape: &Shape,
        sums: &[Sum],
        stale: &Stale<'_>,
        world: &World<'_>,
    ) {
        let some = match stale {
            Stale::Some(some) if self.filled == shape.filled() => some,
            _ => return self.fill(rules, shape, sums, world),
        };
        if !self.usable || some.is_empty() {
            return;
        }
        self.of.resize(world.cluster.len(), (NONE, 0));
        for (at, _) in some.iter().filter(|(_, what)| *what != What::Versions) {
            self.look(*at, shape, sums, world);
        }
        for (column, sum) in sums.iter().enumerate() {
            // Other nodes are in the same domain.
            if matches!(self.columns.get(column), Some(Column::Sum | Column::Any)) {
                let nodes = |domain: &Domain| world.topology.members(sum.key(), *domain);
                sum.touched().iter().flat_map(nodes).for_each(|at| self.look(*at, shape, sums, world));
            }
        }
    }

    fn fill(&mut self, rules: &Rules, shape: &Shape, sums: &[Sum], world: &World<'_>) {
        let nodes = world.cluster.len();
        *self = Self { filled: shape.filled(), usable: true, ..Self::default() };
        for (kind, sum) in rules.kinds().zip(sums) {
            let few = world.topology.size(sum.key()) <= FEW_DOMAINS.min(limit(nodes));
            let column = match kind {
                Rule::RatherSpread { hosts: true } => Column::Own,
                _ if few => Column::Domain,
                Rule::RatherSpread { hosts: false } => {
                    // It needs to know how many domains the nodes that fit are in.
                    self.usable = false;
                    return;
                }
                Rule::Near | Rule::Far | Rule::Unwelcome => Column::Any,
                Rule::Spread | Rule::Wish => Column::Sum,
            };
            self.columns.push(column);
        }
        self.of.resize(nodes, (NONE, 0));
        for at in 0..nodes {
            if !self.usable {
                return;
            }
            self.look(super::place(at), shape, sums, world);
        }
    }

    /// Puts a node into the group where it belongs.
    fn look(&mut self, at: At, shape: &Shape, sums: &[Sum], world: &World<'_>) {
        if !self.usable {
            return;
        }
        let place = at as usize;
        let (group, total) = self.of[place];
        let fits = shape.codes()[place] == FITS;
        if !fits && group == NONE {
            return;
        }
        let now = shape.totals()[place];
        if fits {
            self.read(place, shape, sums, world);
        }
        if group != NONE {
            let before = &mut self.groups[group as usize];
            let stays = fits && *before.read == *self.read;
            if stays && total == now {
                return;
            }
            before.ranks.remove(total, at);
            if stays {
                before.ranks.add(now, at);
                self.of[place].1 = now;
                return;
            }
            if before.ranks.len() == 0 {
                self.known.remove(&before.read);
                self.empty.push(group);
            }
        }
        self.of[place] = (NONE, 0);
        if !fits {
            return;
        }
        let Some(group) = self.group(limit(world.cluster.len())) else {
            *self = Self { filled: self.filled, ..Self::default() };
            return;
        };
        self.groups[group as usize].ranks.add(now, at);
        self.of[place] = (group, now);
    }

    fn read(&mut self, place: usize, shape: &Shape, sums: &[Sum], world: &World<'_>) {
        self.read.clear();
        for (column, sum) in self.columns.iter().zip(sums) {
            let domain = world.topology.domains(sum.key())[place];
            self.read.push(match (column, domain) {
                (Column::Domain, domain) => i64::from(domain),
                (_, NOWHERE) => NO_LABEL,
                (Column::Sum, domain) => sum.at(domain),
                (Column::Any, domain) => i64::from(sum.at(domain) > 0),
                (Column::Own, _) => sum.values()[place],
            });
        }
        self.read.extend(shape.scaled.iter().map(|scaled| scaled.at(place)));
    }

    /// The group of what was read; `None`: it would be one too many.
    fn group(&mut self, limit: usize) -> Option<GroupId> {
        if let Some(known) = self.known.get(&*self.read) {
            return Some(*known);
        }
        if self.known.len() >= limit {
            return None;
        }
        let read: Box<[i64]> = (&*self.read).into();
        let group = Group { read: read.clone(), ranks: Ranks::default() };
        let id = match self.empty.pop() {
            Some(id) => {
                self.groups[id as usize] = group;
                id
            }
            None => {
                self.groups.push(group);
                GroupId::try_from(self.groups.len() - 1).expect("the limit is less")
            }
        };
        self.known.insert(read, id);
        Some(id)
    }

    /// Whether nodes can be weighed by group.
    pub(super) fn usable(&self) -> bool {
        self.usable
    }

    /// Whether some rule tells nodes apart by what it counts there, not by their domain.
    #[cfg(test)]
    pub(super) fn by_count(&self) -> bool {
        self.columns.iter().any(|column| *column != Column::Domain)
    }

    /// The places of all groups that have nodes.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.groups).filter(|(_, group)| group.ranks.len() > 0).map(|(place, _)| place)
    }

    /// The greatest total of a group, and the nodes that have it.
    pub(super) fn best(&self, group: usize) -> (i64, &[At]) {
        self.groups[group].ranks.best().map_or((0, &[]), |(total, nodes)| (total.into(), nodes))
    }

    /// The raw score of the nodes of a group, by the place in the shape's `scaled`.
    pub(super) fn scaled(&self, group: usize, scaled: usize) -> i64 {
        self.groups[group].read[self.columns.len() + scaled]
    }
}

impl Places for Groups {
    fn nodes(&self, place: usize) -> usize {
        self.groups[place].ranks.len()
    }

    fn domain(&self, _: &Sum, column: usize, place: usize) -> Domain {
        Domain::try_from(self.groups[place].read[column]).unwrap_or(NOWHERE)
    }

    fn there(&self, sum: &Sum, column: usize, place: usize) -> i64 {
        let read = self.groups[place].read[column];
        match (self.columns[column], Domain::try_from(read)) {
            (Column::Domain, Ok(NOWHERE)) => NO_LABEL,
            (Column::Domain, Ok(domain)) => sum.at(domain),
            _ => read,
        }
    }
}

/// How many groups are worth it.
fn limit(nodes: usize) -> usize {
    FEW_GROUPS.max(nodes / NODES_A_GROUP)
}
