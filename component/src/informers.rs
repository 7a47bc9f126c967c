//! Local copies of the objects a process reads, one watch a kind.
//!
//! Promise: a store holds what the server held at one revision, never a mix; every reader of its changes learns of
//! every object that went away, also when the watch was interrupted meanwhile; everything is ordered by namespace
//! and name. Reads never wait for the network.
//!
//! The watch loop is our own (`source.rs`) and not kube's `watcher`, because that keeps the list's revision and
//! the bookmarks to itself: without them the watermark of a kind that rests would stand still.

mod changes;
mod source;
mod store;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use changes::{Change, Changes};
use source::Source;
use store::Store;

use crate::clock::Clock;
use crate::metrics::Registry;
use crate::tasks::Tasks;
use crate::work;

/// What a kind must be to be held. Slim views qualify as well as the full types.
pub trait Object: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Object for K {}

/// An object of any kind, reduced to its metadata.
pub type ObjectMetadata = PartialObjectMeta<DynamicObject>;

/// Where an object is: namespace and name. Ordered by namespace first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace, "" for cluster-wide objects.
    pub namespace: String,

    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a cluster-wide object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// A part of a kind's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// A field selector, e.g. `spec.nodeName=n1`.
    pub fields: Option<String>,

    /// A label selector.
    pub labels: Option<String>,

    /// One namespace; all if `None`.
    pub namespace: Option<String>,
}

/// The informers of a process. Clones are the same set.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    tasks: Tasks,
    clock: Clock,
    metrics: Option<work::Metrics>,
    known: Arc<Mutex<BTreeMap<Id, Known>>>,
}

/// The type objects are decoded as, the path they are listed at, and the part of them.
type Id = (TypeId, String, Selection);

/// How a kind is asked for.
#[derive(Clone, Copy, Default)]
struct Want {
    metadata_only: bool,
    optional: bool,
}

struct Known {
    /// An `Informer<K>`.
    informer: Box<dyn Any + Send>,
    synced: watch::Receiver<bool>,
}

impl Informers {
    /// A set without informers. Their tasks are started in `tasks` and end with it.
    #[must_use]
    pub fn new(client: Client, tasks: Tasks, clock: Clock) -> Self {
        Self { client, tasks, clock, metrics: None, known: Arc::default() }
    }

    /// The same set, counting in a registry: queues that watch its informers are measured. Once a registry, before
    /// the first informer is asked for.
    #[must_use]
    pub fn measured(mut self, registry: &Registry) -> Self {
        self.metrics = Some(work::Metrics::new(registry));
        self
    }

    /// The informer of all objects of a kind. The first call starts it, later ones share it.
    #[must_use]
    pub fn of<K: Object + Resource<DynamicType = ()>>(&self) -> Informer<K> {
        self.selected(Selection::default())
    }

    /// [`of`](Self::of) for a kind that the server need not serve, or not to us: it is then empty, holds nothing up,
    /// and is asked for again every few minutes.
    #[must_use]
    pub fn optional<K: Object + Resource<DynamicType = ()>>(&self) -> Informer<K> {
        let want = Want { optional: true, ..Want::default() };
        self.start(K::url_path(&(), None), Selection::default(), want)
    }

    /// The informer of some objects of a kind; one a selection.
    #[must_use]
    pub fn selected<K: Object + Resource<DynamicType = ()>>(&self, selection: Selection) -> Informer<K> {
        let path = K::url_path(&(), selection.namespace.as_deref());
        self.start(path, selection, Want::default())
    }

    /// The informer of the metadata of all objects of a kind that is known at run time only.
    #[must_use]
    pub fn metadata(&self, resource: &ApiResource) -> Informer<ObjectMetadata> {
        let path = <DynamicObject as Resource>::url_path(resource, None);
        let want = Want { metadata_only: true, ..Want::default() };
        self.start(path, Selection::default(), want)
    }

    /// Waits until every informer asked for so far holds its first list.
    pub async fn synced(&self) {
        let all: Vec<_> = self.known.lock().values().map(|known| known.synced.clone()).collect();
        for mut synced in all {
            // An error would mean that the informer is gone, and then nobody waits for it.
            let _ = synced.wait_for(|synced| *synced).await;
        }
    }

    /// The paths of the informers that do not hold their first list yet, for a health check.
    #[must_use]
    pub fn unsynced(&self) -> Vec<String> {
        let known = self.known.lock();
        let waiting = known.iter().filter(|(_, known)| !*known.synced.borrow());
        waiting.map(|((_, path, _), _)| path.clone()).collect()
    }

    fn start<K: Object>(&self, path: String, selection: Selection, want: Want) -> Informer<K> {
        let mut known = self.known.lock();
        let id = (TypeId::of::<K>(), path, selection);
        if let Some(found) = known.get(&id).and_then(|known| known.informer.downcast_ref::<Informer<K>>()) {
            return found.clone();
        }
        let informer = Informer {
            shared: Arc::new(Shared::new()),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
        };
        let source = Source {
            client: self.client.clone(),
            path: id.1.clone(),
            selection: id.2.clone(),
            metadata_only: want.metadata_only,
            optional: want.optional,
            clock: self.clock.clone(),
        };
        self.tasks.spawn_until_stopped("informer", source.run(Arc::clone(&informer.shared)));
        let synced = informer.shared.synced.subscribe();
        known.insert(id, Known { informer: Box::new(informer.clone()), synced });
        informer
    }
}

impl Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.lock().keys().map(|(_, path, _)| path)).finish()
    }
}

/// The local copy of a kind's objects. Clones share it.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    tasks: Tasks,
    metrics: Option<work::Metrics>,
}

/// Written by the source's task only.
struct Shared<K> {
    store: RwLock<Store<K>>,
    watermark: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

impl<K: Object> Shared<K> {
    fn new() -> Self {
        Self {
            store: RwLock::new(Store::new()),
            watermark: watch::Sender::new(0),
            synced: watch::Sender::new(false),
        }
    }

    /// Says that everything up to `revision` is in the store.
    fn advance(&self, revision: u64) {
        // Notified even if it stands still: an object may have gone without a newer revision.
        self.watermark.send_modify(|watermark| *watermark = revision.max(*watermark));
    }
}

impl<K: Object> Informer<K> {
    /// Waits until the first list is in the store.
    pub async fn synced(&self) {
        // The sender lives in self, so this cannot fail.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is in the store.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.store.read().get(key)
    }

    /// All objects, ordered by key.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.shared.store.read().all()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.store.read().len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of a namespace, ordered by name.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared.store.read().in_namespace(namespace)
    }

    /// The objects whose controller has this UID, ordered by key.
    #[must_use]
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.shared.store.read().by_index(store::CONTROLLER, uid)
    }

    /// Keeps an index: `terms` gives the terms under which an object is found. A name that is taken keeps its first
    /// meaning, so that several users of an informer may ask for the same index.
    pub fn add_index(&self, name: &'static str, terms: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        self.shared.store.write().add_index(name, Box::new(terms));
    }

    /// The objects under a term of an index, ordered by key. The index must have been added.
    #[must_use]
    pub fn by_index(&self, name: &'static str, term: &str) -> Vec<Arc<K>> {
        self.shared.store.read().by_index(name, term)
    }

    /// Everything that changes from here on, beginning with [`Change::Added`] for everything that is there.
    #[must_use]
    pub fn changes(&self) -> Changes<K> {
        self.shared.store.write().subscribe()
    }

    /// The highest revision known to be in the store, 0 before the first list.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        *self.shared.watermark.borrow()
    }

    /// Waits until the watermark is at `revision` or beyond.
    pub async fn reached(&self, revision: u64) {
        // The sender lives in self, so this cannot fail.
        let _ = self.shared.watermark.subscribe().wait_for(|watermark| *watermark >= revision).await;
    }

    /// Waits until the store fulfils a condition, e.g. `|pods| pods.len() == 3`.
    pub async fn until(&self, fulfilled: impl Fn(&Self) -> bool) {
        let _ = self.shared.watermark.subscribe().wait_for(|_| fulfilled(self)).await;
    }

    /// [`until`](Self::until) with a limit; answers whether the condition held in time.
    pub async fn until_within(&self, limit: Duration, fulfilled: impl Fn(&Self) -> bool) -> bool {
        tokio::time::timeout(limit, self.until(fulfilled)).await.is_ok()
    }

    /// The tasks that this informer runs in; what reads its changes belongs there too.
    pub(crate) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) const fn metrics(&self) -> Option<&work::Metrics> {
        self.metrics.as_ref()
    }

    pub(crate) fn watch_watermark(&self) -> watch::Receiver<u64> {
        self.shared.watermark.subscribe()
    }
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks: self.tasks.clone(), metrics: self.metrics.clone() }
    }
}

impl<K: Object> Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = std::any::type_name::<K>();
        f.debug_struct("Informer").field("kind", &kind).field("objects", &self.len()).finish_non_exhaustive()
    }
}

/// The number in a resourceVersion; 0 if it has none (KEP-5504: comparable as decimal numbers).
#[must_use]
pub fn revision(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
