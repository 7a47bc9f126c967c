//! What the scheduler watches, and how each change becomes an event for the state.

mod object;
mod owners;
mod related;

pub(crate) use object::{budget_of, event};

use crate::bind::Answer;
use crate::cache::Owner;
use crate::preempt::Budget;
use crate::state::Event;
use component::informers::{Change, Changes, Informer, Informers, Object};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use objects::labels::Selector;
use objects::views::{Node, Pod};
use owners::{Owning, ReplicaSet, ReplicationController, StatefulSet};
use related::{RelatedChanges, RelatedSources};
use tokio::sync::mpsc::UnboundedReceiver;

/// The informers.
#[derive(Debug)]
pub(crate) struct Sources {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    budgets: Informer<PodDisruptionBudget>,
    namespaces: Informer<Namespace>,
    services: Informer<Service>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
    related: RelatedSources,
}

impl Sources {
    pub(crate) fn start(informers: &Informers) -> Self {
        Self {
            nodes: informers.of(),
            pods: informers.of(),
            budgets: informers.of(),
            namespaces: informers.of(),
            services: informers.of(),
            replica_sets: informers.of(),
            stateful_sets: informers.of(),
            replication_controllers: informers.of(),
            related: RelatedSources::start(informers),
        }
    }

    /// Waits until all of them hold what the server has.
    pub(crate) async fn synced(&self) {
        self.nodes.synced().await;
        self.pods.synced().await;
        self.budgets.synced().await;
        self.namespaces.synced().await;
        self.services.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication_controllers.synced().await;
        self.related.synced().await;
    }
}

/// Something that happened: in the cluster, or to a request of ours.
#[derive(Debug)]
pub(crate) enum Happened {
    Event(Event),
    Answer(Answer),
}

/// All that can happen, in one place and one order.
#[derive(Debug)]
pub(crate) struct Feed {
    answers: UnboundedReceiver<Answer>,
    nodes: Changes<Node>,
    budgets: Changes<PodDisruptionBudget>,
    all_budgets: Informer<PodDisruptionBudget>,
    namespaces: Changes<Namespace>,
    services: Changes<Service>,
    replica_sets: Changes<ReplicaSet>,
    stateful_sets: Changes<StatefulSet>,
    replication_controllers: Changes<ReplicationController>,
    related: RelatedChanges,
    pods: Changes<Pod>,
}

impl Feed {
    /// Begins with everything that is there.
    pub(crate) fn new(sources: &Sources, answers: UnboundedReceiver<Answer>) -> Self {
        Self {
            answers,
            nodes: sources.nodes.changes(),
            budgets: sources.budgets.changes(),
            all_budgets: sources.budgets.clone(),
            namespaces: sources.namespaces.changes(),
            services: sources.services.changes(),
            replica_sets: sources.replica_sets.changes(),
            stateful_sets: sources.stateful_sets.changes(),
            replication_controllers: sources.replication_controllers.changes(),
            related: sources.related.changes(),
            pods: sources.pods.changes(),
        }
    }

    /// What has happened already. Answers go first: that a bind failed is known before the watch shows the pod on
    /// another node. Pods go last: they then find their node and the selectors they are spread by.
    pub(crate) fn try_next(&mut self) -> Option<Happened> {
        if let Ok(answer) = self.answers.try_recv() {
            return Some(Happened::Answer(answer));
        }
        let event = (self.nodes.try_next().map(node_event))
            .or_else(|| self.budgets.try_next().map(|_| budget_event(&self.all_budgets)))
            .or_else(|| self.namespaces.try_next().map(namespace_event))
            .or_else(|| self.services.try_next().map(service_event))
            .or_else(|| self.replica_sets.try_next().map(owner_event))
            .or_else(|| self.stateful_sets.try_next().map(owner_event))
            .or_else(|| self.replication_controllers.try_next().map(owner_event))
            .or_else(|| self.related.try_next())
            .or_else(|| self.pods.try_next().map(pod_event));
        event.map(Happened::Event)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Happened {
        Happened::Event(tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => return Happened::Answer(answer),
            change = self.nodes.next() => node_event(change),
            _ = self.budgets.next() => budget_event(&self.all_budgets),
            change = self.namespaces.next() => namespace_event(change),
            change = self.services.next() => service_event(change),
            change = self.replica_sets.next() => owner_event(change),
            change = self.stateful_sets.next() => owner_event(change),
            change = self.replication_controllers.next() => owner_event(change),
            event = self.related.next() => event,
            change = self.pods.next() => pod_event(change),
        })
    }
}

fn node_event(change: Change<Node>) -> Event {
    match change {
        Change::Added(node) | Change::Updated { new: node, .. } => Event::Node(node),
        Change::Deleted(node) => Event::NodeGone(node),
    }
}

fn pod_event(change: Change<Pod>) -> Event {
    match change {
        Change::Added(pod) | Change::Updated { new: pod, .. } => Event::Pod(pod),
        Change::Deleted(pod) => Event::PodGone(pod),
    }
}

/// Budgets are few and read together: any change takes them all in.
fn budget_event(all: &Informer<PodDisruptionBudget>) -> Event {
    Event::Budgets(all.all().iter().filter_map(|budget| self::budget(budget)).collect())
}

/// `None` for a budget whose selector is not valid; it protects nobody.
fn budget(budget: &PodDisruptionBudget) -> Option<Budget> {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let status = budget.status.as_ref();
    let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
    Some(Budget {
        namespace: budget.metadata.namespace.clone().unwrap_or_default(),
        selector: Selector::from_optional(selector).ok()?,
        allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
        disrupted: disrupted.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
    })
}

fn namespace_event(change: Change<Namespace>) -> Event {
    let labels = change.new().map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
    Event::Namespace(change.key().name, labels)
}

fn service_event(change: Change<Service>) -> Event {
    let key = change.key();
    let selector = change.new().and_then(|service| service.spec.as_ref()?.selector.as_ref());
    let selector = selector.filter(|labels| !labels.is_empty()).map(Selector::from_set);
    Event::Service { namespace: key.namespace, name: key.name, selector }
}

fn owner_event<K: Owning + Object>(change: Change<K>) -> Event {
    let key = change.key();
    let owner = Owner { kind: <K as Owning>::KIND, namespace: key.namespace, name: key.name };
    Event::Owner(owner, change.new().and_then(|set| set.selector()))
}
