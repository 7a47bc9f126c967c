//! A stand-in for a node's agent: registers the Node, renews its Lease, reports pods as Running and lets deleted
//! pods go. It can fall silent, as a machine does that lost its power.

use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Informers;
use component::tasks::Tasks;
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as full;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use objects::views::Pod;
use serde_json::{Value, json};

/// Time between two renewals of the lease, as upstream.
const RENEWAL: Duration = Duration::from_secs(10);
/// Time a pod takes to start.
const START: Duration = Duration::from_millis(500);
/// Pods handled at the same time.
const CONCURRENCY: usize = 16;

/// A running stand-in.
#[derive(Debug)]
pub struct TestNode {
    /// The Node's name.
    pub name: String,
    tasks: Tasks,
}

impl TestNode {
    /// Registers the node and starts its work. `number` makes its pods' addresses its own.
    pub async fn start(client: &Client, clock: &Clock, tasks: &Tasks, name: &str, number: u8) -> Self {
        let tasks = tasks.child();
        register(client, clock, name).await;
        tasks.spawn_until_stopped("test-node-lease", renew(client.clone(), clock.clone(), name.to_owned()));
        let informers = Informers::new(client.clone(), tasks.clone(), clock.clone());
        let pods = informers.of::<Pod>();
        let queue = Queue::new("test-node");
        queue.follow(&pods);
        let agent =
            Arc::new(Agent { client: client.clone(), clock: clock.clone(), name: name.to_owned(), number });
        tasks.spawn("test-node", run("test-node", pods, queue, agent, CONCURRENCY, reconcile, tasks.clone()));
        Self { name: name.to_owned(), tasks }
    }

    /// Only renews the lease of a node that is registered: its agent is back.
    pub fn renewing(client: &Client, clock: &Clock, tasks: &Tasks, name: &str) -> Self {
        let tasks = tasks.child();
        tasks.spawn_until_stopped("test-node-lease", renew(client.clone(), clock.clone(), name.to_owned()));
        Self { name: name.to_owned(), tasks }
    }

    /// Stops without a word: no lease is renewed any more and no pod is ended.
    pub async fn fall_silent(self) {
        let late = self.tasks.stop().await;
        assert!(late.is_empty(), "tasks that did not end: {late:?}");
    }
}

async fn register(client: &Client, clock: &Clock, name: &str) {
    let now = clock.now_seconds();
    let node: Value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": now, "lastTransitionTime": now}],
        },
    });
    let nodes = Api::<full::Node>::all(client.clone());
    let made: full::Node = serde_json::from_value(node.clone()).expect("a node");
    nodes.create(&PostParams::default(), &made).await.expect("the node is created");
    let status = Patch::Merge(json!({"status": node["status"]}));
    nodes.patch_status(name, &PatchParams::default(), &status).await.expect("its status is written");
}

async fn renew(client: Client, clock: Clock, name: String) {
    let leases = Api::<Lease>::namespaced(client, "kube-node-lease");
    loop {
        let spec = json!({
            "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": MicroTime(clock.now()),
        });
        let lease = json!({"metadata": {"name": name}, "spec": spec});
        let patched = leases.patch(&name, &PatchParams::default(), &Patch::Merge(&lease)).await;
        if patched.is_err() {
            let made = serde_json::from_value(lease).expect("a lease");
            leases.create(&PostParams::default(), &made).await.expect("the lease is created");
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

struct Agent {
    client: Client,
    clock: Clock,
    name: String,
    number: u8,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
#[error("talk to the server")]
struct Error(#[source] kube::Error);

impl Failure for Error {}

async fn reconcile(pod: Arc<Pod>, agent: Arc<Agent>) -> Result<Action, Error> {
    if pod.node_name() != Some(agent.name.as_str()) {
        return Ok(Action::await_change());
    }
    let pods = Api::<full::Pod>::namespaced(agent.client.clone(), pod.namespace());
    if pod.metadata.deletion_timestamp.is_some() {
        return match pods.delete(pod.name(), &DeleteParams::default().grace_period(0)).await {
            Err(error) if !is_gone(&error) => Err(Error(error)),
            _ => Ok(Action::await_change()),
        };
    }
    if pod.status.phase.as_deref() != Some("Pending") {
        return Ok(Action::await_change());
    }
    tokio::time::sleep(START).await;
    let address = format!("10.{}.{}", agent.number, suffix(pod.uid()));
    let now = agent.clock.now_seconds();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(condition);
    let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": conditions,
    }});
    match pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(status)).await {
        Err(error) if !is_gone(&error) => Err(Error(error)),
        _ => Ok(Action::await_change()),
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

/// The last two numbers of a pod's address, from its UID.
fn suffix(uid: &str) -> String {
    let hash = objects::names::fnv32a(uid.as_bytes());
    format!("{}.{}", hash % 250, hash / 250 % 250 + 1)
}
