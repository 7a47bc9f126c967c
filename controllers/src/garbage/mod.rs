//! Deletes what has lost all its owners, and carries out foreground and orphaning deletion of owners.
//!
//! Reads: the metadata of every deletable kind that discovery knows (graph, monitors). Writes: deletes objects,
//! takes off the finalizers `foregroundDeletion` and `orphan`, and removes owner references that lead nowhere.
//! Nothing is deleted on the word of a cache: the object and each of its owners are looked at live first, and the
//! deletion is refused unless the object is still that one in that version.

mod decide;
mod graph;
mod monitors;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use component::events::{Recorder, Type};
use component::work::{Action, Failure, Queue, run_keys};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, Preconditions, PropagationPolicy};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::claim;
use crate::collection::{Collection, guarded, is_not_found};
use crate::context::{Context, reference};
use crate::discovery::Resource;
use decide::{Dependents, Propagation, Standing, Verdict, decide};
use graph::{Attempt, FOREGROUND, Graph, Identity, Node, ORPHAN};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "garbage-collector-controller";

/// Owners remembered as gone, so that a thousand dependents cost one look; as many as upstream.
const ABSENT_LIMIT: usize = 500;

/// Dependents let go at the same time.
const IN_FLIGHT: usize = 16;

/// How long the first lists may take before work begins without those that are missing.
const SYNC_LIMIT: Duration = Duration::from_secs(30);

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let queue = Queue::new(NAME);
    let collector = Arc::new(Collector {
        recorder: ctx.recorder(NAME),
        ctx: ctx.clone(),
        graph: Mutex::default(),
        kinds: Mutex::default(),
        absent: Mutex::default(),
        queue: queue.clone(),
    });
    let first = monitors::start(&collector);
    let synced = async move {
        if tokio::time::timeout(SYNC_LIMIT, first).await.is_err() {
            tracing::warn!(controller = NAME, "some kinds could not be listed, starting without them");
        }
    };
    let work = run_keys(NAME, queue, collector, ctx.config.concurrent_gc_syncs, attempt, ctx.tasks.clone());
    ctx.start(NAME, synced, work);
}

struct Collector {
    ctx: Context,
    recorder: Recorder,
    graph: Mutex<Graph>,
    /// The kinds that can be looked at, by group and kind.
    kinds: Mutex<BTreeMap<(String, String), Resource>>,
    absent: Mutex<Absent>,
    queue: Queue<Attempt>,
}

async fn attempt(attempt: Attempt, collector: Arc<Collector>) -> Result<Action, Error> {
    match attempt {
        Attempt::Delete(uid) => collector.attempt_delete(&uid).await?,
        Attempt::Orphan(uid) => collector.orphan(&uid).await?,
    }
    Ok(Action::await_change())
}

impl Collector {
    async fn attempt_delete(&self, uid: &str) -> Result<(), Error> {
        let Some(node) = self.graph.lock().node(uid).cloned() else { return Ok(()) };
        let settled = !node.assumed && node.owners.is_empty() && !node.deleting_dependents;
        if settled || (node.deleting && !node.deleting_dependents) {
            return Ok(());
        }
        let Some(collection) = self.collection(&node.identity)? else { return Ok(()) };
        let latest = collection.get(&node.identity.name).await.map_err(Error::Look)?;
        let Some(latest) = latest.filter(|latest| latest.uid.as_deref() == Some(uid)) else {
            self.absent.lock().add(node.identity.clone());
            self.enqueue(self.graph.lock().absent(&node.identity));
            return Ok(());
        };
        if node.deleting_dependents {
            return self.wait_for_dependents(&collection, &node, &latest).await;
        }
        let owners = latest.owner_references.clone().unwrap_or_default();
        let mut standings = Vec::with_capacity(owners.len());
        for owner in &owners {
            standings.push((owner, self.standing(owner, &node.identity).await?));
        }
        let dependents = self.dependents(uid);
        let verdict = decide(&latest, &standings, dependents);
        self.carry_out(&collection, &latest, verdict).await
    }

    fn enqueue(&self, attempts: Vec<Attempt>) {
        attempts.into_iter().for_each(|attempt| self.queue.add(attempt));
    }

    fn dependents(&self, uid: &str) -> Dependents {
        let graph = self.graph.lock();
        let mut dependents = graph.dependents(uid).peekable();
        Dependents {
            any: dependents.peek().is_some(),
            waiting: dependents.any(|node| node.deleting_dependents),
        }
    }

    /// Where an object is looked at; none for a namespaced owner named by a cluster-scoped object, which could be in
    /// any namespace.
    fn collection(&self, identity: &Identity) -> Result<Option<Collection>, Error> {
        let kind = (graph::group(&identity.api_version).to_owned(), identity.kind.clone());
        let kinds = self.kinds.lock();
        let resource =
            kinds.get(&kind).ok_or_else(|| Error::Kind(format!("{}/{}", identity.api_version, kind.1)))?;
        if resource.namespaced && identity.namespace.is_empty() {
            return Ok(None);
        }
        let namespace = if resource.namespaced { identity.namespace.as_str() } else { "" };
        Ok(Some(Collection::dynamic(&self.ctx.client, &resource.api, namespace)))
    }

    /// A live look at an owner of `dependent`.
    async fn standing(&self, owner: &OwnerReference, dependent: &Identity) -> Result<Standing, Error> {
        let identity = Identity::of_owner(owner, &dependent.namespace);
        if self.absent.lock().has(&identity) {
            return Ok(Standing::Gone);
        }
        let Some(collection) = self.collection(&identity)? else { return Ok(Standing::Solid) };
        let found = collection.get(&owner.name).await.map_err(Error::Look)?;
        let standing = Standing::of(owner, found.as_ref());
        if standing == Standing::Gone {
            self.warn_of_namespace(owner, dependent);
            self.absent.lock().add(identity);
        }
        Ok(standing)
    }

    /// An owner that exists, but in another namespace, is no owner. Users are surprised by that, so it is told.
    fn warn_of_namespace(&self, owner: &OwnerReference, dependent: &Identity) {
        let elsewhere = |node: &Node| !node.assumed && node.identity.namespace != dependent.namespace;
        if !self.graph.lock().node(&owner.uid).is_some_and(elsewhere) {
            return;
        }
        let namespace = &dependent.namespace;
        let (kind, name, uid) = (format!("{}/{}", owner.api_version, owner.kind), &owner.name, &owner.uid);
        let message = format!(
            "ownerRef [{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace \"{namespace}\""
        );
        let object =
            reference(&dependent.api_version, &dependent.kind, namespace, &dependent.name, &dependent.uid);
        self.recorder.event(&object, Type::Warning, "OwnerRefInvalidNamespace", &message);
    }

    async fn carry_out(
        &self,
        collection: &Collection,
        latest: &ObjectMeta,
        verdict: Verdict,
    ) -> Result<(), Error> {
        let name = latest.name.as_deref().unwrap_or_default();
        match verdict {
            Verdict::Keep => Ok(()),
            Verdict::Disown(owners) => disown(collection, latest, &owners).await.map_err(Error::Disown),
            Verdict::Delete { how, unblock } => {
                if unblock {
                    return unblock_owners(collection, latest).await.map_err(Error::Unblock);
                }
                let params = DeleteParams {
                    propagation_policy: Some(match how {
                        Propagation::Background => PropagationPolicy::Background,
                        Propagation::Foreground => PropagationPolicy::Foreground,
                        Propagation::Orphan => PropagationPolicy::Orphan,
                    }),
                    preconditions: Some(Preconditions {
                        uid: latest.uid.clone(),
                        resource_version: latest.resource_version.clone(),
                    }),
                    ..DeleteParams::default()
                };
                match collection.delete(name, &params).await {
                    Err(error) if !is_not_found(&error) => {
                        Err(Error::Delete { name: name.to_owned(), source: error })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// An owner in foreground deletion goes when nothing blocks it any more.
    async fn wait_for_dependents(
        &self,
        collection: &Collection,
        node: &Node,
        latest: &ObjectMeta,
    ) -> Result<(), Error> {
        let waiting: Option<Vec<Attempt>> = {
            let graph = self.graph.lock();
            let blocking = graph.blocking(&node.identity.uid);
            let idle = blocking.iter().filter(|node| !node.deleting_dependents);
            let idle = idle.map(|node| Attempt::Delete(node.identity.uid.clone())).collect();
            (!blocking.is_empty()).then_some(idle)
        };
        match waiting {
            Some(idle) => self.enqueue(idle),
            None => remove_finalizer(collection, latest, FOREGROUND).await.map_err(Error::Finalizer)?,
        }
        Ok(())
    }

    /// Lets the dependents of an owner go, then the owner.
    async fn orphan(&self, uid: &str) -> Result<(), Error> {
        let (owner, dependents): (Identity, Vec<Identity>) = {
            let graph = self.graph.lock();
            let Some(node) = graph.node(uid) else { return Ok(()) };
            (node.identity.clone(), graph.dependents(uid).map(|node| node.identity.clone()).collect())
        };
        let going: Vec<_> = dependents.iter().map(|dependent| self.let_go(dependent, uid).boxed()).collect();
        stream::iter(going).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        let Some(collection) = self.collection(&owner)? else { return Ok(()) };
        let latest = collection.get(&owner.name).await.map_err(Error::Look)?;
        match latest.filter(|latest| latest.uid.as_deref() == Some(uid)) {
            Some(latest) => remove_finalizer(&collection, &latest, ORPHAN).await.map_err(Error::Finalizer),
            None => Ok(()),
        }
    }

    async fn let_go(&self, dependent: &Identity, owner: &str) -> Result<(), Error> {
        let Some(collection) = self.collection(dependent)? else { return Ok(()) };
        let meta = ObjectMeta {
            name: Some(dependent.name.clone()),
            uid: Some(dependent.uid.clone()),
            ..ObjectMeta::default()
        };
        disown(&collection, &meta, &[owner.to_owned()]).await.map_err(Error::Disown)
    }
}

/// Removes the references to `owners` from an object. An object that is gone or another one by now needs nothing.
async fn disown(collection: &Collection, object: &ObjectMeta, owners: &[String]) -> Result<(), kube::Error> {
    let name = object.name.as_deref().unwrap_or_default();
    let removals: Vec<Value> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
    let patch = json!({"metadata": {"uid": object.uid, "ownerReferences": removals}});
    match collection.patch(name, &Patch::Strategic(patch)).await {
        Err(error) if is_unsupported(&error) => {}
        Err(error) if !claim::is_moot(&error) => return Err(error),
        _ => return Ok(()),
    }
    // Custom kinds know no strategic merge: write the whole list, in the version it was read.
    let Some(latest) = collection.get(name).await?.filter(|latest| latest.uid == object.uid) else {
        return Ok(());
    };
    let kept: Vec<_> =
        latest.owner_references.iter().flatten().filter(|owner| !owners.contains(&owner.uid)).collect();
    collection.patch(name, &guarded(&latest, json!({"metadata": {"ownerReferences": kept}}))).await?;
    Ok(())
}

/// Says in every reference of the object that it does not hold its owner up. The next look deletes it.
async fn unblock_owners(collection: &Collection, latest: &ObjectMeta) -> Result<(), kube::Error> {
    let mut owners = latest.owner_references.clone().unwrap_or_default();
    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
    let patch = guarded(latest, json!({"metadata": {"ownerReferences": owners}}));
    collection.patch(latest.name.as_deref().unwrap_or_default(), &patch).await?;
    Ok(())
}

async fn remove_finalizer(
    collection: &Collection,
    latest: &ObjectMeta,
    finalizer: &str,
) -> Result<(), kube::Error> {
    let before = latest.finalizers.iter().flatten();
    let rest: Vec<&String> = before.filter(|found| *found != finalizer).collect();
    if rest.len() == latest.finalizers.iter().flatten().count() {
        return Ok(());
    }
    let patch = guarded(latest, json!({"metadata": {"finalizers": rest}}));
    match collection.patch(latest.name.as_deref().unwrap_or_default(), &patch).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_unsupported(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 415)
}

/// Owners that a live look did not find. The oldest are forgotten.
#[derive(Debug, Default)]
struct Absent {
    known: BTreeSet<Identity>,
    order: VecDeque<Identity>,
}

impl Absent {
    fn has(&self, identity: &Identity) -> bool {
        self.known.contains(identity)
    }

    fn add(&mut self, identity: Identity) {
        if !self.known.insert(identity.clone()) {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > ABSENT_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the server knows no kind {0}")]
    Kind(String),
    #[error("look at the live object")]
    Look(#[source] kube::Error),
    #[error("remove owner references")]
    Disown(#[source] kube::Error),
    #[error("unblock owners")]
    Unblock(#[source] kube::Error),
    #[error("delete {name}")]
    Delete { name: String, source: kube::Error },
    #[error("remove finalizer")]
    Finalizer(#[source] kube::Error),
}

impl Failure for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_absent_owner_is_forgotten() {
        let identity = |number: usize| Identity {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "ns".into(),
            name: number.to_string(),
            uid: number.to_string(),
        };
        let mut absent = Absent::default();
        (0..=ABSENT_LIMIT).for_each(|number| absent.add(identity(number)));
        absent.add(identity(ABSENT_LIMIT));
        assert!(!absent.has(&identity(0)) && absent.has(&identity(1)));
        assert_eq!(absent.known.len(), ABSENT_LIMIT);
    }
}
