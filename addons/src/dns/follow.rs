//! Keeps the index in step with the cluster.
//!
//! Promise: the index counts as synced only when it holds everything that the first lists held; after that each change
//! is in it as soon as it is told. The lock is held for a bounded number of changes at a time.

use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::{Change, Changes, Informer, Informers};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use objects::views::Pod;
use parking_lot::RwLock;

use super::index::Index;
use super::metrics::Metrics;

/// Changes taken under one lock.
const BATCH: usize = 256;

/// When the pods behind a slice changed, written by the endpoint slice controller.
const CHANGED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The label of slices of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What the index is kept from.
#[derive(Debug)]
pub(super) struct Follower {
    namespaces: Informer<Namespace>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    pods: Option<Informer<Pod>>,
    index: Arc<RwLock<Index>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Follower {
    /// Asks for the informers. Pods are read only if their names are to be verified or searches completed.
    pub(super) fn new(
        informers: &Informers,
        with_pods: bool,
        index: Arc<RwLock<Index>>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            namespaces: informers.of(),
            services: informers.of(),
            slices: informers.of(),
            pods: with_pods.then(|| informers.of()),
            index,
            clock,
            metrics,
        }
    }

    /// Follows for ever.
    pub(super) async fn run(self) {
        let (mut namespaces, mut services) = (self.namespaces.changes(), self.services.changes());
        let (mut slices, mut pods) = (self.slices.changes(), self.pods.as_ref().map(Informer::changes));
        self.namespaces.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        if let Some(pods) = &self.pods {
            pods.synced().await;
        }
        while self.take(None, &mut namespaces, namespace)
            | self.take(None, &mut services, service)
            | self.take(None, &mut slices, slice)
            | pods.as_mut().is_some_and(|pods| self.take(None, pods, pod))
        {
            tokio::task::yield_now().await;
        }
        self.index.write().set_synced();
        tracing::info!("cluster DNS knows the cluster");
        loop {
            tokio::select! {
                change = namespaces.next() => self.take(Some(change), &mut namespaces, namespace),
                change = services.next() => self.take(Some(change), &mut services, service),
                change = slices.next() => {
                    self.measure(&change);
                    self.take(Some(change), &mut slices, slice)
                }
                change = next(&mut pods) => {
                    pods.as_mut().is_some_and(|pods| self.take(Some(change), pods, pod))
                }
            };
        }
    }

    /// Takes a batch of changes, `first` before those that wait; answers whether there were any.
    fn take<K: component::informers::Object>(
        &self,
        first: Option<Change<K>>,
        changes: &mut Changes<K>,
        apply: impl Fn(&mut Index, &Change<K>),
    ) -> bool {
        let mut taken = 0;
        let mut index = self.index.write();
        let waiting = std::iter::from_fn(|| changes.try_next());
        for change in first.into_iter().chain(waiting).take(BATCH) {
            apply(&mut index, &change);
            taken += 1;
        }
        taken > 0
    }

    /// CoreDNS's programming latency, of headless Services as there: from the pods' change to the answers'.
    fn measure(&self, change: &Change<EndpointSlice>) {
        let Some(slice) = change.new().filter(|_| change.old().is_some()) else { return };
        if !slice.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(HEADLESS)) {
            return;
        }
        let written = slice.metadata.annotations.as_ref().and_then(|all| all.get(CHANGED));
        if let Some(when) = written.and_then(|when| when.parse::<Timestamp>().ok()) {
            let took = self.clock.now().duration_since(when);
            self.metrics.programmed(Duration::try_from(took).unwrap_or_default());
        }
    }
}

async fn next(pods: &mut Option<Changes<Pod>>) -> Change<Pod> {
    match pods {
        Some(pods) => pods.next().await,
        None => std::future::pending().await,
    }
}

fn namespace(index: &mut Index, change: &Change<Namespace>) {
    index.set_namespace(&change.key().name, change.new().is_some());
}

fn service(index: &mut Index, change: &Change<Service>) {
    let key = change.key();
    index.set_service(&key.namespace, &key.name, change.new().map(|service| &**service));
}

fn slice(index: &mut Index, change: &Change<EndpointSlice>) {
    index.set_slice(change.old().map(|slice| &**slice), change.new().map(|slice| &**slice));
}

fn pod(index: &mut Index, change: &Change<Pod>) {
    index.set_pod(change.old().map(|pod| &**pod), change.new().map(|pod| &**pod));
}
