//! From the informers to the world: what has changed, and pods that are about to start.
//!
//! Promise: nothing is judged by half the objects; the world is what the API says, and before it says so, what the
//! runtime says of a new pod's addresses.

use std::net::IpAddr;

use component::informers::{Change, Changes as Feed, Informer, Informers, Key};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use objects::views::Pod;
use rustc_hash::FxHashMap;
use tracing::warn;

use super::guard::{Arrival, Arrivals};
use super::metrics::Metrics;
use super::model::{Changes, PodFacts, Policy, World};

/// Problems that are logged of a policy.
const PROBLEMS_LOGGED: usize = 3;

/// What is watched.
pub(super) struct Follower {
    node: String,
    pods: Informer<Pod>,
    namespaces: Informer<Namespace>,
    policies: Informer<NetworkPolicy>,
    pod_changes: Feed<Pod>,
    namespace_changes: Feed<Namespace>,
    policy_changes: Feed<NetworkPolicy>,
    arrivals: Arrivals,
    /// Pods that are about to start and are not in force yet, and whether the world knows them.
    waiting: Vec<(Arrival, bool)>,
    /// Addresses that the runtime has given to pods, by UID, until the pods are gone.
    given: FxHashMap<Key, (String, Vec<IpAddr>)>,
}

/// What has come.
enum News {
    Pod(Change<Pod>),
    Namespace(Change<Namespace>),
    Policy(Change<NetworkPolicy>),
    Arrival(Arrival),
}

impl Follower {
    /// Starts the watches.
    pub(super) fn start(informers: &Informers, node: &str, arrivals: Arrivals) -> Self {
        let (pods, namespaces, policies) = (informers.of(), informers.of(), informers.of());
        Self {
            node: node.to_owned(),
            pod_changes: pods.changes(),
            namespace_changes: namespaces.changes(),
            policy_changes: policies.changes(),
            pods,
            namespaces,
            policies,
            arrivals,
            waiting: Vec::new(),
            given: FxHashMap::default(),
        }
    }

    /// Waits until all is listed: half the policies would leave pods open.
    pub(super) async fn synced(&self) {
        self.policies.synced().await;
        self.namespaces.synced().await;
        self.pods.synced().await;
    }

    /// Waits for something new and tells the world of it, and of everything else that waits already.
    pub(super) async fn next(&mut self, world: &mut World, changes: &mut Changes) {
        let news = tokio::select! {
            change = self.pod_changes.next() => News::Pod(change),
            change = self.namespace_changes.next() => News::Namespace(change),
            change = self.policy_changes.next() => News::Policy(change),
            arrival = self.arrivals.next() => News::Arrival(arrival),
        };
        self.tell(news, world, changes);
        self.rest(world, changes);
    }

    /// Tells the world of what waits already.
    pub(super) fn rest(&mut self, world: &mut World, changes: &mut Changes) {
        // Policies first, so that a pod that came after a policy meets it.
        while let Some(change) = self.policy_changes.try_next() {
            self.tell(News::Policy(change), world, changes);
        }
        while let Some(change) = self.namespace_changes.try_next() {
            self.tell(News::Namespace(change), world, changes);
        }
        while let Some(change) = self.pod_changes.try_next() {
            self.tell(News::Pod(change), world, changes);
        }
    }

    /// Whether somebody waits whose pod the world knows.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.iter().any(|(_, known)| *known)
    }

    /// The world is in force: lets those start whom it knows.
    pub(super) fn in_force(&mut self, metrics: &Metrics) {
        let waiting = std::mem::take(&mut self.waiting);
        let (known, unknown): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, known)| *known);
        self.waiting = unknown;
        for (arrival, _) in known {
            metrics.guarding.observe(arrival.since.elapsed().as_secs_f64());
            // Who does not wait any more comes again.
            let _ = arrival.in_force.send(());
        }
    }

    fn tell(&mut self, news: News, world: &mut World, changes: &mut Changes) {
        match news {
            News::Pod(change) => {
                let key = change.key();
                if change.new().is_none() {
                    self.given.remove(&key);
                }
                self.pod(&key, change.new().map(|pod| &**pod), world, changes);
            }
            News::Namespace(change) => {
                let labels = change.new().map(|new| new.metadata.labels.clone().unwrap_or_default());
                world.set_namespace(&change.key().name, labels, changes);
            }
            News::Policy(change) => world.set_policy(&change.key(), change.new().and_then(|new| read(new))),
            News::Arrival(arrival) => {
                self.waiting.retain(|(other, _)| !other.in_force.is_closed());
                self.given.insert(arrival.key.clone(), (arrival.uid.clone(), arrival.addresses.clone()));
                let (key, pod) = (arrival.key.clone(), self.pods.get(&arrival.key));
                self.waiting.push((arrival, false));
                self.pod(&key, pod.as_deref(), world, changes);
            }
        }
    }

    fn pod(&mut self, key: &Key, pod: Option<&Pod>, world: &mut World, changes: &mut Changes) {
        let is = |uid: &str| pod.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(uid));
        let given = self.given.get(key).filter(|(uid, _)| is(uid));
        let known = given.map(|(_, addresses)| addresses.as_slice()).unwrap_or_default();
        world.set_pod(key, pod.and_then(|pod| PodFacts::of(pod, &self.node, known)), changes);
        // The agent may have learned before us that the pod was bound to this node; until we do, it is not isolated.
        let is_here = pod.is_some_and(|pod| pod.spec.node_name.as_ref() == Some(&self.node));
        for (arrival, known) in self.waiting.iter_mut().filter(|(arrival, _)| arrival.key == *key) {
            *known = is_here && is(&arrival.uid);
        }
    }
}

fn read(object: &NetworkPolicy) -> Option<Policy> {
    let (policy, problems) = match Policy::of(object) {
        Ok(policy) => {
            let problems = policy.problems.clone();
            (Some(policy), problems)
        }
        Err(problem) => (None, vec![problem]),
    };
    for problem in problems.iter().take(PROBLEMS_LOGGED) {
        warn!(%problem, "policy cannot be followed in full: that part allows nothing");
    }
    policy
}
