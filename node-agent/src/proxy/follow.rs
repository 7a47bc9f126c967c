//! From the informers to the data plane: which services have to be planned anew, and their plans.
//!
//! Promise: a plan is always made of everything known at that moment; changes only say whose plan may be another.

use std::collections::BTreeSet;

use component::clock::Clock;
use component::informers::{Change, Changes as Feed, Informer, Informers, Key, Selection};
use jiff::Timestamp;
use tracing::warn;

use super::config::Config;
use super::metrics::Metrics;
use super::model::{
    Changes, DataPlane, EndpointSlice, LAST_CHANGE, Node, NodeFacts, Service, ServicePlan, plan_service,
    service_of,
};

/// The index of slices by `NAMESPACE/NAME` of their service.
const BY_SERVICE: &str = "service";

/// Problems that are logged a sync; more are counted only.
const PROBLEMS_LOGGED: usize = 10;

/// What is watched, and what of it has to be looked at.
pub(super) struct Follower {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    service_changes: Feed<Service>,
    slice_changes: Feed<EndpointSlice>,
    node_changes: Feed<Node>,
    node: NodeFacts,
    dirty: BTreeSet<Key>,
    /// Every service: the node or the settings are others.
    all_dirty: bool,
    /// When the pods behind the changes changed, by their slices.
    triggers: Vec<Timestamp>,
    metrics: Metrics,
    clock: Clock,
}

impl Follower {
    /// Starts the watches.
    pub(super) fn start(informers: &Informers, config: &Config, metrics: Metrics, clock: Clock) -> Self {
        let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice).map(|key| key.to_string()).into_iter().collect()
        });
        let own =
            Selection { fields: Some(format!("metadata.name={}", config.node_name)), ..Selection::default() };
        let nodes = informers.selected::<Node>(own);
        Self {
            service_changes: services.changes(),
            slice_changes: slices.changes(),
            node_changes: nodes.changes(),
            services,
            slices,
            nodes,
            node: NodeFacts::named(&config.node_name),
            dirty: BTreeSet::new(),
            all_dirty: true,
            triggers: Vec::new(),
            metrics,
            clock,
        }
    }

    /// Waits until all is listed: a plan of half the objects would take away what the kernel has.
    pub(super) async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
    }

    /// Waits for a change and notes everything that has changed by then. False if it was of nothing that matters.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            change = self.service_changes.next() => self.service(&change),
            change = self.slice_changes.next() => self.slice(&change),
            change = self.node_changes.next() => self.own_node(&change),
        }
        self.rest();
        !self.dirty.is_empty() || self.all_dirty
    }

    /// Notes what waits already.
    pub(super) fn rest(&mut self) {
        while let Some(change) = self.service_changes.try_next() {
            self.service(&change);
        }
        while let Some(change) = self.slice_changes.try_next() {
            self.slice(&change);
        }
        while let Some(change) = self.node_changes.try_next() {
            self.own_node(&change);
        }
    }

    pub(super) const fn node(&self) -> &NodeFacts {
        &self.node
    }

    /// When the changes noted so far happened; asking forgets them.
    pub(super) fn take_triggers(&mut self) -> Vec<Timestamp> {
        std::mem::take(&mut self.triggers)
    }

    /// Plans anew what may be another, and adds to `changes` what is.
    pub(super) fn plan(&mut self, config: &Config, plane: &mut DataPlane, changes: &mut Changes) {
        let settings = config.settings(&self.node);
        if settings != plane.settings {
            plane.settings = settings;
            self.all_dirty = true;
        }
        if std::mem::take(&mut self.all_dirty) {
            self.dirty.extend(plane.services().cloned());
            self.dirty.extend(self.services.all().iter().map(|service| Key::of(&**service)));
        }
        let mut problems = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            let plan = match self.services.get(&key) {
                Some(service) => {
                    let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
                    plan_service(&service, &slices, &self.node, &plane.settings)
                }
                None => ServicePlan::default(),
            };
            problems.extend(plan.problems.iter().cloned());
            problems.extend(plane.set(&key, plan, changes));
        }
        for problem in problems.iter().take(PROBLEMS_LOGGED) {
            warn!(%problem, "object cannot be followed in full");
        }
        if problems.len() > PROBLEMS_LOGGED {
            warn!(more = problems.len() - PROBLEMS_LOGGED, "objects cannot be followed in full");
        }
    }

    fn service(&mut self, change: &Change<Service>) {
        self.metrics.service_changes.inc();
        self.metrics.service_changes_pending.inc();
        self.queued();
        self.dirty.insert(change.key());
    }

    fn slice(&mut self, change: &Change<EndpointSlice>) {
        self.metrics.endpoint_changes.inc();
        self.metrics.endpoint_changes_pending.inc();
        self.queued();
        self.dirty.extend(change.old().and_then(|slice| service_of(slice)));
        let Some(new) = change.new() else { return };
        self.dirty.extend(service_of(new));
        let trigger = |slice: &EndpointSlice| -> Option<Timestamp> {
            slice.metadata.annotations.as_ref()?.get(LAST_CHANGE)?.parse().ok()
        };
        // A slice that was listed says nothing about how long it took to get here.
        if let Some(old) = change.old()
            && trigger(old) != trigger(new)
        {
            self.triggers.extend(trigger(new));
        }
    }

    fn own_node(&mut self, change: &Change<Node>) {
        let node = match change.new() {
            Some(node) => NodeFacts::of(node),
            // The rules stay as they are while the node is registered anew.
            None => return,
        };
        if node != self.node {
            self.node = node;
            self.all_dirty = true;
            self.queued();
        }
    }

    fn queued(&self) {
        self.metrics.last_queued.set(self.clock.now().as_second());
    }
}
