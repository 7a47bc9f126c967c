//! Empties a namespace that is being deleted, pods first, says how far it is, and then lets it go.
//!
//! Reads: Namespaces, every namespaced kind that discovery knows. Writes: deletes all objects in the namespace, its
//! status, and its finalizer `kubernetes` (by `finalize`).
//! A kind that cannot be asked or emptied is named in the conditions and does not keep the others from going.

mod conditions;
mod content;

use std::sync::Arc;
use std::time::Duration;

use component::informers::{Change, Informer, Key};
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::core::v1::Namespace;
use objects::views::Pod;
use serde_json::json;

use crate::collection::{Collection, guarded, status_patch};
use crate::context::Context;
use conditions::{Findings, status};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "namespace-controller";

/// The finalizer in `spec.finalizers` that this controller holds.
const FINALIZER: &str = "kubernetes";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let (namespaces, pods) = (ctx.informers.of::<Namespace>(), ctx.informers.of::<Pod>());
    let queue = Queue::new(NAME);
    queue.follow(&namespaces);
    let (going, left) = (namespaces.clone(), pods.clone());
    queue.watch(&pods, move |change| emptied(&going, &left, change));
    let controller =
        Arc::new(Controller { ctx: ctx.clone(), namespaces: namespaces.clone(), queue: queue.clone() });
    let concurrency = ctx.config.concurrent_namespace_syncs;
    let work = run(NAME, namespaces, queue, controller, concurrency, reconcile, ctx.tasks.clone());
    ctx.start(NAME, async {}, work);
}

/// The namespace that lost its last pod and waited for that.
fn emptied(namespaces: &Informer<Namespace>, pods: &Informer<Pod>, change: &Change<Pod>) -> Option<Key> {
    let gone = change.new().is_none().then(|| change.key())?;
    let key = Key::cluster(gone.namespace);
    let namespace = namespaces.get(&key)?;
    let waited = namespace.metadata.deletion_timestamp.is_some() && pods.in_namespace(&key.name).is_empty();
    waited.then_some(key)
}

struct Controller {
    ctx: Context,
    namespaces: Informer<Namespace>,
    queue: Queue<Key>,
}

async fn reconcile(namespace: Arc<Namespace>, controller: Arc<Controller>) -> Result<Action, Error> {
    if !is_ours(&namespace) {
        return Ok(Action::await_change());
    }
    // A live look before anything is destroyed: the name may belong to another namespace by now.
    let key = Key::of(&*namespace);
    let live: Option<Namespace> = controller.door().read(&key.name).await.map_err(Error::Confirm)?;
    let Some(live) = live.filter(|live| live.metadata.uid == namespace.metadata.uid && is_ours(live)) else {
        return Ok(Action::await_change());
    };
    let (findings, wait) = content::delete(&controller.ctx.client, &key.name).await;
    let live = controller.report(&key, live, &findings).await?;
    if findings.clean() {
        controller.finalize(&key, &live).await?;
        return Ok(Action::await_change());
    }
    match findings.failures.first().or(findings.discovery.as_ref()) {
        Some(failure) => Err(Error::Content(failure.clone())),
        None => Ok(Action::requeue(wait)),
    }
}

/// Whether the namespace is going and still waits for this controller.
fn is_ours(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers(namespace).any(|finalizer| finalizer == FINALIZER)
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &String> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten())
}

impl Controller {
    fn door(&self) -> Collection {
        self.ctx.collection::<Namespace>(None)
    }

    /// Writes the conditions; answers the namespace as it stands after that.
    async fn report(&self, key: &Key, mut live: Namespace, findings: &Findings) -> Result<Namespace, Error> {
        let before = live.status.clone().unwrap_or_default();
        let after = status(&before, findings, self.ctx.clock.now());
        let Some(patch) = status_patch(&before, &after) else { return Ok(live) };
        let patched = self.door().patch_status(&key.name, &guarded(&live.metadata, patch)).await;
        let written = patched.map_err(Error::Status)?;
        self.queue.writes().wrote(key, &self.namespaces, &written);
        live.metadata.resource_version = written.metadata.resource_version;
        live.status = Some(after);
        Ok(live)
    }

    /// Takes our finalizer off; the server removes the namespace when it was the last.
    async fn finalize(&self, key: &Key, live: &Namespace) -> Result<(), Error> {
        let rest: Vec<&String> = finalizers(live).filter(|finalizer| *finalizer != FINALIZER).collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": live.metadata,
            "spec": {"finalizers": rest},
        });
        match self.door().replace_in("finalize", &key.name, &body).await {
            Ok(written) => self.queue.writes().deleted(key, &self.namespaces, &written),
            Err(error) if crate::collection::is_not_found(&error) => {}
            Err(error) => return Err(Error::Finalize(error)),
        }
        Ok(())
    }
}

/// When to look again at content that needs `seconds` to go, as upstream.
fn half(seconds: u64) -> Duration {
    Duration::from_secs(seconds / 2 + 1)
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("look at the namespace before its content is deleted")]
    Confirm(#[source] kube::Error),
    #[error("content remains: {0}")]
    Content(String),
    #[error("write status")]
    Status(#[source] kube::Error),
    #[error("finalize")]
    Finalize(#[source] kube::Error),
}

impl Failure for Error {}
