//! Feeds the graph from a watch of every deletable kind, and finds new kinds as they appear.
//!
//! Kinds that other controllers watch anyway are taken from their informers; of all others only metadata is held.
//! A kind whose watch fails leaves the others alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use component::informers::{Change, Informer, Object};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::views::{Node, Pod};
use tokio::sync::mpsc;

use super::graph::Observed;
use super::{Collector, NAME};
use crate::discovery::{Resource, discover};
use crate::views::{Deployment, ReplicaSet};

/// How often the server is asked for new kinds, as upstream.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

/// Held by everything that still has a first list to put into the graph.
type Unfinished = mpsc::Sender<()>;

/// Starts the watches. The future resolves when what the first discovery found is in the graph.
pub(super) fn start(collector: &Arc<Collector>) -> impl Future<Output = ()> + Send + use<> {
    let (unfinished, mut finished) = mpsc::channel(1);
    let tasks = collector.ctx.tasks.clone();
    tasks.spawn_until_stopped(NAME, follow_kinds(Arc::clone(collector), unfinished));
    async move {
        // Nothing is sent: it ends when the last sender is dropped.
        let _ = finished.recv().await;
    }
}

async fn follow_kinds(collector: Arc<Collector>, unfinished: Unfinished) {
    let mut unfinished = Some(unfinished);
    loop {
        match discover(&collector.ctx.client).await {
            Ok(discovered) => {
                let gate = unfinished.take();
                discovered.resources.iter().for_each(|resource| add(&collector, resource, gate.as_ref()));
            }
            Err(error) => tracing::warn!(controller = NAME, %error, "kinds could not be discovered"),
        }
        tokio::time::sleep(DISCOVERY_PERIOD).await;
    }
}

/// Starts the watch of a kind that is not known yet.
fn add(collector: &Arc<Collector>, resource: &Resource, gate: Option<&Unfinished>) {
    let watchable = ["delete", "list", "watch"].iter().all(|verb| resource.can(verb));
    let kind = (resource.api.group.clone(), resource.api.kind.clone());
    if !watchable || is_ignored(resource) || collector.kinds.lock().contains_key(&kind) {
        return;
    }
    collector.kinds.lock().insert(kind, resource.clone());
    let informers = &collector.ctx.informers;
    match (resource.api.group.as_str(), resource.api.plural.as_str()) {
        ("", "pods") => feed(collector, resource, informers.of::<Pod>(), gate),
        ("", "nodes") => feed(collector, resource, informers.of::<Node>(), gate),
        ("", "namespaces") => feed(collector, resource, informers.of::<Namespace>(), gate),
        ("", "services") => feed(collector, resource, informers.of::<Service>(), gate),
        ("apps", "deployments") => feed(collector, resource, informers.of::<Deployment>(), gate),
        ("apps", "replicasets") => feed(collector, resource, informers.of::<ReplicaSet>(), gate),
        ("coordination.k8s.io", "leases") => feed(collector, resource, informers.of::<Lease>(), gate),
        ("discovery.k8s.io", "endpointslices") => {
            feed(collector, resource, informers.of::<EndpointSlice>(), gate)
        }
        _ => feed(collector, resource, informers.metadata(&resource.api), gate),
    }
}

/// Events own nothing, are owned by nothing, and there are many.
fn is_ignored(resource: &Resource) -> bool {
    resource.api.plural == "events" && matches!(resource.api.group.as_str(), "" | "events.k8s.io")
}

fn feed<K: Object>(
    collector: &Arc<Collector>,
    resource: &Resource,
    informer: Informer<K>,
    gate: Option<&Unfinished>,
) {
    let (collector, gate) = (Arc::clone(collector), gate.cloned());
    let (api_version, kind) = (resource.api.api_version.clone(), resource.api.kind.clone());
    let tasks = collector.ctx.tasks.clone();
    tasks.spawn_until_stopped(NAME, async move {
        informer.synced().await;
        let mut changes = informer.changes();
        while let Some(change) = changes.try_next() {
            take(&collector, &api_version, &kind, &change);
        }
        drop(gate);
        loop {
            let change = changes.next().await;
            take(&collector, &api_version, &kind, &change);
        }
    });
}

fn take<K: Object>(collector: &Collector, api_version: &str, kind: &str, change: &Change<K>) {
    let meta = change.object().meta();
    let attempts = match change {
        Change::Deleted(_) => collector.graph.lock().gone(meta.uid.as_deref().unwrap_or_default()),
        Change::Updated { old, .. } if is_same(old.meta(), meta) => return,
        Change::Added(_) | Change::Updated { .. } => {
            let Some(observed) = Observed::of(api_version, kind, meta) else { return };
            collector.graph.lock().observe(observed)
        }
    };
    collector.enqueue(attempts);
}

/// Whether the graph would not change: most updates are of status.
fn is_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid
        && old.owner_references == new.owner_references
        && old.finalizers == new.finalizers
        && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some()
}
