//! Notices that nodes went silent, says so in their conditions and in their pods' readiness, and taints nodes by
//! their conditions.
//!
//! Reads: Nodes, Leases of namespace kube-node-lease, Pods. Writes: `node.spec.taints` (its own keys only), the
//! conditions of silent nodes, and the condition Ready of their pods. It evicts nothing: the taints do, through the
//! taint-eviction controller.

mod health;
mod monitor;
mod taints;
mod zones;

use std::sync::Arc;

use component::events::{Recorder, Type};
use component::informers::{Informer, Key};
use component::work::{Action, Failure, Queue, run};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::api::Patch;
use objects::conditions;
use objects::views::{Node, Pod};
use serde_json::json;

use crate::collection::{guarded, is_conflict, is_not_found};
use crate::context::Context;
use crate::indexes::{index_nodes, on_node};
use health::Signs;
use monitor::{Limited, Monitor, Seen};
pub use zones::Rates;

/// The name in `--controllers`.
pub(crate) const NAME: &str = "node-lifecycle-controller";

/// Where agents renew their leases.
const LEASES: &str = "kube-node-lease";
const REGION_LABEL: &str = "topology.kubernetes.io/region";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Nodes whose taints are written at the same time.
const CONCURRENCY: usize = 8;

/// Starts the controller: one task for the taints that follow conditions, one for the watch over silence.
pub(crate) fn start(ctx: &Context) {
    let (nodes, pods) = (ctx.informers.of::<Node>(), ctx.informers.of::<Pod>());
    let leases = ctx.informers.of::<Lease>();
    index_nodes(&pods);
    let queue = Queue::new(NAME);
    queue.follow(&nodes);
    let recorder = ctx.recorder("node-controller");
    let controller = Arc::new(Controller {
        ctx: ctx.clone(),
        nodes: nodes.clone(),
        leases,
        pods,
        queue: queue.clone(),
        recorder,
    });
    let work = run(NAME, nodes, queue, Arc::clone(&controller), CONCURRENCY, reconcile, ctx.tasks.clone());
    ctx.start(NAME, async {}, work);
    ctx.tasks.spawn_until_stopped(NAME, watch_over(controller));
}

struct Controller {
    ctx: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    recorder: Recorder,
}

/// Brings the taints of one node in line with its conditions. A NoExecute taint is only exchanged or taken off here;
/// who gets one is decided over all nodes.
async fn reconcile(node: Arc<Node>, controller: Arc<Controller>) -> Result<Action, Error> {
    let now = controller.ctx.clock.now();
    let (taints, conditions) = (&node.spec.taints, &node.status.conditions);
    let scheduling = taints::no_schedule(taints, conditions, node.spec.unschedulable, now);
    let after = scheduling.as_ref().unwrap_or(taints);
    let execution = match (taints::carried(after), ready(&node)) {
        (Some(_), Some(ready)) => taints::no_execute(after, taints::no_execute_key(ready), now),
        _ => None,
    };
    if let Some(taints) = execution.or(scheduling) {
        controller.write_taints(&node, &taints).await?;
    }
    Ok(Action::await_change())
}

/// Looks over all nodes again and again.
async fn watch_over(controller: Arc<Controller>) {
    let config = &controller.ctx.config;
    let mut monitor = Monitor::new(Limited {
        period: config.node_monitor_period,
        grace: config.node_grace_period,
        startup_grace: config.node_startup_grace_period,
        rates: config.rates,
    });
    controller.nodes.synced().await;
    controller.leases.synced().await;
    controller.pods.synced().await;
    loop {
        controller.pass(&mut monitor).await;
        tokio::time::sleep(config.node_monitor_period).await;
    }
}

impl Controller {
    async fn pass(&self, monitor: &mut Monitor) {
        let nodes = self.nodes.all();
        let seen: Vec<Seen> = nodes.iter().map(|node| self.seen(node)).collect();
        let pass = monitor.pass(&seen, self.ctx.clock.now());
        let find = |name: &str| nodes.iter().find(|node| node.name() == name);
        for name in &pass.new {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.tell(find(name), "RegisteredNode", &message);
        }
        for name in &pass.gone {
            tracing::info!(node = name, "node is gone");
        }
        for (node, seen) in nodes.iter().zip(&seen) {
            if pass.silent.contains(node.name()) {
                self.declare_silent(monitor, node, seen).await;
            } else if monitor.is_silent(seen, self.ctx.clock.now()) {
                self.mark_pods(node).await;
            }
        }
        for (name, key) in &pass.taint {
            let Some(node) = find(name) else { continue };
            // A node that turned out to live is not given up.
            let lives =
                pass.silent.contains(name) && !monitor.is_silent(&self.seen(node), self.ctx.clock.now());
            if !lives {
                self.taint(node, *key).await;
            }
        }
    }

    fn seen(&self, node: &Node) -> Seen {
        let label = |key| node.label(key).unwrap_or_default();
        let lease = self.leases.get(&Key::new(LEASES, node.name()));
        Seen {
            name: node.name().to_owned(),
            zone: format!("{}/{}", label(REGION_LABEL), label(ZONE_LABEL)),
            ready: ready(node).map(str::to_owned),
            signs: signs(node, lease.as_deref()),
            created: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
            tainted: taints::carried(&node.spec.taints).map(str::to_owned),
        }
    }

    /// Sets the conditions of a node that the caches show as silent, unless a live look shows a sign of life.
    async fn declare_silent(&self, monitor: &mut Monitor, node: &Arc<Node>, seen: &Seen) {
        let now = self.ctx.clock.now();
        match self.live_signs(node).await {
            Ok(Some(signs)) => monitor.confirm(node.name(), signs, now),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(node = node.name(), %error, "silent node could not be looked at, leaving it as it is");
                return;
            }
        }
        if !monitor.is_silent(seen, now) {
            return;
        }
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let Some(conditions) = health::unknown(&node.status.conditions, created, now) else { return };
        let patch = guarded(&node.metadata, json!({"status": {"conditions": conditions}}));
        match self.ctx.collection::<Node>(None).patch_status(node.name(), &patch).await {
            Ok(_) => {
                tracing::warn!(node = node.name(), "node went silent");
                if ready(node) == Some("True") {
                    let message = format!("Node {} status is now: NodeNotReady", node.name());
                    self.tell(Some(node), "NodeNotReady", &message);
                }
                self.mark_pods(node).await;
            }
            Err(error) if is_conflict(&error) || is_not_found(&error) => {}
            Err(error) => tracing::warn!(node = node.name(), %error, "conditions could not be written"),
        }
    }

    /// The node's signs of life as the server has them now; none when the node is gone.
    async fn live_signs(&self, node: &Node) -> Result<Option<Signs>, kube::Error> {
        let live: Option<Node> = self.ctx.collection::<Node>(None).read(node.name()).await?;
        let Some(live) = live.filter(|live| live.metadata.uid == node.metadata.uid) else { return Ok(None) };
        let lease: Option<Lease> = self.ctx.collection::<Lease>(Some(LEASES)).read(node.name()).await?;
        Ok(Some(signs(&live, lease.as_ref())))
    }

    /// Says of the pods on a silent node that they are not ready, so that no traffic goes there.
    async fn mark_pods(&self, node: &Node) {
        for pod in on_node(&self.pods, node.name()).iter().filter(|pod| objects::pod::is_ready(pod)) {
            let now = Time(self.ctx.clock.now());
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
            let pods = self.ctx.collection::<Pod>(pod.metadata.namespace.as_deref());
            match pods.patch_status(pod.name(), &Patch::Strategic(patch)).await {
                Ok(_) => {
                    let message = "Node is not ready";
                    self.recorder.event(&pod.object_ref(&()), Type::Warning, "NodeNotReady", message);
                }
                Err(error) if is_not_found(&error) || is_conflict(&error) => {}
                Err(error) => tracing::warn!(pod = pod.name(), %error, "pod could not be marked not ready"),
            }
        }
    }

    async fn taint(&self, node: &Node, key: Option<&str>) {
        let Some(taints) = taints::no_execute(&node.spec.taints, key, self.ctx.clock.now()) else { return };
        if let Err(error) = self.write_taints(node, &taints).await {
            tracing::debug!(node = node.name(), %error, "taints not written, trying again in the next pass");
        }
    }

    async fn write_taints(&self, node: &Node, taints: &[Taint]) -> Result<(), Error> {
        let patch = guarded(&node.metadata, json!({"spec": {"taints": taints}}));
        match self.ctx.collection::<Node>(None).patch(node.name(), &patch).await {
            Ok(written) => self.queue.writes().wrote(&Key::of(node), &self.nodes, &written),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(Error::Taints(error)),
        }
        Ok(())
    }

    fn tell(&self, node: Option<&Arc<Node>>, reason: &str, message: &str) {
        if let Some(node) = node {
            self.recorder.event(&node.object_ref(&()), Type::Normal, reason, message);
        }
    }
}

fn ready(node: &Node) -> Option<&str> {
    conditions::get(&node.status.conditions, "Ready").map(|condition| condition.status.as_str())
}

fn signs(node: &Node, lease: Option<&Lease>) -> Signs {
    let ready = conditions::get(&node.status.conditions, "Ready");
    let heartbeat = ready.and_then(|condition| condition.last_heartbeat_time.as_ref());
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    Signs { heartbeat: heartbeat.map(|time| time.0), renewed: renewed.map(|time| -> Timestamp { time.0 }) }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("write taints")]
    Taints(#[source] kube::Error),
}

impl Failure for Error {}
