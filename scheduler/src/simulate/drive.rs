//! Lets a scheduler's own state decide until nothing is left to do: what it wants written is taken as done.
//!
//! No client, no clock: the state is the real one, with queue, priorities and preemption; only its surroundings are
//! made up. A pod that has to wait for storage to be made counts as placed where its storage would be.

use crate::framework::Profiles;
use crate::metrics::Watch;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::state::{Effect, Event, State};
use jiff::Timestamp;
use objects::owner::controller_of;
use objects::views::{Pod, PodStatus};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decisions a pod and altogether before it is given up; only something that goes in circles gets there.
const DECISIONS_A_POD: usize = 50;
const DECISIONS: usize = 10_000;

/// What came out.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) state: State,
    /// Where pods went.
    pub(super) placed: BTreeMap<Uid, NodeName>,
    /// Why pods went nowhere: the last text of each.
    pub(super) refused: BTreeMap<Uid, String>,
    /// (victim, its node, the pod it went for).
    pub(super) evicted: Vec<(Arc<PodInfo>, NodeName, Arc<PodInfo>)>,
    /// Pods made again in the place of evicted ones.
    pub(super) again: Vec<Arc<Pod>>,
    /// False when it was given up.
    pub(super) at_rest: bool,
}

/// Drives a state that has seen its cluster, with `waiting` pods in it, to rest.
pub(super) fn drive(state: State, waiting: usize, now: Timestamp) -> Driven {
    let mut driven = Driven {
        state,
        placed: BTreeMap::new(),
        refused: BTreeMap::new(),
        evicted: Vec::new(),
        again: Vec::new(),
        at_rest: false,
    };
    for _ in 0..DECISIONS + waiting * DECISIONS_A_POD {
        let decided = driven.state.schedule_one(now);
        let effects = driven.state.take_effects();
        if !decided && effects.is_empty() {
            driven.at_rest = true;
            break;
        }
        effects.into_iter().for_each(|effect| driven.carry_out(effect, now));
    }
    driven
}

impl Driven {
    fn carry_out(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Bind { pod, node, .. } => {
                self.refused.remove(&pod.uid);
                self.placed.insert(pod.uid.clone(), node.clone());
                self.state.apply(Event::Bound { pod, node, outcome: Ok(()) }, now);
            }
            // Not answered: the pod stays assumed where it is, which is all that counts here.
            Effect::Prepare { pod, .. } => {
                let nodes = self.state.cluster().nodes();
                let node = nodes.iter().find(|node| node.pods.iter().any(|other| other.uid == pod.uid));
                if let Some(node) = node {
                    self.refused.remove(&pod.uid);
                    self.placed.insert(pod.uid.clone(), node.name.clone());
                }
            }
            Effect::Unplaced { pod, message, .. } => {
                self.refused.insert(pod.uid.clone(), message);
            }
            Effect::Evict { victim, preemptor, node } => {
                self.placed.remove(&victim.uid);
                self.state.apply(Event::PodGone(victim.view().clone()), now);
                if let Some(again) = again(victim.view()) {
                    self.state.apply(Event::Pod(again.clone()), now);
                    self.again.push(again);
                }
                self.evicted.push((victim, node, preemptor));
            }
            Effect::Extend { pod, .. } | Effect::ChooseVictims { pod, .. } => {
                let why = "an extender would be asked about it, which a simulation does not do";
                self.refused.insert(pod.uid.clone(), why.to_owned());
            }
            Effect::Unnominate { .. }
            | Effect::GroupScheduled { .. }
            | Effect::Waits { .. }
            | Effect::Placed { .. }
            | Effect::TakeBack { .. } => {}
        }
    }

    /// Why a pod waits that was never tried.
    pub(super) fn held_back(&self, profiles: &Profiles, pod: &PodInfo) -> Option<String> {
        let profile = profiles.of(pod)?;
        let cluster = self.state.cluster();
        let held = profile.gate(pod, Watch::OFF).or_else(|| profile.gate_among(pod, cluster, Watch::OFF));
        let (plugin, verdict) = held?;
        Some(format!("held back by {plugin}: {}", verdict.reasons().join(", ")))
    }
}

/// The identity of the pod that stands in for another.
pub(super) fn again_uid(uid: &str) -> String {
    format!("{uid}, again")
}

/// The pod that its owner makes in its place; `None` when nobody does, or only for the same node.
pub(super) fn again(pod: &Pod) -> Option<Arc<Pod>> {
    let owner = controller_of(&pod.metadata)?;
    if ["DaemonSet", "Node"].contains(&&*owner.kind) {
        return None;
    }
    let mut again = pod.clone();
    again.metadata.uid = Some(again_uid(pod.uid()));
    again.metadata.deletion_timestamp = None;
    again.spec.node_name = None;
    again.status = PodStatus::default();
    Some(Arc::new(again))
}
