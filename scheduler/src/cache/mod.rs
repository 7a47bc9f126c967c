//! The cache: which pod is on which node, by the watch and by our own decisions that the watch has not shown yet.
//!
//! A placement is *assumed* the moment it is decided, so that the next cycle counts it; the watch confirms it, a
//! failed bind takes it back, and [`ASSUMED_LIMIT`] after a bind that the watch never showed it expires. Owned by the
//! scheduler's one task; a cycle borrows [`Snapshot`] and copies nothing. Upstream: `backend/cache`.

mod gauge;
mod journal;
mod node;
mod ports;
mod selectors;
mod snapshot;

pub use gauge::Gauge;
pub use journal::{Delta, Unread};
pub(crate) use node::normal_image_name;
pub use node::{Counting, NodeInfo, Resource, Scored};
pub use ports::{HostPort, HostPorts};
pub use selectors::{Owner, Selectors};
pub use snapshot::Snapshot;

use crate::framework::{Wakeup, WakeupSet};
use crate::pod::{NodeName, PodInfo, Uid};
use jiff::{SignedDuration, Timestamp};
use objects::views::Node;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long after a successful bind an assumed pod is kept although the watch has not shown it. A net below the
/// informers, which deliver every change: long enough that only a lost object is ever caught by it.
pub const ASSUMED_LIMIT: SignedDuration = SignedDuration::from_mins(15);

/// The cache. See the file header.
#[derive(Debug, Default)]
pub struct Cache {
    snapshot: Snapshot,
    /// Every pod that has a node, ours or not.
    pods: FxHashMap<Uid, Held>,
    /// Pods on nodes that are not there (yet, or any more).
    homeless: FxHashMap<NodeName, Vec<Arc<PodInfo>>>,
    /// How many of them the watch has not shown yet.
    assumed: usize,
    /// Assumed pods whose bind succeeded, by the time at which they expire.
    expiring: BTreeSet<(Timestamp, Uid)>,
}

#[derive(Debug)]
struct Held {
    pod: Arc<PodInfo>,
    node: NodeName,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Decided by us; the bind is under way.
    Binding,
    /// Bound by us; not seen in the watch yet.
    Bound { expires: Timestamp },
    /// Seen in the watch.
    Confirmed,
}

impl Cache {
    /// What a cycle reads.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What dry runs and the owner of nominations and namespaces change.
    pub fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// A node appeared or changed. Answers what that may mean to waiting pods.
    pub fn upsert_node(&mut self, node: Arc<Node>) -> WakeupSet {
        let name = NodeName::of(&node);
        let Some(before) = self.snapshot.node(&name) else {
            let mut info = NodeInfo::new(node);
            for pod in self.homeless.remove(&name).unwrap_or_default() {
                info.add_pod(pod);
            }
            self.snapshot.insert(info);
            return WakeupSet::of(&[Wakeup::NodeAdded]);
        };
        let kinds = before.changes_to(&node);
        self.snapshot.replace_node(&name, node);
        kinds
    }

    /// A node went away; its pods are kept for the case that it comes back.
    pub fn remove_node(&mut self, name: &NodeName) {
        if let Some(info) = self.snapshot.remove(name).filter(|info| !info.pods.is_empty()) {
            self.homeless.insert(name.clone(), info.pods.clone());
        }
    }

    /// The watch shows `pod` on `node`. Answers what that may mean to waiting pods.
    pub fn upsert_pod(&mut self, pod: Arc<PodInfo>, node: NodeName) -> WakeupSet {
        let Some(held) = self.pods.get(&pod.uid) else {
            self.hold(pod, node, State::Confirmed);
            return WakeupSet::of(&[Wakeup::PodAssigned]);
        };
        let (known, before, moved) = (held.state == State::Confirmed, held.pod.clone(), held.node != node);
        if !moved && pod.counts_as(&before) {
            self.confirm(&pod, &node);
        } else {
            self.drop_pod(&pod.uid);
            self.hold(pod.clone(), node, State::Confirmed);
        }
        match (known, moved) {
            (false, false) => WakeupSet::of(&[Wakeup::PodAssigned]),
            (_, true) => WakeupSet::of(&[Wakeup::PodAssigned, Wakeup::PodRemoved]),
            (true, false) => pod.changes_as_assigned(&before),
        }
    }

    /// The pod is gone or has ended. Answers it with its node, if it held one.
    pub fn remove_pod(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        self.drop_pod(uid)
    }

    /// Our own decision, to be counted from now on.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: NodeName) {
        self.hold(pod, node, State::Binding);
    }

    /// The bind succeeded; the watch will show it.
    pub fn bound(&mut self, uid: &Uid, now: Timestamp) {
        if let Some(held) = self.pods.get_mut(uid).filter(|held| held.state == State::Binding) {
            let expires = now + ASSUMED_LIMIT;
            held.state = State::Bound { expires };
            self.expiring.insert((expires, uid.clone()));
        }
    }

    /// The bind failed: takes the assumption back, unless the watch has confirmed it meanwhile.
    pub fn forget(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        match self.pods.get(uid)?.state {
            State::Confirmed => None,
            State::Binding | State::Bound { .. } => self.drop_pod(uid),
        }
    }

    /// Takes back assumed pods whose time is over.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Arc<PodInfo>> {
        let mut expired = Vec::new();
        while let Some((_, uid)) = self.expiring.first().filter(|(expires, _)| *expires <= now).cloned() {
            expired.extend(self.drop_pod(&uid));
        }
        expired
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// The node the pod is on, by the watch or by assumption.
    pub fn node_of(&self, uid: &Uid) -> Option<&NodeName> {
        self.pods.get(uid).map(|held| &held.node)
    }

    /// True when the watch shows the pod on a node.
    pub fn is_confirmed(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|held| held.state == State::Confirmed)
    }

    /// (nodes, pods, assumed pods), as in `scheduler_scheduler_cache_size`.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.snapshot.len(), self.pods.len(), self.assumed)
    }

    /// The watch shows a pod that we hold on that node, and that counts as before: no sum changes.
    fn confirm(&mut self, pod: &Arc<PodInfo>, node: &NodeName) {
        let Some(held) = self.pods.get_mut(&pod.uid) else { return };
        let before = std::mem::replace(&mut held.state, State::Confirmed);
        held.pod = pod.clone();
        self.assumed -= usize::from(before != State::Confirmed);
        if let State::Bound { expires } = before {
            self.expiring.remove(&(expires, pod.uid.clone()));
        }
        self.snapshot.refresh_pod(node, pod);
        if let Some(pods) = self.homeless.get_mut(node)
            && let Some(known) = pods.iter_mut().find(|known| known.uid == pod.uid)
        {
            *known = pod.clone();
        }
    }

    fn hold(&mut self, pod: Arc<PodInfo>, node: NodeName, state: State) {
        if !self.snapshot.add_pod(&node, &pod) {
            self.homeless.entry(node.clone()).or_default().push(pod.clone());
        }
        self.assumed += usize::from(state != State::Confirmed);
        self.pods.insert(pod.uid.clone(), Held { pod, node, state });
    }

    fn drop_pod(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        let held = self.pods.remove(uid)?;
        self.assumed -= usize::from(held.state != State::Confirmed);
        if let State::Bound { expires } = held.state {
            self.expiring.remove(&(expires, uid.clone()));
        }
        if !self.snapshot.remove_pod(&held.node, uid)
            && let Some(pods) = self.homeless.get_mut(&held.node)
        {
            pods.retain(|pod| pod.uid != *uid);
            if pods.is_empty() {
                self.homeless.remove(&held.node);
            }
        }
        Some(held.pod)
    }
}

#[cfg(test)]
mod tests;
