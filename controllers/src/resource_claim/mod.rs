//! Makes the ResourceClaims that pods ask for by templates, and takes claims back from pods that have ended.
//!
//! A claim that is made for a pod is owned by it, and its name stands in the pod's status. One whose pods have all
//! ended gives its devices back; one that was made for a pod that has ended is deleted. What pods use is decided by
//! the scheduler, which reserves claims; this only ever shortens the list.
//!
//! Reads: Pods, ResourceClaims, a ResourceClaimTemplate when one is used. Writes: ResourceClaims made from templates,
//! `pods/status` (resourceClaimStatuses), `resourceclaims/status` (reservedFor shorter; allocation and devices gone),
//! their finalizer. Upstream: `pkg/controller/resourceclaim`.

mod plan;

use std::sync::Arc;

use component::informers::{Change, Informer, Key};
use component::work::{Action, Failure, Queue, run_keys};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use kube::api::{DeleteParams, Patch, Preconditions};
use objects::views::Pod;
use objects::{owner, pod};
use serde_json::{Value, json};

use crate::collection::{guarded, is_conflict, is_namespace_terminating, is_not_found};
use crate::context::Context;

/// The name in `--controllers`.
pub(crate) const NAME: &str = "resourceclaim-controller";

/// Passes at a time.
const CONCURRENT: usize = 10;

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let (pods, claims) = (ctx.informers.of::<Pod>(), ctx.informers.optional::<ResourceClaim>());
    let queue = Queue::new(NAME);
    queue.watch(&pods, of_pod);
    queue.watch(&claims, of_claim);
    let controller = Arc::new(Controller {
        ctx: ctx.clone(),
        pods: pods.clone(),
        claims: claims.clone(),
        queue: queue.clone(),
    });
    let work = run_keys(NAME, queue, controller, CONCURRENT, reconcile, ctx.tasks.clone());
    let synced = async move {
        pods.synced().await;
        claims.synced().await;
    };
    ctx.start(NAME, synced, work);
}

/// What a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Pod(Key),
    Claim(Key),
}

/// The pod, and the claims that it uses; nothing for the many pods that use none.
fn of_pod(change: &Change<Pod>) -> Vec<Target> {
    let (Change::Added(found) | Change::Updated { new: found, .. } | Change::Deleted(found)) = change;
    let for_resources = found.status.extended_resource_claim_status.as_ref();
    if found.spec.resource_claims.is_empty() && for_resources.is_none() {
        return Vec::new();
    }
    let made = found.status.resource_claim_statuses.iter().filter_map(|one| one.resource_claim_name.clone());
    let named = found.spec.resource_claims.iter().filter_map(|one| one.resource_claim_name.clone());
    let for_resources = for_resources.map(|made| made.resource_claim_name.clone());
    let claims =
        named.chain(made).chain(for_resources).map(|name| Target::Claim(Key::new(found.namespace(), name)));
    [Target::Pod(change.key())].into_iter().chain(claims).collect()
}

/// The claim, and the pod that it was made for.
fn of_claim(change: &Change<ResourceClaim>) -> Vec<Target> {
    let (Change::Added(claim) | Change::Updated { new: claim, .. } | Change::Deleted(claim)) = change;
    let owner = owner::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
    let namespace = claim.metadata.namespace.clone().unwrap_or_default();
    let owner = owner.map(|owner| Target::Pod(Key::new(namespace, owner.name.clone())));
    [Target::Claim(change.key())].into_iter().chain(owner).collect()
}

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    queue: Queue<Target>,
}

async fn reconcile(target: Target, controller: Arc<Controller>) -> Result<Action, Error> {
    let done = match &target {
        Target::Pod(key) => match controller.pods.get(key) {
            Some(found) => controller.make(&target, &found).await,
            None => Ok(()),
        },
        Target::Claim(key) => match controller.claims.get(key) {
            Some(claim) => controller.take_back(&target, &claim).await,
            None => Ok(()),
        },
    };
    match done {
        // Somebody was quicker; the watch shows what they did.
        Err(Error::Pod(error) | Error::Status(error) | Error::Finalizer(error) | Error::Delete(error))
            if is_not_found(&error) || is_conflict(&error) => {}
        Err(Error::Create(error)) if is_namespace_terminating(&error) => {}
        other => other?,
    }
    Ok(Action::await_change())
}

impl Controller {
    /// Makes the claims that a pod lacks, and notes their names in the pod's status.
    async fn make(&self, target: &Target, found: &Pod) -> Result<(), Error> {
        let namespace = found.namespace();
        let claim = |name: &str| self.claims.get(&Key::new(namespace, name));
        let plan = plan::of_pod(found, claim, &self.claims.owned_by(found.uid()))?;
        let claims = self.ctx.collection::<ResourceClaim>(Some(namespace));
        let mut names = plan.found;
        for wanted in plan.make {
            let templates = self.ctx.collection::<ResourceClaimTemplate>(Some(namespace));
            let template = templates.read::<Value>(wanted.template).await.map_err(Error::ReadTemplate)?;
            let template = template.ok_or_else(|| Error::NoTemplate(wanted.template.to_owned()))?;
            let made = plan::claim(found, wanted.name, &template);
            let made = claims.create(&made).await.map_err(Error::Create)?;
            self.queue.writes().wrote(target, &self.claims, &made);
            names.push((wanted.name, made.metadata.name.unwrap_or_default()));
        }
        if names.is_empty() {
            return Ok(());
        }
        let statuses: Vec<Value> = names
            .into_iter()
            .map(|(name, claim)| json!({"name": name, "resourceClaimName": claim}))
            .collect();
        let patch = json!({"metadata": {"uid": found.uid()}, "status": {"resourceClaimStatuses": statuses}});
        let pods = self.ctx.collection::<Pod>(Some(namespace));
        let written = pods.patch_status(found.name(), &Patch::Strategic(patch)).await.map_err(Error::Pod)?;
        self.queue.writes().wrote(target, &self.pods, &written);
        Ok(())
    }

    /// Takes a claim back from pods that have ended, and its devices when it was the last.
    async fn take_back(&self, target: &Target, claim: &ResourceClaim) -> Result<(), Error> {
        let mut using = Vec::new();
        for consumer in plan::consumers(claim) {
            if self.uses(claim, consumer).await? {
                using.push(consumer.clone());
            }
        }
        let owner = owner::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
        let namespace = claim.metadata.namespace.as_deref();
        let owner_has_ended = owner.is_some_and(|owner| {
            let found = self.pods.get(&Key::new(namespace.unwrap_or_default(), owner.name.clone()));
            found.is_some_and(|found| found.uid() == owner.uid && has_ended(&found))
        });
        let plan = plan::of_claim(claim, using, owner_has_ended);
        let claims = self.ctx.collection::<ResourceClaim>(namespace);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let mut metadata = claim.metadata.clone();
        if let Some(status) = plan.status {
            let patch = guarded(&metadata, json!({ "status": status }));
            let written = claims.patch_status(name, &patch).await.map_err(Error::Status)?;
            self.queue.writes().wrote(target, &self.claims, &written);
            metadata.resource_version = written.metadata.resource_version;
        }
        if let Some(finalizers) = plan.finalizers {
            let patch = guarded(&metadata, json!({"metadata": {"finalizers": finalizers}}));
            let written = claims.patch(name, &patch).await.map_err(Error::Finalizer)?;
            self.queue.writes().wrote(target, &self.claims, &written);
        }
        if plan.delete {
            let preconditions = Preconditions { uid: metadata.uid, resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let deleted = claims.delete(name, &params).await.map_err(Error::Delete)?;
            self.queue.writes().deleted(target, &self.claims, &deleted);
        }
        Ok(())
    }

    /// Whether a consumer still needs the claim. Those that are no pods are left alone.
    async fn uses(
        &self,
        claim: &ResourceClaim,
        consumer: &ResourceClaimConsumerReference,
    ) -> Result<bool, Error> {
        if consumer.resource != "pods" || consumer.api_group.as_deref().is_some_and(|group| !group.is_empty())
        {
            return Ok(true);
        }
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        if let Some(found) = self.pods.get(&Key::new(namespace.clone(), consumer.name.clone())) {
            return Ok(found.uid() == consumer.uid && !has_ended(&found));
        }
        // The watch of pods may lag behind the scheduler that reserved the claim.
        let pods = self.ctx.collection::<Pod>(Some(&namespace));
        let found = pods.get(&consumer.name).await.map_err(Error::ReadPod)?;
        Ok(found.is_some_and(|found| found.uid.as_deref() == Some(consumer.uid.as_str())))
    }
}

/// No container of it runs or will.
fn has_ended(found: &Pod) -> bool {
    pod::is_finished(found) || (pod::is_terminating(found) && found.node_name().is_none())
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("resource claim {0} was not created for the pod")]
    Stranger(String),
    #[error("there is no resource claim template {0}")]
    NoTemplate(String),
    #[error("read resource claim template")]
    ReadTemplate(#[source] kube::Error),
    #[error("read pod")]
    ReadPod(#[source] kube::Error),
    #[error("create resource claim")]
    Create(#[source] kube::Error),
    #[error("note the claims of a pod")]
    Pod(#[source] kube::Error),
    #[error("take resource claim back")]
    Status(#[source] kube::Error),
    #[error("remove finalizer")]
    Finalizer(#[source] kube::Error),
    #[error("delete resource claim")]
    Delete(#[source] kube::Error),
}

impl Failure for Error {}
