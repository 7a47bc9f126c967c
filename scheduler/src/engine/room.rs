//! Making room, quickly: what evicting from a node would cost is kept a shape of pod and priority, in the order of
//! costs, until the node changes.
//!
//! Promise: answers what [`preempt::find`] does, having looked only at nodes that changed since the last time. Only for
//! pods that nothing elsewhere concerns; where pods on other nodes matter, evicting from one node may change another,
//! and the plain search looks at all.

use super::local::Local;
use super::log::{Mark, Stale};
use super::shape::Shape;
use super::tables::At;
use super::{Engine, ShapeId, place};
use crate::cycle::Checks;
use crate::preempt::{self, Against, Attempt, Candidate, LastingCost, Limit, Refusal, Room, Rooms};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Shapes with priorities whose candidates are kept.
const KEPT_LIMIT: usize = 64;

/// What is kept of pods of one shape and priority that want room.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    mark: Option<Mark>,
    nodes: Vec<Known>,
    /// The nodes that are [`Known::Nothing`] of.
    unknown: Vec<At>,
    by_cost: BTreeSet<(LastingCost, At)>,
    /// Why nodes were refused, and how many.
    refusals: Vec<(Refusal, usize)>,
    hopeless: usize,
}

/// What is known of one node.
#[derive(Debug)]
enum Known {
    /// Not looked at since it changed, or only valid for the moment.
    Nothing,
    /// Eviction does not help.
    Hopeless,
    /// Filed by its cost.
    Candidate(Candidate, LastingCost),
    /// A place in `refusals`.
    Refused(usize),
}

impl Candidates {
    /// Forgets what is known of nodes that changed.
    fn follow(&mut self, stale: Stale<'_>, nodes: usize) {
        match stale {
            Stale::All => *self = Self { mark: self.mark, ..Self::default() },
            Stale::Some(some) => {
                let before = self.nodes.len();
                some.iter().filter(|(at, _)| (*at as usize) < before).for_each(|(at, _)| self.forget(*at));
            }
        }
        self.unknown.extend((self.nodes.len()..nodes).map(place));
        self.nodes.resize_with(nodes, || Known::Nothing);
    }

    fn forget(&mut self, at: At) {
        match std::mem::replace(&mut self.nodes[at as usize], Known::Nothing) {
            Known::Nothing => return,
            Known::Hopeless => self.hopeless -= 1,
            Known::Candidate(_, cost) => _ = self.by_cost.remove(&(cost, at)),
            Known::Refused(kind) => self.refusals[kind].1 -= 1,
        }
        self.unknown.push(at);
    }

    /// The cheapest of the nodes that eviction may help, as [`preempt::find`] chooses.
    fn choose(&mut self, attempt: &Attempt<'_>, shape: &Shape, checks: &Checks<'_>) -> Room {
        let mut passing: Vec<(At, Candidate)> = Vec::new();
        for at in std::mem::take(&mut self.unknown) {
            passing.extend(self.look(at, attempt, shape, checks).map(|candidate| (at, candidate)));
        }
        let kept = self.by_cost.first().and_then(|(_, at)| match &self.nodes[*at as usize] {
            Known::Candidate(candidate, _) => Some((*at, candidate)),
            _ => None,
        });
        let all = passing.iter().map(|(at, candidate)| (*at, candidate)).chain(kept);
        let best = all.min_by_key(|(at, candidate)| (candidate.cost(attempt.now), *at));
        let room = best.map(|(_, candidate)| candidate.room());
        self.unknown.extend(passing.iter().map(|(at, _)| *at));
        room.unwrap_or_else(|| self.none(attempt))
    }

    /// Looks at a node; answers it if it is a candidate for the moment only.
    fn look(
        &mut self,
        at: At,
        attempt: &Attempt<'_>,
        shape: &Shape,
        checks: &Checks<'_>,
    ) -> Option<Candidate> {
        let node = at as usize;
        if !shape.is_curable(node) {
            self.nodes[node] = Known::Hopeless;
            self.hopeless += 1;
            return None;
        }
        match preempt::candidate(attempt, checks, &attempt.cluster.nodes()[node]) {
            Ok(candidate) => {
                let Some(cost) = candidate.lasting_cost() else { return Some(candidate) };
                self.by_cost.insert((cost, at));
                self.nodes[node] = Known::Candidate(candidate, cost);
            }
            Err(refusal) => {
                let known = self.refusals.iter().position(|(known, _)| *known == refusal);
                let kind = known.unwrap_or_else(|| {
                    self.refusals.push((refusal, 0));
                    self.refusals.len() - 1
                });
                self.refusals[kind].1 += 1;
                self.nodes[node] = Known::Refused(kind);
            }
        }
        None
    }

    fn none(&self, attempt: &Attempt<'_>) -> Room {
        let mut against = Against::default();
        let refusals = self.refusals.iter().filter(|(_, nodes)| *nodes > 0);
        refusals.for_each(|(refusal, nodes)| against.count(refusal, *nodes));
        against.room(attempt.failure.nodes, self.nodes.len() - self.hopeless)
    }
}

/// By shape and priority: the pods that have to go are those of less.
pub(super) type Kept = FxHashMap<(ShapeId, i32), Candidates>;

impl Engine {
    /// The disruption budgets have changed: what evictions cost is no longer known.
    pub fn forget_rooms(&mut self) {
        self.rooms.clear();
    }

    /// What [`preempt::find`] would answer; `None`: ask it.
    pub fn make_room(&mut self, attempt: &Attempt<'_>) -> Option<Room> {
        let Attempt { pod, profile, cluster, failure, .. } = *attempt;
        // The failure is the one of the decision just made, and each node was asked.
        if failure.rejections.len() != cluster.len() || cluster.promised_to(&pod.uid).is_some() {
            return None;
        }
        let plan = self.plans.get(&profile.scheduler_name)?;
        if !plan.covers(profile, pod, cluster) {
            return None;
        }
        let id = self.shape(pod, profile, cluster)?;
        if self.rules(pod, id, profile, cluster).is_some_and(|rules| self.refuses(rules)) {
            return None;
        }
        let plan = self.plans.get(&profile.scheduler_name)?;
        let shape = &mut self.shapes.get_mut(&id)?.value;
        if !shape.refresh(plan, profile, cluster, &self.log, self.order) {
            return None;
        }
        let local = Local::prepare(pod, plan, profile, cluster)?;
        let key = (id, pod.priority);
        if self.rooms.len() >= KEPT_LIMIT && !self.rooms.contains_key(&key) {
            self.rooms.clear();
        }
        let kept = self.rooms.entry(key).or_default();
        let stale = Mark::advance(&mut kept.mark, self.order, cluster.len(), &self.log);
        kept.follow(stale, cluster.len());
        Some(kept.choose(attempt, shape, &local.into_checks()))
    }
}

impl Rooms for std::cell::RefCell<&mut Engine> {
    fn find(&self, attempt: &Attempt<'_>, limit: Option<Limit>) -> Room {
        // What is kept is known of all nodes; a search that ends early looks at some.
        let kept = if limit.is_none() { self.borrow_mut().make_room(attempt) } else { None };
        kept.unwrap_or_else(|| preempt::find(attempt, limit))
    }
}
