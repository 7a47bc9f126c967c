//! Making room, quickly: what evicting from a node would cost is kept a shape of pod, until the node changes.
//!
//! Promise: answers what [`preempt::find`] does. Only for pods that nothing elsewhere concerns; where pods on other
//! nodes matter, evicting from one node may change another, and the plain search looks at all.

use super::log::{Mark, Stale};
use super::shape::Local;
use super::{Engine, ShapeId};
use crate::cycle::Checks;
use crate::preempt::{self, Against, Attempt, Candidate, Limit, Refusal, Room, Rooms};
use rustc_hash::FxHashMap;

/// Shapes whose candidates are kept.
const KEPT_LIMIT: usize = 64;

/// What is kept of one shape of pods that want room.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    mark: Option<Mark>,
    /// By node; `None`: not looked at since it changed.
    nodes: Vec<Option<Result<Candidate, Refusal>>>,
}

impl Candidates {
    /// The cheapest of the nodes that eviction may help, as [`preempt::find`] chooses.
    fn choose(&mut self, attempt: &Attempt<'_>, checks: &Checks<'_>) -> Room {
        let mut best: Option<(preempt::Cost, usize)> = None;
        let mut against = Against::default();
        let (mut asked, mut passing) = (0, Vec::new());
        for at in preempt::curable(attempt.failure) {
            asked += 1;
            let known = self.nodes[at].get_or_insert_with(|| {
                let found = preempt::candidate(attempt, checks, &attempt.cluster.nodes()[at]);
                if found.as_ref().is_ok_and(|candidate| !candidate.lasts()) {
                    passing.push(at);
                }
                found
            });
            match known {
                Ok(candidate) => {
                    let cost = candidate.cost(attempt.now);
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, at));
                    }
                }
                Err(refusal) => against.count(refusal),
            }
        }
        let best = best.and_then(|(_, at)| self.nodes[at].as_ref()?.as_ref().ok());
        let room = best.map(Candidate::room);
        passing.into_iter().for_each(|at| self.nodes[at] = None);
        room.unwrap_or_else(|| against.room(attempt.failure.nodes, asked))
    }
}

/// By shape.
pub(super) type Kept = FxHashMap<ShapeId, Candidates>;

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
        let shape = self.shape(pod, profile, cluster)?;
        if self.rules(pod, shape, profile, cluster).is_some_and(|rules| self.refuses(rules)) {
            return None;
        }
        let plan = self.plans.get(&profile.scheduler_name)?;
        let local = Local::prepare(pod, plan, profile, cluster)?;
        if self.rooms.len() >= KEPT_LIMIT && !self.rooms.contains_key(&shape) {
            self.rooms.clear();
        }
        let kept = self.rooms.entry(shape).or_default();
        match Mark::advance(&mut kept.mark, self.order, cluster.len(), &self.log) {
            Stale::All => {
                kept.nodes.clear();
                kept.nodes.resize_with(cluster.len(), || None);
            }
            Stale::Some(some) => {
                kept.nodes.resize_with(cluster.len(), || None);
                some.iter().for_each(|(at, _)| kept.nodes[*at as usize] = None);
            }
        }
        let room = kept.choose(attempt, &local.into_checks());
        Some(room)
    }
}

impl Rooms for std::cell::RefCell<&mut Engine> {
    fn find(&self, attempt: &Attempt<'_>, limit: Option<Limit>) -> Room {
        // What is kept is known of all nodes; a search that ends early looks at some.
        let kept = if limit.is_none() { self.borrow_mut().make_room(attempt) } else { None };
        kept.unwrap_or_else(|| preempt::find(attempt, limit))
    }
}
