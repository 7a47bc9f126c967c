//! Pods of a node: one worker each, fed by the API and by the runtime.
//!
//! Promise: at most one worker a pod uid, and only it acts on that pod and writes its status. News reach it through a
//! slot in which the latest wins (`Inbox`); it then looks at everything anew, so a lost or doubled wake-up does no
//! harm. `plan` decides, `act` does, `status` tells.

mod act;
mod admission;
mod images;
mod observed;
mod plan;
mod record;
mod relist;
mod source;
mod start;
mod status;
mod stop;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use component::clock::Clock;
use component::events::{Recorder, Type};
use component::informers::Informer;
use component::tasks::Tasks;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Config;
use crate::containers::resolv_conf::Names;
use crate::node::Capacity;
use crate::runtime::{PodRef, Runtime};
use crate::services::Service;
use crate::volumes::Volumes;

pub(crate) use observed::{FailedProbe, Health};
pub(crate) use plan::{DEFAULT_GRACE, Hashes, is_sidecar};
pub(crate) use record::{AssignedPod, reference};
pub(crate) use relist::relist;
pub(crate) use source::{Source, follow, source};

/// What all workers of a node share.
pub(crate) struct Node {
    pub name: String,
    pub config: Arc<Config>,
    pub client: Client,
    pub runtime: Arc<dyn Runtime>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub recorder: Recorder,
    pub volumes: Volumes,
    pub names: Names,
    pub addresses: Vec<IpAddr>,
    pub capacity: Capacity,
    /// Services for environment variables; a simulated node needs none.
    pub services: Option<Informer<Service>>,
    /// Labels of the Node object as last seen, for admission.
    pub labels: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Node {
    /// Records an event about a pod, or about one of its containers.
    pub(crate) fn event(
        &self,
        pod: &PodRef,
        container: Option<&str>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        // A simulated start is no news: thousands of them would drown the store.
        if kind == Type::Normal && !self.runtime.is_real() {
            return;
        }
        self.recorder.event(&regarding(pod, container), kind, reason, message);
    }
}

/// The object an event is about. `container`: `spec.containers{NAME}` or the like.
fn regarding(pod: &PodRef, field: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        field_path: field.map(str::to_owned),
        ..Default::default()
    }
}

/// What a worker has to look at. The latest of each wins.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The newest state of the object; `None`: never seen (an orphan).
    pod: Option<Arc<AssignedPod>>,
    /// The object is gone.
    gone: bool,
    /// What probes say, by container id.
    health: BTreeMap<String, Health>,
    /// Stops that have ended, by container id.
    stopped: Vec<String>,
}

/// The slot of a worker.
pub(crate) type Slot = Arc<watch::Sender<Inbox>>;

/// The workers of one node.
#[derive(Clone)]
pub(crate) struct Pods {
    node: Arc<Node>,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    /// What admitted pods ask for, by uid.
    admitted: admission::Ledger,
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pods")
            .field("node", &self.node.name)
            .field("workers", &self.slots.lock().len())
            .finish()
    }
}

impl Pods {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, slots: Arc::default(), admitted: admission::Ledger::default() }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The API's newest word about a pod.
    pub(crate) fn wanted(&self, pod: Arc<AssignedPod>) {
        let uid = pod.uid().to_owned();
        self.tell(&uid, |inbox| {
            inbox.gone &= inbox.pod.is_some();
            inbox.pod = Some(pod);
        });
    }

    /// The object is gone.
    pub(crate) fn unwanted(&self, uid: &str) {
        if self.slots.lock().contains_key(uid) {
            self.tell(uid, |inbox| inbox.gone = true);
        }
    }

    /// Something about a pod changed in the runtime. Unknown uids are pods without an object: they have to go.
    pub(crate) fn stirred(&self, uid: &str) {
        let known = self.slots.lock().contains_key(uid);
        // A pod may be known to the API and not yet have its worker: `wanted` undoes the mistake.
        self.tell(uid, |inbox| inbox.gone |= !known);
    }

    /// A pod of this node by namespace and name. While one is going and its successor is here, the successor.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<AssignedPod>> {
        let named = self.all().into_iter().filter(|pod| {
            pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
        });
        named.min_by_key(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// The newest state of every pod whose object is there.
    pub(crate) fn all(&self) -> Vec<Arc<AssignedPod>> {
        let present = |slot: &Slot| {
            let inbox = slot.borrow();
            inbox.pod.clone().filter(|_| !inbox.gone)
        };
        self.slots.lock().values().filter_map(present).collect()
    }

    /// Takes over what an earlier run left: pods of the API get their worker before the runtime is looked at, what
    /// has files but no object has to go.
    pub(crate) async fn adopt(&self, source: &Source) {
        if !self.node.runtime.is_real() {
            return;
        }
        let own = source.all().into_iter().filter(|pod| pod.node_name().as_ref() == Some(&self.node.name));
        for pod in own {
            if !self.slots.lock().contains_key(pod.uid()) {
                self.wanted(pod);
            }
        }
        for uid in self.node.volumes.known_pods() {
            self.stirred(&uid);
        }
    }

    /// Uids that have a worker.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.slots.lock().keys().cloned().collect()
    }

    /// Changes a slot and wakes its worker; starts the worker if there is none.
    fn tell(&self, uid: &str, change: impl FnOnce(&mut Inbox)) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(uid) {
            slot.send_modify(change);
            return;
        }
        let mut inbox = Inbox::default();
        change(&mut inbox);
        let slot: Slot = Arc::new(watch::Sender::new(inbox));
        slots.insert(uid.to_owned(), Arc::clone(&slot));
        drop(slots);
        let worker = worker::Worker::new(self.clone(), uid.to_owned(), slot);
        self.node.tasks.spawn_until_stopped("pod", worker.run());
    }

    /// Called by a worker that has nothing left to do. False: there is news after all.
    fn finished(&self, uid: &str, slot: &watch::Receiver<Inbox>) -> bool {
        let mut slots = self.slots.lock();
        if slot.has_changed().unwrap_or(false) {
            return false;
        }
        slots.remove(uid);
        self.admitted.release(uid);
        true
    }
}

/// What a prober needs to know of the runtime's state.
pub(crate) trait Observation: fmt::Debug + Sync {
    /// (name, id) of containers that run, the newest of each name.
    fn running(&self) -> Vec<(String, String)>;
    fn addresses(&self) -> &[IpAddr];
}

impl Observation for observed::Observed {
    fn running(&self) -> Vec<(String, String)> {
        let running = self.containers.iter().filter(|observed| observed.is_running());
        running.map(|observed| (observed.container.name.clone(), observed.container.id.clone())).collect()
    }

    fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

/// Puts a probe's result into a pod's slot; wakes the worker if it is news.
pub(crate) fn set_health(slot: &Slot, id: &str, health: Health, wake: bool) {
    slot.send_if_modified(|inbox| {
        let news = inbox.health.get(id) != Some(&health);
        inbox.health.insert(id.to_owned(), health);
        news && wake
    });
}

/// Forgets results of containers that are gone.
pub(crate) fn keep_health(slot: &Slot, keep: impl Fn(&str) -> bool) {
    slot.send_if_modified(|inbox| {
        inbox.health.retain(|id, _| keep(id));
        false
    });
}

/// `spec.containers{NAME}` and the like, for events.
pub(crate) fn container_field(pod: &k8s_openapi::api::core::v1::Pod, name: &str) -> String {
    worker::field_path(pod, name)
}
