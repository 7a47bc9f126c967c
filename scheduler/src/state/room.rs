//! Pods that fit nowhere: room is made for them if evicting others helps, or they wait for a change.
//!
//! Extenders that have a say about victims are asked through [`Effect::ChooseVictims`], about one pod at a time; the
//! pod stays in flight until they answer ([`Event::VictimsChosen`](super::Event::VictimsChosen)). Upstream: the
//! PostFilter part of `schedule_one.go`, and what `preemption.go` does with its outcome.

use super::extending::About;
use super::{Effect, Nomination, State};
use crate::extender::Offer;
use crate::failure::Failure;
use crate::framework::EXTENDER;
use crate::metrics::{Code, Outcome, Point};
use crate::pod::{NodeName, PodInfo, Uid};
use crate::preempt::{self, Attempt, Candidate, Limit, Room, Rooms};
use crate::queue::History;
use jiff::Timestamp;
use std::cell::RefCell;
use std::sync::Arc;

/// What is told when extenders leave no node.
const NO_CANDIDATE: &str = "no candidate node for preemption";

/// Finds all that could be done, for others to choose from.
#[derive(Debug, Default)]
struct Candidates(RefCell<Vec<Candidate>>);

impl Rooms for Candidates {
    fn find(&self, attempt: &Attempt<'_>, limit: Option<Limit>) -> Room {
        match preempt::candidates(attempt, limit) {
            Err(none) => none,
            Ok(found) => {
                let room = preempt::cheapest(&found, attempt.now).room();
                self.0.replace(found);
                room
            }
        }
    }
}

impl State {
    /// No node fits: tries to make room, and asks those who have a say about it.
    pub(super) fn unplaced(&mut self, pod: Arc<PodInfo>, history: History, failure: Failure, now: Timestamp) {
        if !self.interests.concern_victims(&pod) || failure.is_empty_cluster() {
            let room = self.make_room(&pod, &failure, now);
            return self.refuse(pod, history, failure, room, now);
        }
        if !self.may_ask() {
            // What can be done will be another thing when it is its turn.
            return self.ask_extenders(pod, history, now);
        }
        let profiles = self.profiles.clone();
        let preempt = profiles.of(&pod).and_then(|profile| Some((profile, profile.preempts().next()?)));
        let Some((profile, preempt)) = preempt else { return self.refuse(pod, history, failure, None, now) };
        let (cluster, found) = (self.cache.snapshot(), Candidates::default());
        let attempt = Attempt { pod: &pod, profile, cluster, failure: &failure, budgets: &self.budgets, now };
        self.metrics.tried_to_preempt();
        let room = preempt.make_room(&attempt, &found);
        if room.made().is_none() {
            return self.refuse(pod, history, failure, Some(room), now);
        }
        let found = found.0.into_inner();
        let offers = found.into_iter().filter_map(|candidate| candidate.offer(cluster)).collect();
        self.effects.push(Effect::ChooseVictims { pod: pod.clone(), offers });
        self.ask_about(pod, history, About::Room(failure));
    }

    /// The extenders have said on which nodes room may be made, or failed.
    pub(super) fn victims_chosen(&mut self, uid: &Uid, offers: Result<Vec<Offer>, String>, now: Timestamp) {
        let Some((history, About::Room(failure))) = self.answered(uid) else { return };
        // The pod as it is now; gone or bound by another meanwhile, nobody has to go for it.
        if let Some(pod) = self.queue.in_flight(uid).cloned() {
            let room = self.offered(offers, now);
            self.refuse(pod, history, failure, Some(room), now);
        }
        self.ask_next(now);
    }

    /// The cheapest offer, of the nodes and victims that are still there.
    fn offered(&self, offers: Result<Vec<Offer>, String>, now: Timestamp) -> Room {
        let none = |why: String| Room::None { why, promise_is_void: false, refused_by: vec![EXTENDER] };
        let offers = match offers {
            Ok(offers) => offers,
            Err(error) => return none(error),
        };
        let mut candidates = Vec::new();
        for Offer { node, mut victims, violations } in offers {
            let Some(node) = self.cache.snapshot().node(&node.name) else { continue };
            victims.retain(|victim| node.pods.iter().any(|pod| pod.uid == victim.uid));
            candidates.push(Candidate::new(node.name.clone(), victims, violations, false));
        }
        if candidates.is_empty() {
            return none(NO_CANDIDATE.to_owned());
        }
        preempt::cheapest(&candidates, now).room()
    }

    /// Has room made if it can be, parks the pod, and has the user told.
    fn refuse(
        &mut self,
        pod: Arc<PodInfo>,
        history: History,
        mut failure: Failure,
        room: Option<Room>,
        now: Timestamp,
    ) {
        self.metrics.attempted(pod.scheduler_name(), Outcome::Unschedulable, history, now);
        if let Some(profile) = self.profiles.of(&pod) {
            failure.room = preempt::told(room.as_ref(), profile, &pod);
        }
        let (reason, message) = ("Unschedulable", failure.to_string());
        let made = room.as_ref().and_then(Room::made);
        self.decisions.refused(&pod, history, &failure, &message, made, now);
        let mut rejectors = failure.rejectors();
        if let Some(Room::None { refused_by, .. }) = &room {
            // What makes room possible somewhere may be no change for those who refused that node before.
            rejectors.extend(refused_by);
            rejectors.sort_unstable();
            rejectors.dedup();
        }
        let promise_is_void = matches!(room, Some(Room::None { promise_is_void: true, .. }));
        let nomination = match room {
            Some(Room::None { promise_is_void: true, .. }) if pod.nominated_node().is_some() => {
                Nomination::Clear
            }
            None | Some(Room::None { .. }) => Nomination::Keep,
            Some(Room::Made { node, victims }) => {
                self.evict(&pod, &node, victims);
                Nomination::Set(node)
            }
        };
        self.queue.refused(&pod.uid, rejectors, now);
        self.group_refused(&pod, now);
        if promise_is_void {
            self.unpromise(&pod.uid, None, now);
        }
        self.effects.push(Effect::Unplaced { pod, reason, message, nomination });
    }

    fn make_room(&mut self, pod: &Arc<PodInfo>, failure: &Failure, now: Timestamp) -> Option<Room> {
        if failure.is_empty_cluster() {
            return None;
        }
        let profile = self.profiles.of(pod)?;
        let preempt = profile.preempts().next()?;
        let cluster = self.cache.snapshot();
        let attempt = Attempt { pod, profile, cluster, failure, budgets: &self.budgets, now };
        let rooms = RefCell::new(&mut self.engine);
        self.metrics.tried_to_preempt();
        let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
        let code = |room: &Room| if room.made().is_some() { Code::Success } else { Code::Unschedulable };
        Some(watch.point(Point::PostFilter, code, || {
            watch.plugin(preempt.name(), Point::PostFilter, code, || preempt.make_room(&attempt, &rooms))
        }))
    }

    fn evict(&mut self, pod: &Arc<PodInfo>, node: &NodeName, victims: Vec<Arc<PodInfo>>) {
        self.metrics.preempted(victims.len());
        let lower =
            self.cache.snapshot().nominated(node).iter().filter(|other| other.priority < pod.priority);
        for other in lower.cloned().collect::<Vec<_>>() {
            self.cache.snapshot_mut().drop_nomination(&other.uid);
            self.effects.push(Effect::Unnominate { pod: other });
        }
        self.cache.snapshot_mut().nominate(pod, node.clone());
        for victim in victims {
            self.effects.push(Effect::Evict { victim, preemptor: pod.clone(), node: node.clone() });
        }
    }
}
