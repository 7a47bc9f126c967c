//! The scheduler without its surroundings: what each event changes, and what has to be written because of it.
//!
//! One value owns the cache, the queue and the budgets; [`State::apply`] takes one [`Event`], [`State::schedule_one`]
//! tries one pod, and both leave [`Effect`]s for `bind` to carry out. No client, no clock, no task: the same events,
//! times and seed give the same decisions, so that a test or a simulation can drive it step by step.

mod binding;
mod extending;
mod messages;
mod room;

pub use messages::{Effect, Event, Nomination, WriteError};

use crate::cache::Cache;
use crate::cycle::{self, Placement};
use crate::decisions::{Asked, Decisions, Look};
use crate::engine::Engine;
use crate::extender::Interests;
use crate::framework::{Change, Profile, Profiles, Subject, Wakeup, WakeupSet};
use crate::metrics::{Metrics, Outcome};
use crate::pod::{NodeName, PodInfo, Uid, group_of};
use crate::preempt::Budget;
use crate::queue::{Backoff, Counts, Queue};
use crate::related::Related;
use binding::Bindings;
use component::random::Random;
use extending::Extending;
use jiff::Timestamp;
use objects::views::{Node, Pod};
use std::sync::Arc;

/// Decisions in a listing.
const LISTED_DECISIONS: usize = 500;

/// The state. See the file header.
#[derive(Debug)]
pub struct State {
    profiles: Arc<Profiles>,
    cache: Cache,
    engine: Engine,
    queue: Queue,
    budgets: Vec<Budget>,
    bindings: Bindings,
    extending: Extending,
    interests: Interests,
    random: Random,
    metrics: Metrics,
    effects: Vec<Effect>,
    decisions: Decisions,
}

impl State {
    /// A scheduler that knows nothing yet.
    pub fn new(profiles: Arc<Profiles>, backoff: Backoff, random: Random, metrics: Metrics) -> Self {
        Self {
            queue: Queue::new(profiles.clone(), backoff).measured(metrics.plugins.clone()),
            engine: Engine::new(&profiles),
            profiles,
            cache: Cache::default(),
            budgets: Vec::new(),
            bindings: Bindings::default(),
            extending: Extending::default(),
            interests: Interests::default(),
            random,
            metrics,
            effects: Vec::new(),
            decisions: Decisions::default(),
        }
    }

    /// The same, asking extenders about the pods that concern them.
    #[must_use]
    pub fn with_extenders(self, interests: Interests) -> Self {
        Self { interests, ..self }
    }

    /// Takes one event in.
    pub fn apply(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Pod(pod) if PodInfo::has_ended(&pod) => self.pod_gone(&pod, now),
            Event::Pod(pod) => self.pod_seen(pod, now),
            Event::PodGone(pod) => self.pod_gone(&pod, now),
            Event::Node(node) => self.node_seen(node, now),
            Event::NodeGone(node) => self.node_gone(&NodeName::of(&node), now),
            Event::Service { namespace, name, selector } => {
                self.cache.snapshot_mut().selectors_mut().set_service(&namespace, &name, selector);
            }
            Event::Owner(owner, selector) => {
                self.cache.snapshot_mut().selectors_mut().set_owner(owner, selector)
            }
            Event::Namespace(name, labels) => {
                if self.cache.snapshot_mut().set_namespace(&name, labels) {
                    self.queue.wake(&Change::new(Wakeup::NamespaceLabels, Subject::Other), now);
                }
            }
            Event::Budgets(budgets) => {
                self.budgets = budgets;
                self.engine.forget_rooms();
            }
            Event::Related(object) => {
                let kinds = self.cache.snapshot_mut().see(&object);
                self.related_changed(kinds, &object, now);
            }
            Event::RelatedGone(object) => {
                let kinds = self.cache.snapshot_mut().gone(&object);
                self.related_changed(kinds, &object, now);
            }
            Event::Prepared { pod, wrote, outcome } => self.prepared(&pod, wrote, outcome, now),
            Event::Advised { pod, advice } => self.advised(&pod, advice, now),
            Event::VictimsChosen { pod, offers } => self.victims_chosen(&pod, offers, now),
            Event::NotEvicted { preemptor } => {
                self.unpromise(&preemptor.uid, None, now);
                self.queue.failed(&preemptor.uid, now);
            }
            Event::Bound { pod, node, outcome: Ok(()) } => self.bound(pod, node, now),
            Event::Bound { pod, node, outcome: Err(error) } => self.not_bound(&pod, &node, &error, now),
        }
    }

    /// Tries the next pod. False when none is ready.
    pub fn schedule_one(&mut self, now: Timestamp) -> bool {
        let Some((pod, history)) = self.queue.pop(now) else { return false };
        let Some(profile) = self.profiles.of(&pod) else { return true };
        self.cache.snapshot_mut().begin(now);
        let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
        if let Some((gate, _)) = profile.gate_among(&pod, self.cache.snapshot(), watch) {
            self.queue.set_aside(&pod.uid, gate, now);
            return true;
        }
        if let Some(group) = pod.group() {
            self.cache.snapshot_mut().groups_mut().tried(&group, &pod.uid);
        }
        if self.interests.concern(&pod) {
            self.ask_extenders(pod, history, now);
            return true;
        }
        let Self { cache, engine, random, .. } = self;
        let decision = self.metrics.decide(|| {
            engine.follow(cache.snapshot_mut());
            let known = engine.decide(&pod, profile, cache.snapshot(), random);
            known.unwrap_or_else(|| {
                let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
                cycle::place_watched(&pod, profile, cache.snapshot(), random, &watch)
            })
        });
        match decision {
            Ok(chosen) => {
                let seen = (profile, self.cache.snapshot());
                self.decisions.placed(&pod, history, &chosen, seen, now);
                let Placement { node, .. } = chosen;
                self.commit(pod, node, now);
            }
            Err(failure) => self.unplaced(pod, history, failure, now),
        }
        true
    }

    /// Moves on what has waited or lived long enough.
    pub fn tick(&mut self, now: Timestamp) {
        // Also while nothing waits: what nobody reads would pile up.
        self.engine.follow(self.cache.snapshot_mut());
        self.queue.flush(now);
        self.end_late_bindings(now);
        for pod in self.cache.expire(now) {
            tracing::warn!(%pod, "bound pod never seen by the watch");
            self.wake_for_pod(Wakeup::PodRemoved, &pod, None, now);
        }
    }

    /// When [`Self::tick`] has something to do although no event comes.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = [self.queue.next_due(), self.cache.next_expiry(), self.bindings.next_due()];
        due.into_iter().flatten().min()
    }

    /// True when [`Self::schedule_one`] has something to try.
    pub fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    /// What has to be written, in order; each effect is handed out once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Answers a question with a copy of what is known now.
    pub fn answer(&self, asked: Asked) {
        let Asked { namespace, name, answer } = asked;
        let look = match &name {
            Some(name) => self.look(&namespace, name),
            None => {
                let namespace = Some(&*namespace).filter(|namespace| !namespace.is_empty());
                Look { decisions: self.decisions.last(namespace, LISTED_DECISIONS), ..Look::default() }
            }
        };
        // Nobody waits for it any more: nothing is lost.
        let _ = answer.send(look);
    }

    /// What is known of a pod, and of the cluster around it.
    pub fn look(&self, namespace: &str, name: &str) -> Look {
        let cluster = self.cache.snapshot();
        let on_nodes = || cluster.nodes().iter().flat_map(|node| &node.pods);
        let is_it = |pod: &&Arc<PodInfo>| pod.name() == name && pod.namespace() == namespace;
        let pod = self.queue.find(namespace, name).or_else(|| on_nodes().find(is_it)).cloned();
        let uid = pod.as_ref().map(|pod| &pod.uid);
        Look {
            standing: uid.and_then(|uid| self.queue.standing(uid)),
            decisions: uid.map(|uid| self.decisions.of(uid)).unwrap_or_default(),
            moves: uid.map(|uid| self.queue.moves_of(uid)).unwrap_or_default(),
            cluster: cluster.clone(),
            budgets: self.budgets.clone(),
            profiles: self.profiles.clone(),
            pod,
        }
    }

    /// The cluster, with our own decisions counted in.
    pub fn cluster(&self) -> &crate::cache::Snapshot {
        self.cache.snapshot()
    }

    /// How many pods wait where.
    pub fn counts(&self) -> Counts {
        self.queue.counts()
    }

    /// Brings the gauges and counters of queue and cache up to date.
    pub fn publish_metrics(&mut self) {
        self.metrics.publish(self.queue.counts(), self.queue.take_moves(), self.cache.sizes());
        self.metrics.blame(self.queue.take_blame());
    }

    fn pod_seen(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let info = Arc::new(PodInfo::new(pod));
        self.group_joined(&info, now);
        if let Some(node) = info.node() {
            self.cancel_binding(&info.uid, now);
            self.queue.remove(&info.uid);
            self.unpromise(&info.uid, Some(&node), now);
            let kinds = self.cache.upsert_pod(info.clone(), node);
            let at = if kinds.contains(Wakeup::PodAssigned) { None } else { info.node() };
            let at = at.and_then(|node| self.cache.snapshot().node(&node));
            return self.queue.wake(&Change::several(kinds, Subject::Pod(&info)).on(at), now);
        }
        if self.profiles.of(&info).is_none() {
            // Another scheduler's. Room that it was promised is not ours to give: two that take each other's would
            // go on evicting for ever.
            return self.foreign_promise(&info, now);
        }
        if info.is_deleting() {
            // Placing it would only start what is to be stopped.
            self.cancel_binding(&info.uid, now);
            self.queue.remove(&info.uid);
            return self.unpromise(&info.uid, None, now);
        }
        let assumed = self.cache.node_of(&info.uid).is_some();
        if assumed && self.queue.get(&info.uid).is_none() {
            return; // Bound by us; this is the watch catching up.
        }
        self.renew_promise(&info, now);
        self.queue.upsert(info, now);
    }

    /// Follows what the pod's status says about its nomination. A pod that never said anything keeps the promise
    /// we made: the watch has not shown our write yet.
    fn renew_promise(&mut self, pod: &Arc<PodInfo>, now: Timestamp) {
        let before = self.queue.get(&pod.uid).and_then(|before| before.nominated_node());
        match (pod.nominated_node(), before.is_some()) {
            (Some(node), _) => {
                self.unpromise(&pod.uid, Some(node), now);
                self.cache.snapshot_mut().nominate(pod, node.clone());
            }
            (None, true) => self.unpromise(&pod.uid, None, now),
            (None, false) => {}
        }
    }

    fn foreign_promise(&mut self, pod: &Arc<PodInfo>, now: Timestamp) {
        let node = pod.nominated_node().filter(|_| !pod.is_deleting());
        self.unpromise(&pod.uid, node, now);
        if let Some(node) = node {
            self.cache.snapshot_mut().nominate(pod, node.clone());
        }
    }

    fn pod_gone(&mut self, pod: &Pod, now: Timestamp) {
        let uid = &Uid::of(pod);
        if let Some(group) = group_of(pod) {
            self.cache.snapshot_mut().groups_mut().left(&group, uid);
        }
        self.cancel_binding(uid, now);
        self.queue.remove(uid);
        self.unpromise(uid, None, now);
        let node = self.cache.node_of(uid).cloned();
        if let Some(pod) = self.cache.remove_pod(uid) {
            self.wake_for_pod(Wakeup::PodRemoved, &pod, node.as_ref(), now);
        }
    }

    fn node_seen(&mut self, node: Arc<Node>, now: Timestamp) {
        let name = NodeName::of(&node);
        let before = self.cache.snapshot().node(&name).map(|info| info.node.clone());
        let kinds = self.cache.upsert_node(node);
        if let Some(info) = self.cache.snapshot().node(&name).filter(|_| !kinds.is_empty()) {
            let subject = Subject::Node { now: info, before: before.as_deref() };
            self.queue.wake(&Change::several(kinds, subject), now);
        }
    }

    fn node_gone(&mut self, name: &NodeName, now: Timestamp) {
        self.cache.remove_node(name);
        self.queue.wake(&Change::new(Wakeup::NodeDeleted, Subject::Other), now);
    }

    fn bound(&mut self, pod: Arc<PodInfo>, node: NodeName, now: Timestamp) {
        self.cache.bound(&pod.uid, now);
        for plugin in self.profiles.of(&pod).into_iter().flat_map(Profile::reserves) {
            plugin.bound(&pod, self.cache.snapshot_mut());
        }
        if let Some(history) = self.queue.remove(&pod.uid) {
            self.metrics.attempted(pod.scheduler_name(), Outcome::Scheduled, history, now);
        }
        self.effects.push(Effect::Placed { pod, node });
    }

    fn not_bound(&mut self, pod: &Arc<PodInfo>, node: &NodeName, error: &WriteError, now: Timestamp) {
        self.give_back(pod, node, now);
        self.broken(pod, format!("running Bind plugin \"DefaultBinder\": {error}"), now);
    }

    /// Wakes who waits for the object, and looks at the bindings that do.
    fn related_changed(&mut self, kinds: WakeupSet, object: &Related, now: Timestamp) {
        self.queue.wake(&Change::several(kinds, Subject::Related(object)), now);
        if let Some(claim) = object.claim() {
            self.settle_claim(&claim, now);
        }
    }

    /// Takes back the promise of room to a pod, and wakes who may use it; nobody, if the pod itself goes `to` that node.
    pub(super) fn unpromise(&mut self, uid: &Uid, to: Option<&NodeName>, now: Timestamp) {
        let Some(node) = self.cache.snapshot().promised_to(uid).cloned() else { return };
        let pod = self.cache.snapshot().nominated(&node).iter().find(|pod| pod.uid == *uid).cloned();
        self.cache.snapshot_mut().drop_nomination(uid);
        if let Some(pod) = pod.filter(|_| to != Some(&node)) {
            self.wake_for_pod(Wakeup::PodRemoved, &pod, Some(&node), now);
        }
    }

    /// Something changed about a pod on `node`, if that is known; the cache has taken it in.
    fn wake_for_pod(&mut self, kind: Wakeup, pod: &PodInfo, node: Option<&NodeName>, now: Timestamp) {
        let at = node.and_then(|node| self.cache.snapshot().node(node));
        self.queue.wake(&Change::new(kind, Subject::Pod(pod)).on(at), now);
    }
}

#[cfg(test)]
mod tests;
