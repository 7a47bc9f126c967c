//! Removes pods that nobody else will: bound to a node that is gone, told to go before they had a node, on a node
//! declared out of service, or finished and beyond the limit.
//!
//! Reads: Pods, Nodes. Writes: phase Failed and the condition DisruptionTarget of the pods it takes from under a
//! lost node, then deletes without grace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use component::informers::{Informer, Key};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use objects::pod;
use objects::views::{Node, Pod};

use crate::context::Context;
use crate::disruption::{self, Disruption};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "pod-garbage-collector-controller";

/// How often the pods are gone through.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be missing before its pods are taken.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let controller = Controller { ctx: ctx.clone(), pods: ctx.informers.of(), nodes: ctx.informers.of() };
    ctx.tasks.spawn_until_stopped(NAME, controller.go_round());
}

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

impl Controller {
    async fn go_round(self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        let mut missing = Missing::new();
        loop {
            let pods = self.pods.all();
            let node = |name: &str| self.nodes.get(&Key::cluster(name));
            let threshold = self.ctx.config.terminated_pod_threshold;
            for (found, reason) in plan(&pods, node, &mut missing, threshold, self.ctx.clock.now()) {
                if let Err(error) = self.remove(&found, reason).await {
                    let (namespace, name) = (found.namespace(), found.name());
                    tracing::warn!(namespace, name, ?reason, %error, "pod could not be removed, trying again later");
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn remove(&self, found: &Pod, reason: Reason) -> Result<(), kube::Error> {
        if reason == Reason::NodeGone && self.node_exists(found).await? {
            return Ok(());
        }
        let pods = self.ctx.collection::<Pod>(found.metadata.namespace.as_deref());
        if let Some(message) = reason.message() {
            let why = Disruption { reason: "DeletionByPodGC", message, failed: true };
            disruption::note(&pods, found, &why, self.ctx.clock.now()).await?;
        }
        disruption::delete(&pods, found, Some(0)).await?;
        tracing::info!(namespace = found.namespace(), name = found.name(), ?reason, "pod removed");
        Ok(())
    }

    /// A live look: the cache may not have seen the node yet.
    async fn node_exists(&self, found: &Pod) -> Result<bool, kube::Error> {
        let name = found.node_name().unwrap_or_default();
        Ok(self.ctx.collection::<Node>(None).get(name).await?.is_some())
    }
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Finished, and there are too many such.
    Excess,
    /// Its node does not exist. To be checked live.
    NodeGone,
    /// Terminating on a node that was declared out of service.
    OutOfService,
    /// Told to go before it was bound: no agent will ever answer.
    NeverBound,
}

impl Reason {
    /// The message of DisruptionTarget, for the reasons that disrupt.
    fn message(self) -> Option<&'static str> {
        match self {
            Self::NodeGone => Some("PodGC: node no longer exists"),
            Self::OutOfService => Some("PodGC: node is out-of-service"),
            Self::Excess | Self::NeverBound => None,
        }
    }
}

/// Nodes named by pods that are not there, and since when.
type Missing = BTreeMap<String, Timestamp>;

/// Decides which pods go. `threshold` is how many finished pods may stay (0: all). Updates what nodes are missing.
fn plan(
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    missing: &mut Missing,
    threshold: usize,
    now: Timestamp,
) -> Vec<(Arc<Pod>, Reason)> {
    note_missing(pods, &node, missing, now);
    let mut plan: Vec<(Arc<Pod>, Reason)> = Vec::new();
    for found in pods {
        let on = found.node_name();
        let reason = match on {
            None => (pod::is_terminating(found)).then_some(Reason::NeverBound),
            Some(name) => match node(name) {
                None => missing
                    .get(name)
                    .is_some_and(|since| now.duration_since(*since) >= QUARANTINE)
                    .then_some(Reason::NodeGone),
                Some(node) => {
                    (pod::is_terminating(found) && out_of_service(&node)).then_some(Reason::OutOfService)
                }
            },
        };
        plan.extend(reason.map(|reason| (found.clone(), reason)));
    }
    let taken: BTreeSet<&str> = plan.iter().map(|(found, _)| found.uid()).collect();
    let excess: Vec<_> =
        excess(pods, threshold).into_iter().filter(|found| !taken.contains(found.uid())).collect();
    plan.extend(excess.into_iter().map(|found| (found, Reason::Excess)));
    plan
}

fn note_missing(
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    missing: &mut Missing,
    now: Timestamp,
) {
    let named: BTreeSet<&str> = pods.iter().filter_map(|found| found.node_name()).collect();
    let gone: BTreeSet<&str> = named.into_iter().filter(|name| node(name).is_none()).collect();
    missing.retain(|name, _| gone.contains(name.as_str()));
    for name in gone {
        if !missing.contains_key(name) {
            missing.insert(name.to_owned(), now);
        }
    }
}

/// Finished pods beyond the threshold, the oldest first.
fn excess(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<Arc<Pod>> = pods.iter().filter(|found| pod::is_finished(found)).cloned().collect();
    if threshold == 0 || finished.len() <= threshold {
        return Vec::new();
    }
    finished.sort_by(|a, b| {
        let key = |found: &Pod| found.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (key(a), a.name()).cmp(&(key(b), b.name()))
    });
    finished.truncate(finished.len() - threshold);
    finished
}

/// Declared dead by an administrator, and not ready.
fn out_of_service(node: &Node) -> bool {
    let declared = |taint: &Taint| taint.key == OUT_OF_SERVICE;
    node.spec.taints.iter().any(declared) && !objects::conditions::is_true(&node.status.conditions, "Ready")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(name: &str, node: &str, phase: &str, deleting: bool) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": name, "uid": name,
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
                },
                "spec": {"nodeName": node},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    fn node(name: &str) -> Option<Arc<Node>> {
        let taints =
            if name == "dead" { json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]) } else { json!([]) };
        let node = json!({"metadata": {"name": name}, "spec": {"taints": taints}});
        (name != "lost").then(|| Arc::new(serde_json::from_value(node).unwrap()))
    }

    fn shown(plan: &[(Arc<Pod>, Reason)]) -> Vec<(&str, Reason)> {
        plan.iter().map(|(found, reason)| (found.name(), *reason)).collect()
    }

    #[test]
    fn who_goes_and_why() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let pods = [
            found("runs", "here", "Running", false),
            found("leaves", "here", "Running", true),
            found("on-lost", "lost", "Running", false),
            found("on-dead", "dead", "Running", true),
            found("waits", "", "Pending", false),
            found("never-bound", "", "Pending", true),
        ];
        let mut missing = Missing::new();
        let first = plan(&pods, node, &mut missing, 0, now);
        let expected = [("on-dead", Reason::OutOfService), ("never-bound", Reason::NeverBound)];
        assert_eq!(shown(&first), expected);
        let later = plan(&pods, node, &mut missing, 0, now + QUARANTINE);
        assert_eq!(shown(&later)[0], ("on-lost", Reason::NodeGone));
        // The node came back in between: the quarantine starts anew.
        plan(&pods, |name| node(name).or_else(|| node("here")), &mut missing, 0, now + QUARANTINE);
        assert_eq!(shown(&plan(&pods, node, &mut missing, 0, now + QUARANTINE)), expected);
    }

    #[test]
    fn the_oldest_finished_pods_beyond_the_limit_go() {
        let now = Timestamp::UNIX_EPOCH;
        let pods = ["c", "a", "b"].map(|name| found(name, "here", "Succeeded", false));
        let plans = |threshold| {
            let plan = plan(&pods, node, &mut Missing::new(), threshold, now);
            plan.iter().map(|(found, _)| found.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(plans(2), ["a"]);
        assert_eq!(plans(3), Vec::<String>::new());
        assert_eq!(plans(0), Vec::<String>::new());
    }
}
