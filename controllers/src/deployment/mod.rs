//! Rolls a Deployment's template out over ReplicaSets, at the pace it allows, and reports how far it is.
//!
//! Reads: Deployments, ReplicaSets, Pods (only whether old ones still exist). Writes: creates, resizes, annotates
//! and deletes the ReplicaSets it owns, and the owner reference of those it adopts or releases; its own revision
//! annotation and `deployments/status`. It never touches a pod.

mod plan;
mod revisions;
mod rolling;
mod status;

use std::sync::Arc;

use component::events::{Recorder, Type};
use component::informers::{Change, Informer, Key};
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::apps::v1::DeploymentStatus;
use kube::Resource as _;
use kube::api::{DeleteParams, Patch, Preconditions};
use objects::labels::{Selector, SelectorError};
use objects::views::Pod;
use objects::{owner, pod};
use serde_json::{Value, json};

use crate::claim::{self, claim};
use crate::collection::{self, Collection, guarded};
use crate::context::Context;
use crate::indexes::{index_orphans, orphans};
use crate::views::{Deployment, ReplicaSet};
use plan::{Draft, Plan, plan};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "deployment-controller";

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let deployments = ctx.informers.of::<Deployment>();
    let (sets, pods) = (ctx.informers.of::<ReplicaSet>(), ctx.informers.of::<Pod>());
    let queue = Queue::new(NAME);
    index_orphans(&sets);
    queue.follow(&deployments);
    queue.follow_owners(&sets, "Deployment");
    let candidates = deployments.clone();
    queue.watch(&sets, move |change| wanting(&candidates, change));
    let (waiting, owners) = (deployments.clone(), sets.clone());
    queue.watch(&pods, move |change| waiting_for(&waiting, &owners, change));
    let controller = Arc::new(Controller {
        recorder: ctx.recorder(NAME),
        ctx: ctx.clone(),
        deployments: deployments.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        queue: queue.clone(),
    });
    let concurrency = ctx.config.concurrent_deployment_syncs;
    let work = run(NAME, deployments, queue, controller, concurrency, reconcile, ctx.tasks.clone());
    let synced = async move {
        sets.synced().await;
        pods.synced().await;
    };
    ctx.start(NAME, synced, work);
}

/// The Deployments that may adopt a ReplicaSet that has no controller (any more).
fn wanting(deployments: &Informer<Deployment>, change: &Change<ReplicaSet>) -> Vec<Key> {
    let Some(found) = change.new().filter(|found| owner::controller_of(&found.metadata).is_none()) else {
        return Vec::new();
    };
    let fits = |deployment: &Arc<Deployment>| {
        let selector = Selector::from_label_selector(&deployment.spec.selector);
        selector.is_ok_and(|selector| !selector.is_everything() && selector.selects(&found.metadata))
    };
    let namespace = found.metadata.namespace.as_deref().unwrap_or_default();
    let all = deployments.in_namespace(namespace);
    all.iter().filter(|deployment| fits(deployment)).map(|deployment| Key::of(&**deployment)).collect()
}

/// The Deployment of strategy Recreate that may wait for this pod to be gone.
fn waiting_for(
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    change: &Change<Pod>,
) -> Option<Key> {
    let last = change.object();
    if change.new().is_some() && !pod::is_finished(last) {
        return None;
    }
    let namespace = last.namespace();
    let set = owner::controller_of(&last.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
    let set = sets.get(&Key::new(namespace, &set.name))?;
    let key = Key::new(namespace, &owner::controller_of(&set.metadata)?.name);
    deployments.get(&key).filter(|deployment| deployment.recreates())?;
    Some(key)
}

struct Controller {
    ctx: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    recorder: Recorder,
}

async fn reconcile(deployment: Arc<Deployment>, controller: Arc<Controller>) -> Result<Action, Error> {
    let now = controller.ctx.clock.now();
    let sets = controller.claim(&deployment).await?;
    let old_pods = |new: Option<&str>| controller.old_pods(&sets, new);
    let plan = plan(&deployment, &sets, old_pods, now);
    if let Some(draft) = &plan.create {
        controller.create(&deployment, draft, &plan).await?;
    }
    controller.change(&deployment, &plan).await?;
    controller.delete(&deployment, &plan).await?;
    controller.report(&deployment, &plan.status, plan.revision.as_deref()).await?;
    Ok(plan.look_again.map_or_else(Action::await_change, Action::requeue))
}

impl Controller {
    fn sets_of(&self, deployment: &Deployment) -> Collection {
        self.ctx.collection::<ReplicaSet>(deployment.metadata.namespace.as_deref())
    }

    fn wrote(&self, deployment: &Deployment, written: &component::informers::ObjectMetadata) {
        self.queue.writes().wrote(&Key::of(deployment), &self.sets, written);
    }

    /// The Deployment's ReplicaSets, after orphans were taken in and sets with other labels let go.
    async fn claim(&self, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let selector = Selector::from_label_selector(&deployment.spec.selector).map_err(Error::Selector)?;
        if selector.is_everything() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&deployment.object_ref(&()), Type::Warning, "SelectingAll", message);
            return Ok(Vec::new());
        }
        let mut candidates = self.sets.owned_by(deployment.uid());
        candidates.extend(orphans(&self.sets, deployment.metadata.namespace.as_deref().unwrap_or_default()));
        let fits = |labels: &_| selector.matches(labels);
        let claim = claim(&deployment.metadata, candidates, |set| &set.metadata, fits);
        for set in claim.release {
            let patch = Patch::Strategic(claim::release(deployment.uid(), &set.metadata));
            match self.sets_of(deployment).patch(set.name(), &patch).await {
                Ok(written) => self.wrote(deployment, &written),
                Err(error) if claim::is_moot(&error) => {}
                Err(error) => return Err(Error::Release(error)),
            }
        }
        if claim.adopt.is_empty() || !self.still_there(deployment).await? {
            return Ok(claim.owned);
        }
        for set in claim.adopt {
            let patch = Patch::Strategic(claim::adoption(&owner::reference(deployment), &set.metadata));
            match self.sets_of(deployment).patch(set.name(), &patch).await {
                Ok(written) => self.wrote(deployment, &written),
                Err(error) if claim::is_moot(&error) => continue,
                Err(error) => return Err(Error::Adopt(error)),
            }
            // Its resourceVersion is another one now: it is changed in the next pass, not in this one.
        }
        Ok(claim.owned)
    }

    /// A live look: a Deployment that is going, or whose name another one has taken, must not adopt.
    async fn still_there(&self, deployment: &Deployment) -> Result<bool, Error> {
        let deployments = self.ctx.collection::<Deployment>(deployment.metadata.namespace.as_deref());
        let found = deployments.get(deployment.name()).await.map_err(Error::Confirm)?;
        Ok(found
            .is_some_and(|found| found.uid == deployment.metadata.uid && found.deletion_timestamp.is_none()))
    }

    /// Whether pods of other sets than the new one still exist and have not ended.
    fn old_pods(&self, sets: &[Arc<ReplicaSet>], new: Option<&str>) -> bool {
        let mut old = sets.iter().filter(|set| Some(set.uid()) != new);
        old.any(|set| self.pods.owned_by(set.uid()).iter().any(|found| !pod::is_finished(found)))
    }

    async fn create(&self, deployment: &Deployment, draft: &Draft, plan: &Plan) -> Result<(), Error> {
        match self.sets_of(deployment).create(&replica_set(deployment, draft)).await {
            Ok(created) => {
                self.wrote(deployment, &created);
                if draft.replicas > 0 {
                    self.tell_scaled(deployment, &draft.name, 0, draft.replicas);
                }
                Ok(())
            }
            Err(error) if collection::is_taken(&error) => self.collided(deployment, draft).await,
            Err(error) if collection::is_namespace_terminating(&error) => Err(Error::Create(error)),
            Err(error) => {
                let why = collection::message(&error);
                let message = format!("Failed to create new replica set \"{}\": {why}", draft.name);
                self.recorder.event(
                    &deployment.object_ref(&()),
                    Type::Warning,
                    "ReplicaSetCreateError",
                    &message,
                );
                let mut status = plan.status.clone();
                status::note_create_failed(deployment, &mut status, &message, self.ctx.clock.now());
                self.report(deployment, &status, None).await?;
                Err(Error::Create(error))
            }
        }
    }

    /// The name of the new set is taken. If it is ours after all, the cache was behind; else the collision count
    /// goes up, which gives another hash and so another name.
    async fn collided(&self, deployment: &Deployment, draft: &Draft) -> Result<(), Error> {
        let found: Option<ReplicaSet> =
            self.sets_of(deployment).read(&draft.name).await.map_err(Error::Confirm)?;
        let ours = found.is_some_and(|found| {
            owner::is_controlled_by(&found.metadata, deployment.uid())
                && found.spec.template.same_as(&deployment.spec.template)
        });
        if !ours {
            let mut status = deployment.status.clone();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.report(deployment, &status, None).await?;
        }
        Err(Error::Taken { set: draft.name.clone() })
    }

    async fn change(&self, deployment: &Deployment, plan: &Plan) -> Result<(), Error> {
        for change in &plan.change {
            let mut spec = serde_json::Map::new();
            spec.extend(change.replicas.map(|replicas| ("replicas".to_owned(), json!(replicas))));
            let ready = change.min_ready_seconds;
            spec.extend(ready.map(|seconds| ("minReadySeconds".to_owned(), json!(seconds))));
            let patch = json!({"metadata": {"annotations": change.annotations}, "spec": spec});
            let set = &change.set;
            let patched = self.sets_of(deployment).patch(set.name(), &guarded(&set.metadata, patch)).await;
            let written = patched.map_err(|source| Error::Change { set: set.name().to_owned(), source })?;
            self.wrote(deployment, &written);
            if let Some(replicas) = change.replicas {
                self.tell_scaled(deployment, set.name(), set.replicas(), replicas);
            }
        }
        Ok(())
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        self.recorder.event(&deployment.object_ref(&()), Type::Normal, "ScalingReplicaSet", &message);
    }

    async fn delete(&self, deployment: &Deployment, plan: &Plan) -> Result<(), Error> {
        for set in &plan.delete {
            // The version too: it must still be as empty as it was when it was chosen.
            let same = Preconditions {
                uid: set.metadata.uid.clone(),
                resource_version: set.metadata.resource_version.clone(),
            };
            let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
            match self.sets_of(deployment).delete(set.name(), &params).await {
                Ok(_) => self.queue.writes().deleted(&Key::of(deployment), &self.sets, &**set),
                Err(error) if claim::is_moot(&error) => {}
                Err(source) => return Err(Error::Delete { set: set.name().to_owned(), source }),
            }
        }
        Ok(())
    }

    async fn report(
        &self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        revision: Option<&str>,
    ) -> Result<(), Error> {
        let mut patch = collection::status_patch(&deployment.status, status);
        if let Some(revision) = revision {
            patch.get_or_insert_with(|| json!({}))["metadata"] = json!({"annotations": {REVISION: revision}});
        }
        let Some(patch) = patch else { return Ok(()) };
        let deployments = self.ctx.collection::<Deployment>(deployment.metadata.namespace.as_deref());
        match deployments.patch_status(deployment.name(), &guarded(&deployment.metadata, patch)).await {
            Ok(written) => self.queue.writes().wrote(&Key::of(deployment), &self.deployments, &written),
            Err(error) if collection::is_not_found(&error) => {}
            Err(error) => return Err(Error::Status(error)),
        }
        Ok(())
    }
}

/// The ReplicaSet to create, in JSON.
fn replica_set(deployment: &Deployment, draft: &Draft) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": draft.name,
            "namespace": deployment.metadata.namespace,
            "labels": draft.template.labels(),
            "annotations": draft.annotations,
            "ownerReferences": [owner::reference(deployment)],
        },
        "spec": {
            "replicas": draft.replicas,
            "minReadySeconds": draft.min_ready_seconds,
            "selector": draft.selector,
            "template": draft.template,
        },
    })
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read the selector")]
    Selector(#[source] SelectorError),
    #[error("look at the live object")]
    Confirm(#[source] kube::Error),
    #[error("adopt replica set")]
    Adopt(#[source] kube::Error),
    #[error("release replica set")]
    Release(#[source] kube::Error),
    #[error("create replica set")]
    Create(#[source] kube::Error),
    #[error("the name of replica set {set} is taken")]
    Taken { set: String },
    #[error("change replica set {set}")]
    Change { set: String, source: kube::Error },
    #[error("delete replica set {set}")]
    Delete { set: String, source: kube::Error },
    #[error("write status")]
    Status(#[source] kube::Error),
}

impl Failure for Error {
    fn terminal(&self) -> bool {
        matches!(self, Self::Selector(_))
    }
}
