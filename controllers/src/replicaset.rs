//! Keeps as many pods of a template as a ReplicaSet asks for, and reports how they are.
//!
//! Reads: ReplicaSets, Pods. Writes: creates and deletes pods, their owner reference when it adopts or releases
//! one, and `replicasets/status`. It never changes a ReplicaSet's spec.

use std::sync::Arc;
use std::time::Duration;

use component::events::{Recorder, Type};
use component::informers::{Change, Informer, Key};
use component::work::{Action, Failure, Queue, run};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::api::{DeleteParams, Patch, Preconditions};
use objects::labels::{Selector, SelectorError};
use objects::views::Pod;
use objects::{owner, pod};

use crate::claim::{self, claim};
use crate::collection::{self, Collection, guarded};
use crate::context::Context;
use crate::indexes::{index_orphans, orphans};
use crate::views::ReplicaSet;

/// The name in `--controllers`.
pub(crate) const NAME: &str = "replicaset-controller";

/// Pods created or deleted in one pass at most.
const BURST: usize = 500;

/// Requests a pass has in flight at most.
const IN_FLIGHT: usize = 64;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let (sets, pods) = (ctx.informers.of::<ReplicaSet>(), ctx.informers.of::<Pod>());
    let queue = Queue::new(NAME);
    index_orphans(&pods);
    queue.follow(&sets);
    queue.follow_owners(&pods, "ReplicaSet");
    let candidates = sets.clone();
    queue.watch(&pods, move |change| wanting(&candidates, change));
    let recorder = ctx.recorder(NAME);
    let controller = Arc::new(Controller {
        ctx: ctx.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        queue: queue.clone(),
        recorder,
    });
    let work = run(
        NAME,
        sets,
        queue,
        controller,
        ctx.config.concurrent_replicaset_syncs,
        reconcile,
        ctx.tasks.clone(),
    );
    ctx.start(NAME, async move { pods.synced().await }, work);
}

/// The sets that may adopt a pod that has no controller (any more).
fn wanting(sets: &Informer<ReplicaSet>, change: &Change<Pod>) -> Vec<Key> {
    let Some(found) = change.new().filter(|found| owner::controller_of(&found.metadata).is_none()) else {
        return Vec::new();
    };
    let fits = |set: &Arc<ReplicaSet>| {
        Selector::from_label_selector(&set.spec.selector)
            .is_ok_and(|selector| selector.selects(&found.metadata))
    };
    sets.in_namespace(found.namespace()).iter().filter(|set| fits(set)).map(|set| Key::of(&**set)).collect()
}

struct Controller {
    ctx: Context,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    recorder: Recorder,
}

async fn reconcile(set: Arc<ReplicaSet>, controller: Arc<Controller>) -> Result<Action, Error> {
    let now = controller.ctx.clock.now();
    let owned = Owned::of(controller.claim(&set).await?);
    let plan = plan(&set, &owned, || controller.related(&set), now);
    let done = controller.carry_out(&set, &plan).await;
    let failure = done.as_ref().err().map(Error::told);
    controller.report(&set, status(&set, &owned, failure.as_deref(), now)).await?;
    done?;
    Ok(next_available(&set, &owned, now).map_or_else(Action::await_change, Action::requeue))
}

impl Controller {
    fn pods_of(&self, set: &ReplicaSet) -> Collection {
        self.ctx.collection::<Pod>(set.metadata.namespace.as_deref())
    }

    /// The set's pods, after orphans were taken in and pods with other labels let go.
    async fn claim(&self, set: &ReplicaSet) -> Result<Vec<Arc<Pod>>, Error> {
        let selector = Selector::from_label_selector(&set.spec.selector).map_err(Error::Selector)?;
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let mut candidates = self.pods.owned_by(set.uid());
        candidates.extend(orphans(&self.pods, namespace));
        let candidates = candidates.into_iter().filter(|found| !pod::is_finished(found));
        let mut claim =
            claim(&set.metadata, candidates, |pod| &pod.metadata, |labels| selector.matches(labels));
        let key = Key::of(set);
        for found in claim.release {
            let patch = Patch::Strategic(claim::release(set.uid(), &found.metadata));
            match self.pods_of(set).patch(found.name(), &patch).await {
                Ok(written) => self.queue.writes().wrote(&key, &self.pods, &written),
                Err(error) if claim::is_moot(&error) => {}
                Err(error) => return Err(Error::Release(error)),
            }
        }
        if claim.adopt.is_empty() || !self.still_there(set).await? {
            return Ok(claim.owned);
        }
        for found in claim.adopt {
            let patch = Patch::Strategic(claim::adoption(&owner::reference(set), &found.metadata));
            match self.pods_of(set).patch(found.name(), &patch).await {
                Ok(written) => self.queue.writes().wrote(&key, &self.pods, &written),
                Err(error) if claim::is_moot(&error) => continue,
                Err(error) => return Err(Error::Adopt(error)),
            }
            claim.owned.push(found);
        }
        Ok(claim.owned)
    }

    /// A live look: a set that is going, or whose name another one has taken, must not adopt.
    async fn still_there(&self, set: &ReplicaSet) -> Result<bool, Error> {
        let sets = self.ctx.collection::<ReplicaSet>(set.metadata.namespace.as_deref());
        let found = sets.get(set.name()).await.map_err(Error::Confirm)?;
        Ok(found.is_some_and(|found| found.uid == set.metadata.uid && found.deletion_timestamp.is_none()))
    }

    /// The pods of all sets with the same owner, this one's among them.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = owner::controller_of(&set.metadata) else { return self.pods.owned_by(set.uid()) };
        self.sets.owned_by(&owner.uid).iter().flat_map(|set| self.pods.owned_by(set.uid())).collect()
    }

    async fn carry_out(&self, set: &ReplicaSet, plan: &Plan) -> Result<(), Error> {
        self.create(set, plan.create).await?;
        let deletes: Vec<_> = plan.delete.iter().map(|found| self.delete(set, found).boxed()).collect();
        let results: Vec<_> = stream::iter(deletes).buffer_unordered(IN_FLIGHT).collect().await;
        results.into_iter().collect()
    }

    /// Creates pods in batches of 1, 2, 4 and so on, and stops at the first batch with a failure: when none can be
    /// created, one request says so and not 500.
    async fn create(&self, set: &ReplicaSet, count: usize) -> Result<(), Error> {
        let pod = set.spec.template.pod(set.name(), &owner::reference(set));
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            batch = batch.min(left);
            let creates: Vec<_> = (0..batch).map(|_| self.create_one(set, &pod).boxed()).collect();
            stream::iter(creates).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
            left -= batch;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, set: &ReplicaSet, pod: &serde_json::Value) -> Result<(), Error> {
        match self.pods_of(set).create(pod).await {
            Ok(created) => {
                self.queue.writes().wrote(&Key::of(set), &self.pods, &created);
                let message = format!("Created pod: {}", created.metadata.name.unwrap_or_default());
                self.recorder.event(&set.object_ref(&()), Type::Normal, "SuccessfulCreate", &message);
                Ok(())
            }
            Err(error) if collection::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let message = format!("Error creating: {}", collection::message(&error));
                self.recorder.event(&set.object_ref(&()), Type::Warning, "FailedCreate", &message);
                Err(Error::Create(error))
            }
        }
    }

    async fn delete(&self, set: &ReplicaSet, found: &Pod) -> Result<(), Error> {
        let same = Preconditions { uid: found.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match self.pods_of(set).delete(found.name(), &params).await {
            Ok(_) => {
                self.queue.writes().deleted(&Key::of(set), &self.pods, found);
                let message = format!("Deleted pod: {}", found.name());
                self.recorder.event(&set.object_ref(&()), Type::Normal, "SuccessfulDelete", &message);
                Ok(())
            }
            Err(error) if claim::is_moot(&error) => Ok(()),
            Err(error) => {
                let message = format!("Error deleting: {}", collection::message(&error));
                self.recorder.event(&set.object_ref(&()), Type::Warning, "FailedDelete", &message);
                Err(Error::Delete { pod: found.name().to_owned(), source: error })
            }
        }
    }

    async fn report(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), Error> {
        let Some(patch) = collection::status_patch(&set.status, &status) else { return Ok(()) };
        let sets = self.ctx.collection::<ReplicaSet>(set.metadata.namespace.as_deref());
        match sets.patch_status(set.name(), &guarded(&set.metadata, patch)).await {
            Ok(written) => self.queue.writes().wrote(&Key::of(set), &self.sets, &written),
            Err(error) if collection::is_not_found(&error) => {}
            Err(error) => return Err(Error::Status(error)),
        }
        Ok(())
    }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read the selector")]
    Selector(#[source] SelectorError),
    #[error("look at the set before it adopts")]
    Confirm(#[source] kube::Error),
    #[error("adopt pod")]
    Adopt(#[source] kube::Error),
    #[error("release pod")]
    Release(#[source] kube::Error),
    #[error("create pod")]
    Create(#[source] kube::Error),
    #[error("delete pod {pod}")]
    Delete { pod: String, source: kube::Error },
    #[error("write status")]
    Status(#[source] kube::Error),
}

impl Error {
    /// What the server said, as the condition ReplicaFailure repeats it.
    fn told(&self) -> String {
        match self {
            Self::Selector(error) => error.to_string(),
            Self::Confirm(error) | Self::Adopt(error) | Self::Release(error) | Self::Create(error) => {
                collection::message(error)
            }
            Self::Delete { source, .. } | Self::Status(source) => collection::message(source),
        }
    }
}

impl Failure for Error {
    fn terminal(&self) -> bool {
        matches!(self, Self::Selector(_))
    }
}

/// What a pass is to do.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Pods to create.
    create: usize,
    /// Pods to delete.
    delete: Vec<Arc<Pod>>,
}

/// The pods of a set, told apart.
#[derive(Debug, Default)]
struct Owned {
    active: Vec<Arc<Pod>>,
    terminating: usize,
}

impl Owned {
    /// Finished pods count neither way; they are replaced.
    fn of(pods: impl IntoIterator<Item = Arc<Pod>>) -> Self {
        let mut owned = Self::default();
        for pod in pods {
            if pod::is_active(&pod) {
                owned.active.push(pod);
            } else if pod::is_terminating(&pod) && !pod::is_finished(&pod) {
                owned.terminating += 1;
            }
        }
        owned
    }
}

/// Decides how many pods to create or which to delete. `related` are the pods of all sets of the same owner:
/// those that share a node with many siblings go first.
fn plan(set: &ReplicaSet, owned: &Owned, related: impl FnOnce() -> Vec<Arc<Pod>>, now: Timestamp) -> Plan {
    let none = Plan { create: 0, delete: Vec::new() };
    if set.metadata.deletion_timestamp.is_some() {
        return none;
    }
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    let have = owned.active.len();
    if have <= wanted {
        return Plan { create: (wanted - have).min(BURST), ..none };
    }
    let mut pods = owned.active.clone();
    if wanted > 0 {
        pod::sort_for_deletion(&mut pods, &related(), now);
    }
    pods.truncate((have - wanted).min(BURST));
    Plan { delete: pods, ..none }
}

/// The set's status. `failure` is what kept this pass from creating or deleting pods.
fn status(set: &ReplicaSet, owned: &Owned, failure: Option<&str>, now: Timestamp) -> ReplicaSetStatus {
    let labels = set.spec.template.labels();
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let count = owned.active.iter().filter(|pod| holds(pod)).count();
        i32::try_from(count).ok().filter(|count| *count > 0)
    };
    let labelled = |pod: &Pod| {
        let found = pod.metadata.labels.as_ref();
        labels.iter().all(|(key, value)| found.is_some_and(|found| found.get(key) == Some(value)))
    };
    let mut status = ReplicaSetStatus {
        replicas: i32::try_from(owned.active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&pod::is_ready),
        available_replicas: count(&|pod| pod::is_available(pod, set.spec.min_ready_seconds, now)),
        terminating_replicas: i32::try_from(owned.terminating).ok(),
        observed_generation: set.metadata.generation,
        conditions: set.status.conditions.clone(),
    };
    note_failure(set, &mut status, owned, failure, now);
    status
}

/// The first failure stays noted as it is until a pass succeeds.
fn note_failure(
    set: &ReplicaSet,
    status: &mut ReplicaSetStatus,
    owned: &Owned,
    failure: Option<&str>,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let noted = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(_) if noted => {}
        Some(message) => {
            let short = owned.active.len() < usize::try_from(set.replicas()).unwrap_or(0);
            conditions.push(ReplicaSetCondition {
                type_: REPLICA_FAILURE.to_owned(),
                status: "True".to_owned(),
                reason: Some(if short { "FailedCreate" } else { "FailedDelete" }.to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: Some(Time(now)),
            });
        }
    }
    if conditions.is_empty() && set.status.conditions.is_none() {
        status.conditions = None;
    }
}

/// When the next ready pod becomes available, if one is waiting for that.
fn next_available(set: &ReplicaSet, owned: &Owned, now: Timestamp) -> Option<Duration> {
    let waits = owned.active.iter().filter_map(|pod| pod::available_in(pod, set.spec.min_ready_seconds, now));
    waits.filter(|wait| !wait.is_zero()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "set", "generation": 3},
            "spec": {
                "replicas": replicas, "minReadySeconds": min_ready_seconds,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web", "tier": "a"}}, "spec": {}},
            },
        }))
        .unwrap()
    }

    /// A pod: `waiting`, `ready` (since `at`), `done` or `going`.
    fn pod(name: &str, state: &str, at: &str) -> Arc<Pod> {
        let phase = match state {
            "waiting" => "Pending",
            "done" => "Failed",
            _ => "Running",
        };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": name, "uid": name, "labels": {"app": "web"},
                    "deletionTimestamp": (state == "going").then_some("2026-01-01T00:59:00Z"),
                },
                "spec": {"nodeName": "n"},
                "status": {"phase": phase, "conditions": [
                    {"type": "Ready", "status": if state == "ready" {"True"} else {"False"}, "lastTransitionTime": at},
                ]},
            }))
            .unwrap(),
        )
    }

    const LONG_AGO: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn plans() {
        let pods = [
            pod("a", "ready", LONG_AGO),
            pod("b", "waiting", LONG_AGO),
            pod("c", "done", LONG_AGO),
            pod("d", "going", LONG_AGO),
        ];
        let owned = Owned::of(pods);
        assert_eq!((owned.active.len(), owned.terminating), (2, 1));
        for (replicas, create, delete) in [
            (2, 0, vec![]),
            (5, 3, vec![]),
            (1, 0, vec!["b"]),
            (0, 0, vec!["a", "b"]),
            (9_000, BURST, vec![]),
        ] {
            let plan = plan(&set(replicas, 0), &owned, || owned.active.clone(), now());
            let deleted: Vec<&str> = plan.delete.iter().map(|pod| pod.name()).collect();
            assert_eq!((plan.create, deleted), (create, delete), "{replicas}");
        }
        let mut going = set(5, 0);
        going.metadata.deletion_timestamp = Some(Time(now()));
        assert_eq!(plan(&going, &owned, Vec::new, now()).create, 0, "a deleting set only reports");
    }

    #[test]
    fn status_counts() {
        let fresh = "2026-01-01T00:59:55Z";
        let mut tagged = Pod::clone(&pod("t", "ready", LONG_AGO));
        tagged.metadata.labels.as_mut().unwrap().insert("tier".into(), "a".into());
        let owned = Owned::of([
            Arc::new(tagged),
            pod("a", "ready", fresh),
            pod("b", "waiting", LONG_AGO),
            pod("d", "going", LONG_AGO),
        ]);
        let set = set(3, 10);
        let status = status(&set, &owned, None, now());
        let expected = ReplicaSetStatus {
            replicas: 3,
            fully_labeled_replicas: Some(1),
            ready_replicas: Some(2),
            available_replicas: Some(1),
            terminating_replicas: Some(1),
            observed_generation: Some(3),
            conditions: None,
        };
        assert_eq!(status, expected);
        assert_eq!(next_available(&set, &owned, now()), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_failure_is_noted_and_forgotten() {
        let mut set = set(3, 0);
        let owned = Owned::default();
        set.status = status(&set, &owned, Some("exceeded quota"), now());
        let noted = set.status.conditions.clone().unwrap();
        assert_eq!(
            (noted[0].reason.as_deref(), noted[0].message.as_deref()),
            (Some("FailedCreate"), Some("exceeded quota"))
        );
        let later = status(&set, &owned, Some("exceeded quota by more"), now());
        assert_eq!(later.conditions, Some(noted));
        assert_eq!(status(&set, &owned, None, now()).conditions, Some(vec![]));
    }
}
