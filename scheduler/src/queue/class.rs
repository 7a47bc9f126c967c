//! A class of waiting pods: refused by the same plugins, and alike in everything that a plugin reads of a pod to tell
//! whether a change helps it.

use super::Ticket;
use crate::framework::{Atom, Space, Wakeup};
use crate::pod::PodInfo;
use objects::declared_features::needed_by;
use objects::views::{PodSpec, Volume};
use rustc_hash::FxHasher;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The short name of a class; later classes have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClassId(pub(super) u64);

impl ClassId {
    /// After all others.
    pub(super) const LAST: Self = Self(u64::MAX);
}

/// Under what a class is filed for one kind of change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Posting {
    Always,
    Atom(Atom),
    Space(Space),
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) fingerprint: u64,
    /// Stands for all of them.
    pub(super) pod: Arc<PodInfo>,
    pub(super) rejectors: Vec<&'static str>,
    pub(super) members: BTreeSet<Ticket>,
    pub(super) postings: Vec<(Wakeup, Posting)>,
}

impl Class {
    pub(super) fn new(
        fingerprint: u64,
        pod: Arc<PodInfo>,
        rejectors: Vec<&'static str>,
        postings: Vec<(Wakeup, Posting)>,
    ) -> Self {
        Self { fingerprint, pod, rejectors, members: BTreeSet::new(), postings }
    }

    /// The same for all pods of a class, and rarely for others.
    pub(super) fn fingerprint(pod: &PodInfo, rejectors: &[&'static str]) -> u64 {
        let mut hasher = FxHasher::default();
        let requests = (pod.requests.milli_cpu, pod.requests.memory, pod.requests.ephemeral);
        (pod.scheduler_name(), pod.namespace(), pod.labels(), pod.priority, requests).hash(&mut hasher);
        (rejectors, &pod.spec().node_selector).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a pod refused by `rejectors` belongs to it.
    pub(super) fn takes(&self, pod: &PodInfo, rejectors: &[&'static str]) -> bool {
        self.rejectors == rejectors && needs_the_same(&self.pod, pod)
    }
}

fn needs_the_same(one: &PodInfo, other: &PodInfo) -> bool {
    if one.uid == other.uid {
        return one == other;
    }
    let owners = |pod: &PodInfo| pod.view().metadata.owner_references.clone();
    one.namespace() == other.namespace()
        && one.labels() == other.labels()
        && one.requests == other.requests
        && one.ports == other.ports
        && needed_by(one.spec()).eq(needed_by(other.spec()))
        && owners(one) == owners(other)
        && specs_agree(one.spec(), other.spec())
}

/// Names every field, so that a new one is not forgotten here.
fn specs_agree(one: &PodSpec, other: &PodSpec) -> bool {
    let PodSpec {
        node_name: _,
        scheduler_name,
        node_selector,
        affinity,
        tolerations,
        topology_spread_constraints,
        scheduling_gates,
        readiness_gates: _,
        // What of them matters to scheduling is in the requests, ports and needed features.
        containers: _,
        init_containers: _,
        overhead: _,
        resources: _,
        priority,
        preemption_policy,
        host_network,
        host_users: _,
        restart_policy: _,
        termination_grace_period_seconds: _,
        service_account_name: _,
        hostname: _,
        subdomain: _,
        volumes,
        scheduling_group,
        resource_claims,
    } = one;
    // A volume without a claim, say the token that every pod has under a name of its own, is the node's affair.
    let shared = |volumes: &[Volume]| -> Option<BTreeSet<String>> {
        let own = volumes.iter().any(|volume| volume.ephemeral || volume.disk.is_some());
        (!own).then(|| volumes.iter().filter_map(|volume| volume.claim.clone()).collect())
    };
    *scheduler_name == other.scheduler_name
        && *node_selector == other.node_selector
        && *affinity == other.affinity
        && *tolerations == other.tolerations
        && *topology_spread_constraints == other.topology_spread_constraints
        && *scheduling_gates == other.scheduling_gates
        && *priority == other.priority
        && *preemption_policy == other.preemption_policy
        && *host_network == other.host_network
        && *scheduling_group == other.scheduling_group
        && *resource_claims == other.resource_claims
        && resource_claims.is_empty()
        && shared(volumes).is_some_and(|claims| shared(&other.volumes) == Some(claims))
}
