//! Pods between the choice of their node and the bind: what they take is reserved, others are waited for, what has
//! to be written first is written and has its effect.
//!
//! Level-triggered like the rest: a pod that waits is looked at again when a claim it waits for has changed, when
//! another pod it waits for was admitted or given up, or when its time is over. Most pods pass straight through to
//! [`Effect::Bind`]. Upstream: `schedulingCycle` after the choice, `bindingCycle`.

use super::{Effect, Nomination, State, WriteError};
use crate::failure::{Failure, Rejection};
use crate::framework::{Change, Permission, Profile, Settled, Subject, Verdict, Wakeup};
use crate::metrics::{Code, Outcome, Point};
use crate::pod::{NodeName, PodInfo, Uid};
use crate::related::Related;
use component::informers::Key;
use jiff::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The pods that wait on their way to the bind.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    waiting: FxHashMap<Uid, Binding>,
    /// Who has to be looked at when a claim changes.
    by_claim: FxHashMap<Key, BTreeSet<Uid>>,
    due: BTreeSet<(Timestamp, Uid)>,
}

#[derive(Clone, Debug)]
struct Binding {
    pod: Arc<PodInfo>,
    node: NodeName,
    /// When the node was chosen, or the writes were done.
    since: Timestamp,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Others have to come first, at most until then.
    Permit { plugin: &'static str, until: Timestamp },
    /// The writes are under way.
    Writing,
    /// What was written has to have its effect, at most until then.
    Settling { plugin: &'static str, why: String, until: Timestamp, claims: Vec<Key> },
}

impl Binding {
    fn until(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Permit { until, .. } | Phase::Settling { until, .. } => Some(until),
            Phase::Writing => None,
        }
    }
}

impl Bindings {
    fn hold(&mut self, binding: Binding) {
        let uid = binding.pod.uid.clone();
        if let Some(until) = binding.until() {
            self.due.insert((until, uid.clone()));
        }
        if let Phase::Settling { claims, .. } = &binding.phase {
            for claim in claims {
                self.by_claim.entry(claim.clone()).or_default().insert(uid.clone());
            }
        }
        self.waiting.insert(uid, binding);
    }

    fn take(&mut self, uid: &Uid) -> Option<Binding> {
        let binding = self.waiting.remove(uid)?;
        if let Some(until) = binding.until() {
            self.due.remove(&(until, uid.clone()));
        }
        if let Phase::Settling { claims, .. } = &binding.phase {
            for claim in claims {
                if let Some(uids) = self.by_claim.get_mut(claim) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.by_claim.remove(claim);
                    }
                }
            }
        }
        Some(binding)
    }

    fn take_if(&mut self, uid: &Uid, phase: impl Fn(&Phase) -> bool) -> Option<Binding> {
        self.waiting.get(uid).filter(|binding| phase(&binding.phase))?;
        self.take(uid)
    }

    /// When the next one's time is over.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }
}

/// Why a pod that had a node does not get it.
enum GivenUp {
    /// Something broke; tried again after a back-off.
    Error(String),
    /// A plugin will not have it; tried again when what it waits for changes.
    Refused(&'static str, Verdict),
}

impl State {
    /// The node is chosen. The pod counts as being there from now on, and is on its way to be bound.
    pub(super) fn commit(&mut self, pod: Arc<PodInfo>, node: NodeName, now: Timestamp) {
        self.unpromise(&pod.uid, Some(&node), now);
        self.cache.assume(pod.clone(), node.clone());
        let profiles = self.profiles.clone();
        let Some(profile) = profiles.of(&pod) else { return };
        let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
        let reserved = watch.point(Point::Reserve, Code::of, || {
            profile.reserves().try_for_each(|plugin| {
                let take = || plugin.take(&pod, &node, self.cache.snapshot_mut());
                let taken = watch.plugin(plugin.name(), Point::Reserve, Code::of, take);
                taken.map_err(|why| format!("running Reserve plugin {:?}: {why}", plugin.name()))
            })
        });
        if let Err(message) = reserved {
            return self.give_up(&pod, &node, GivenUp::Error(message), now);
        }
        self.tell_group(&pod);
        if self.ask_permission(profile, pod.clone(), node, now, now) {
            self.ask_the_others(profile, &pod, now);
        }
    }

    /// Answers whether the pod was admitted.
    fn ask_permission(
        &mut self,
        profile: &Profile,
        pod: Arc<PodInfo>,
        node: NodeName,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let mut wait: Option<(Timestamp, &'static str)> = None;
        let code = |permission: &Permission| match permission {
            Permission::Granted => Code::Success,
            Permission::Wait(_) => Code::Wait,
            Permission::Denied(_) => Code::Unschedulable,
        };
        let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
        for plugin in profile.permits() {
            let ask = || plugin.may_bind(&pod, &node, self.cache.snapshot());
            let ask = || watch.plugin(plugin.name(), Point::Permit, code, ask);
            match watch.point(Point::Permit, code, ask) {
                Permission::Granted => {}
                Permission::Wait(limit) => {
                    let mine = (since + limit, plugin.name());
                    wait = Some(wait.map_or(mine, |other| other.min(mine)));
                }
                Permission::Denied(verdict) => {
                    self.give_up(&pod, &node, GivenUp::Refused(plugin.name(), verdict), now);
                    return false;
                }
            }
        }
        if let Some((until, plugin)) = wait {
            let phase = Phase::Permit { plugin, until };
            let first = pod.group().is_some_and(|group| self.cache.snapshot().groups().is_first(&group));
            self.bindings.hold(Binding { pod: pod.clone(), node, since, phase });
            if first {
                // Those of its group that were set back have something to wait for again.
                self.queue.wake(&Change::new(Wakeup::PodAdded, Subject::Pod(&pod)), now);
            }
            return false;
        }
        let writes: Vec<_> = profile
            .pre_binds()
            .flat_map(|plugin| plugin.writes(&pod, &node, self.cache.snapshot(), now))
            .collect();
        if writes.is_empty() {
            self.settle(pod, node, None, now);
        } else {
            self.effects.push(Effect::Prepare { pod: pod.clone(), writes });
            self.bindings.hold(Binding { pod, node, since: now, phase: Phase::Writing });
        }
        true
    }

    /// One pod was admitted or given up: those that wait for it are asked again.
    pub(super) fn ask_the_others(&mut self, profile: &Profile, pod: &PodInfo, now: Timestamp) {
        let concerned: Vec<Uid> =
            profile.permits().flat_map(|plugin| plugin.concerned(pod, self.cache.snapshot())).collect();
        for uid in concerned {
            let waits = |phase: &Phase| matches!(phase, Phase::Permit { .. });
            if let Some(Binding { pod, node, since, .. }) = self.bindings.take_if(&uid, waits)
                && self.ask_permission(profile, pod, node, since, now)
            {
                self.metrics.permitted(Code::Success, now.duration_since(since));
            }
        }
    }

    /// The writes have ended.
    pub(super) fn prepared(
        &mut self,
        pod: &Arc<PodInfo>,
        wrote: Vec<Related>,
        outcome: Result<(), (&'static str, WriteError)>,
        now: Timestamp,
    ) {
        wrote.into_iter().for_each(|object| self.cache.snapshot_mut().wrote(object));
        let writes = |phase: &Phase| matches!(phase, Phase::Writing);
        let Some(Binding { pod, node, .. }) = self.bindings.take_if(&pod.uid, writes) else {
            return; // Given up meanwhile: the pod is gone.
        };
        match outcome {
            Ok(()) => self.settle(pod, node, None, now),
            Err((plugin, error)) => {
                let message = format!("running PreBind plugin {plugin:?}: {error}");
                self.give_up(&pod, &node, GivenUp::Error(message), now);
            }
        }
    }

    /// Binds the pod if all that was written has had its effect. `waits_since`: when the writes were done, if that was
    /// not just now.
    fn settle(&mut self, pod: Arc<PodInfo>, node: NodeName, waits_since: Option<Timestamp>, now: Timestamp) {
        let profiles = self.profiles.clone();
        let Some(profile) = profiles.of(&pod) else { return };
        let mut waits = None;
        for plugin in profile.pre_binds() {
            match plugin.settled(&pod, &node, self.cache.snapshot()) {
                Settled::Yes => {}
                Settled::NotYet => waits = waits.or(Some(plugin)),
                Settled::Never(why) => {
                    let message = format!("running PreBind plugin {:?}: {why}", plugin.name());
                    return self.give_up(&pod, &node, GivenUp::Error(message), now);
                }
            }
        }
        if let Some(plugin) = waits {
            let snapshot = self.cache.snapshot();
            let claims = profile.pre_binds().flat_map(|plugin| plugin.waits_for(&pod, snapshot)).collect();
            if waits_since.is_none()
                && let Some((reason, message)) = plugin.tells(&node)
            {
                self.effects.push(Effect::Waits { pod: pod.clone(), reason, message });
            }
            let since = waits_since.unwrap_or(now);
            let (until, why) = (plugin.deadline(&pod, snapshot, since), plugin.timed_out());
            let phase = Phase::Settling { plugin: plugin.name(), why, until, claims };
            return self.bindings.hold(Binding { pod, node, since, phase });
        }
        let body = profile.binder().map(|binder| binder.binding(&pod, &node)).unwrap_or_default();
        self.effects.push(Effect::Bind { pod, node, body });
    }

    /// A claim changed: looks at the pods that wait for it.
    pub(super) fn settle_claim(&mut self, claim: &Key, now: Timestamp) {
        let uids = self.bindings.by_claim.get(claim).cloned().unwrap_or_default();
        for uid in uids {
            if let Some(Binding { pod, node, since, .. }) = self.bindings.take(&uid) {
                self.settle(pod, node, Some(since), now);
            }
        }
    }

    /// Gives up those whose time is over.
    pub(super) fn end_late_bindings(&mut self, now: Timestamp) {
        while let Some((_, uid)) = self.bindings.due.first().filter(|(until, _)| *until <= now).cloned() {
            let Some(Binding { pod, node, since, phase }) = self.bindings.take(&uid) else { return };
            let why = match phase {
                Phase::Permit { plugin, until } => {
                    self.metrics.permitted(Code::Unschedulable, now.duration_since(since));
                    let waited = until.duration_since(since).as_secs();
                    let why = format!("rejected due to timeout after waiting {waited}s at plugin {plugin}");
                    GivenUp::Refused(plugin, Verdict::Later(why.into()))
                }
                Phase::Settling { plugin, why, .. } => {
                    GivenUp::Error(format!("running PreBind plugin {plugin:?}: {why}"))
                }
                Phase::Writing => return,
            };
            self.give_up(&pod, &node, why, now);
        }
    }

    /// Notes a pod of a group that the watch shows.
    pub(super) fn group_joined(&mut self, pod: &PodInfo, now: Timestamp) {
        let Some(group) = pod.group() else { return };
        if pod.is_deleting() {
            return self.cache.snapshot_mut().groups_mut().left(&group, &pod.uid);
        }
        let has_node = pod.node().is_some();
        if self.cache.snapshot_mut().groups_mut().joined(&group, &pod.uid, has_node) {
            self.queue.wake(&Change::new(Wakeup::PodAdded, Subject::Pod(pod)), now);
        }
        if has_node {
            self.tell_group(pod);
        }
    }

    /// Has it said when it was decided just now whether the pod's group is scheduled.
    fn tell_group(&mut self, pod: &PodInfo) {
        let Some(group) = pod.group() else { return };
        if let Some((group, scheduled)) = self.cache.snapshot_mut().groups_mut().news(&group) {
            self.effects.push(Effect::GroupScheduled { group, scheduled });
        }
    }

    /// Notes that a pod of a group fits nowhere: those that wait for it may have waited in vain.
    pub(super) fn group_refused(&mut self, pod: &PodInfo, now: Timestamp) {
        let Some(group) = pod.group() else { return };
        self.cache.snapshot_mut().groups_mut().refused(&group, &pod.uid);
        self.tell_group(pod);
        let profiles = self.profiles.clone();
        if let Some(profile) = profiles.of(pod) {
            self.ask_the_others(profile, pod, now);
        }
    }

    /// The pod is gone, or on its way out: gives back what it had taken.
    pub(super) fn cancel_binding(&mut self, uid: &Uid, now: Timestamp) {
        let Some(Binding { pod, node, .. }) = self.bindings.take(uid) else { return };
        self.give_back(&pod, &node, now);
    }

    /// Takes back everything that was done for a pod that is not bound.
    pub(super) fn give_back(&mut self, pod: &Arc<PodInfo>, node: &NodeName, now: Timestamp) {
        let profiles = self.profiles.clone();
        if let Some(profile) = profiles.of(pod) {
            let snapshot = self.cache.snapshot();
            let writes: Vec<_> =
                profile.pre_binds().flat_map(|plugin| plugin.takes_back(pod, snapshot)).collect();
            if !writes.is_empty() {
                self.effects.push(Effect::TakeBack { pod: pod.clone(), writes });
            }
            let watch = self.metrics.plugins.cycle(&profile.scheduler_name);
            watch.point(
                Point::Unreserve,
                |()| Code::Success,
                || {
                    for plugin in profile.reserves().rev() {
                        let give_back = || plugin.give_back(pod, node, self.cache.snapshot_mut());
                        watch.plugin(plugin.name(), Point::Unreserve, |()| Code::Success, give_back);
                    }
                },
            );
        }
        if let Some(pod) = self.cache.forget(&pod.uid) {
            self.wake_for_pod(Wakeup::PodRemoved, &pod, Some(node), now);
        }
        if let Some(profile) = profiles.of(pod) {
            self.ask_the_others(profile, pod, now);
        }
    }

    fn give_up(&mut self, pod: &Arc<PodInfo>, node: &NodeName, why: GivenUp, now: Timestamp) {
        self.give_back(pod, node, now);
        match why {
            GivenUp::Error(message) => self.broken(pod, message, now),
            GivenUp::Refused(plugin, verdict) => {
                let rejection = Rejection { node: 0, plugin, verdict };
                let failure = Failure::no_fit(1, vec![rejection], Vec::new());
                let Some(history) = self.queue.refused(&pod.uid, failure.rejectors(), now) else { return };
                self.metrics.attempted(pod.scheduler_name(), Outcome::Unschedulable, history, now);
                self.effects.push(Effect::Unplaced {
                    pod: pod.clone(),
                    reason: "Unschedulable",
                    message: failure.to_string(),
                    nomination: Nomination::Keep,
                });
            }
        }
    }

    /// Something broke after the choice: the pod is tried again after a back-off, and the user is told.
    pub(super) fn broken(&mut self, pod: &Arc<PodInfo>, message: String, now: Timestamp) {
        let Some(history) = self.queue.failed(&pod.uid, now) else {
            return; // Gone meanwhile, or another scheduler was quicker and the watch has shown it.
        };
        self.metrics.attempted(pod.scheduler_name(), Outcome::Error, history, now);
        self.decisions.not_bound(pod, &message, now);
        let (reason, nomination) = ("SchedulerError", Nomination::Keep);
        self.effects.push(Effect::Unplaced { pod: pod.clone(), reason, message, nomination });
    }
}
