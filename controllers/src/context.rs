//! What every controller is given: the client, the clock, the informers, the tasks, the configuration.

use std::future::Future;
use std::sync::Arc;

use component::clock::Clock;
use component::events::Recorder;
use component::informers::Informers;
use component::tasks::Tasks;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};

use crate::collection::Collection;
use crate::config::Config;

/// See the module's text. Clones share everything.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) informers: Informers,
    pub(crate) config: Arc<Config>,
}

impl Context {
    /// The objects of a kind in a namespace; none for a cluster-scoped kind.
    pub(crate) fn collection<K: Resource<DynamicType = ()>>(&self, namespace: Option<&str>) -> Collection {
        Collection::of::<K>(&self.client, namespace.unwrap_or_default())
    }

    /// Events by a controller of this name.
    pub(crate) fn recorder(&self, controller: &'static str) -> Recorder {
        Recorder::new(self.client.clone(), controller, self.clock.clone(), &self.tasks)
    }

    /// Starts a controller's task: `work` begins when `synced` is there, and is not begun after a stop.
    pub(crate) fn start(
        &self,
        name: &'static str,
        synced: impl Future<Output = ()> + Send + 'static,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopping = self.tasks.stopping();
        self.tasks.spawn(name, async move {
            tokio::select! {
                biased;
                () = stopping => return,
                () = synced => {}
            }
            work.await;
        });
    }
}

/// A reference to an object that is known by its parts only.
pub(crate) fn reference(
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    uid: &str,
) -> ObjectReference {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ObjectReference {
        api_version: some(api_version),
        kind: some(kind),
        namespace: some(namespace),
        name: some(name),
        uid: some(uid),
        ..ObjectReference::default()
    }
}
