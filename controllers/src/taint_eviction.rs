//! Deletes pods from nodes with NoExecute taints: at once those that do not tolerate them, the others when their
//! `tolerationSeconds` are over. A taint that goes away in time saves the pod.
//!
//! Reads: Nodes, Pods. Writes: the pod condition DisruptionTarget, then deletes the pod.
//! Assumes that admission gave every pod its default tolerations of 300 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::{Recorder, Type};
use component::informers::{Change, Informer, Key};
use component::work::{Action, Failure, Queue, run};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use kube::Resource as _;
use objects::taints::{NO_EXECUTE, tolerates};
use objects::views::{Node, Pod};
use parking_lot::Mutex;

use crate::context::Context;
use crate::disruption::{self, Disruption};
use crate::indexes::{index_nodes, on_node};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "taint-eviction-controller";

/// Pods evicted at the same time; upstream's number of workers.
const CONCURRENCY: usize = 8;

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let (nodes, pods) = (ctx.informers.of::<Node>(), ctx.informers.of::<Pod>());
    index_nodes(&pods);
    let queue = Queue::new(NAME);
    queue.watch(&pods, placed);
    let there = pods.clone();
    queue.watch(&nodes, move |change| tainted(&there, change));
    let controller = Arc::new(Controller {
        recorder: ctx.recorder(NAME),
        ctx: ctx.clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        since: Mutex::default(),
        queue: queue.clone(),
    });
    let work = run(NAME, pods, queue, controller, CONCURRENCY, reconcile, ctx.tasks.clone());
    ctx.start(NAME, async move { nodes.synced().await }, work);
}

/// A pod that got a node, or other tolerations.
fn placed(change: &Change<Pod>) -> Option<Key> {
    let new = change.new()?;
    let same = change.old().is_some_and(|old| {
        old.node_name() == new.node_name() && old.spec.tolerations == new.spec.tolerations
    });
    (new.node_name().is_some() && !same).then(|| change.key())
}

/// The pods of a node whose NoExecute taints changed.
fn tainted(pods: &Informer<Pod>, change: &Change<Node>) -> Vec<Key> {
    let taints = |node: Option<&Arc<Node>>| -> Vec<Taint> {
        let all = node.iter().flat_map(|node| &node.spec.taints);
        all.filter(|taint| taint.effect == NO_EXECUTE).cloned().collect()
    };
    if taints(change.old()) == taints(change.new()) {
        return Vec::new();
    }
    on_node(pods, change.object().name()).iter().map(|pod| Key::of(&**pod)).collect()
}

struct Controller {
    ctx: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    /// Pods that may stay for a while only, by UID, and when that was first seen.
    since: Mutex<BTreeMap<String, Timestamp>>,
    queue: Queue<Key>,
    recorder: Recorder,
}

async fn reconcile(pod: Arc<Pod>, controller: Arc<Controller>) -> Result<Action, Error> {
    let node = pod.node_name().and_then(|name| controller.nodes.get(&Key::cluster(name)));
    let Some(node) = node.filter(|_| pod.metadata.deletion_timestamp.is_none()) else {
        controller.forget(&pod);
        return Ok(Action::await_change());
    };
    let now = controller.ctx.clock.now();
    let since = controller.since.lock().get(pod.uid()).copied().unwrap_or(now);
    match plan(&pod.spec.tolerations, &node.spec.taints, since, now) {
        Plan::Stay => {
            if controller.forget(&pod) {
                let message = format!("Cancelling deletion of Pod {}/{}", pod.namespace(), pod.name());
                controller.recorder.event(
                    &pod.object_ref(&()),
                    Type::Normal,
                    "TaintManagerEviction",
                    message,
                );
            }
            Ok(Action::await_change())
        }
        Plan::Wait(left) => {
            controller.since.lock().insert(pod.uid().to_owned(), since);
            Ok(Action::requeue(left))
        }
        Plan::Evict => controller.evict(&pod).await.map(|()| Action::await_change()),
    }
}

impl Controller {
    /// Ends the count for a pod; answers whether there was one.
    fn forget(&self, pod: &Pod) -> bool {
        self.since.lock().remove(pod.uid()).is_some()
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
        self.recorder.event(&pod.object_ref(&()), Type::Normal, "TaintManagerEviction", message);
        let pods = self.ctx.collection::<Pod>(pod.metadata.namespace.as_deref());
        let why = Disruption {
            reason: "DeletionByTaintManager",
            message: "Taint manager: deleting due to NoExecute taint",
            failed: false,
        };
        disruption::note(&pods, pod, &why, self.ctx.clock.now()).await.map_err(Error::Note)?;
        disruption::delete(&pods, pod, None).await.map_err(Error::Delete)?;
        self.queue.writes().deleted(&Key::of(pod), &self.pods, pod);
        self.forget(pod);
        Ok(())
    }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("note the disruption")]
    Note(#[source] kube::Error),
    #[error("delete pod")]
    Delete(#[source] kube::Error),
}

impl Failure for Error {}

/// What is to become of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It may stay, for ever as far as can be seen.
    Stay,
    /// It may stay so long.
    Wait(Duration),
    /// It has to go.
    Evict,
}

/// Decides on a pod with `tolerations` on a node with `taints`, whose taints were first seen at `since`.
///
/// As upstream, the shortest of the tolerations that are needed counts, from when the taint was seen.
fn plan(tolerations: &[Toleration], taints: &[Taint], since: Timestamp, now: Timestamp) -> Plan {
    let mut shortest: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let mut used = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if used.peek().is_none() {
            return Plan::Evict;
        }
        let limited = used.filter_map(|toleration| toleration.toleration_seconds);
        shortest = shortest.into_iter().chain(limited).min();
    }
    let Some(seconds) = shortest else { return Plan::Stay };
    let passed = now.duration_since(since);
    let left = jiff::SignedDuration::from_secs(seconds.max(0)).saturating_sub(passed);
    if left.is_positive() { Plan::Wait(left.unsigned_abs()) } else { Plan::Evict }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(NO_EXECUTE.into()),
            toleration_seconds: seconds,
            value: None,
        }
    }

    #[test]
    fn plans() {
        let since = Timestamp::UNIX_EPOCH;
        let wait = |seconds| Plan::Wait(Duration::from_secs(seconds));
        let (a, b) = (taint("a", NO_EXECUTE), taint("b", NO_EXECUTE));
        for (tolerations, taints, passed, expected) in [
            (vec![], vec![], 0, Plan::Stay),
            (vec![], vec![taint("a", "NoSchedule")], 0, Plan::Stay),
            (vec![], vec![a.clone()], 0, Plan::Evict),
            (vec![toleration("a", None)], vec![a.clone()], 9_999, Plan::Stay),
            (vec![toleration("a", Some(300))], vec![a.clone()], 0, wait(300)),
            (vec![toleration("a", Some(300))], vec![a.clone()], 299, wait(1)),
            (vec![toleration("a", Some(300))], vec![a.clone()], 300, Plan::Evict),
            (vec![toleration("a", Some(-1))], vec![a.clone()], 0, Plan::Evict),
            (vec![toleration("a", Some(300)), toleration("a", Some(60))], vec![a.clone()], 0, wait(60)),
            (vec![toleration("a", Some(300)), toleration("a", None)], vec![a.clone()], 0, wait(300)),
            (
                vec![toleration("a", Some(300)), toleration("b", Some(60))],
                vec![a.clone(), b.clone()],
                0,
                wait(60),
            ),
            (vec![toleration("a", Some(300))], vec![a, b], 0, Plan::Evict),
        ] {
            let now = since + jiff::SignedDuration::from_secs(passed);
            assert_eq!(plan(&tolerations, &taints, since, now), expected, "{tolerations:?} {taints:?}");
        }
    }
}
