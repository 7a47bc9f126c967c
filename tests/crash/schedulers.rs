//! Two copies of the scheduler, real processes beside an API server that is not theirs, are killed while ten thousand
//! pods wait.
//!
//! Promise checked: the copy that waits takes over within the lease, every pod that names them is bound once and none is
//! evicted, no node is overfull, and the pods of other schedulers are left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use component::clock::Clock;
use component::informers::{Informer, Informers};
use component::tasks::Tasks;
use futures::stream::{self, StreamExt as _};
use harness::eventually::eventually_within;
use harness::process::{Process, binary, spawn_on_a_lasting_thread};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use objects::views;
use serde_json::json;
use tokio::runtime::Runtime;

const NODES: usize = 100;
const PODS: usize = 10_000;
/// Room for pods on a node: enough for all, and no more than a tenth to spare.
const PODS_A_NODE: usize = 110;
/// Pods that are not theirs.
const FOREIGN: usize = 20;
/// Creates under way at a time.
const CREATES: usize = 32;
/// A debug build on a busy machine binds some hundred pods a second.
const PATIENCE: Duration = Duration::from_secs(300);

/// The election's times: short, so that a takeover does not wait long.
const LEASE_DURATION: Duration = Duration::from_secs(6);
const RENEW_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// What a machine with more work than cores may add to a takeover.
const BUSY: Duration = Duration::from_secs(3);

/// A scheduler process, killed when dropped.
struct Scheduler(Child);

impl Scheduler {
    fn start(kubeconfig: &Path) -> Self {
        let mut command = Command::new(binary());
        command
            .args(["scheduler", "--scheduler-name=mine", "--secure-port=0", "--kubeconfig"])
            .arg(kubeconfig);
        for (flag, time) in [
            ("lease-duration", LEASE_DURATION),
            ("renew-deadline", RENEW_DEADLINE),
            ("retry-period", RETRY_PERIOD),
        ] {
            command.arg(format!("--leader-elect-{flag}={}ms", time.as_millis()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(spawn_on_a_lasting_thread(command))
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a user of the cluster sees.
struct Cluster {
    runtime: Runtime,
    client: Client,
    /// The pods as a watch shows them: listing ten thousand again and again would be most of the machine's work.
    watched: Informer<views::Pod>,
}

impl Cluster {
    fn of(process: &Process) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime
            .block_on(component::client::from_kubeconfig(Some(&process.kubeconfig())))
            .expect("client");
        let informers = Informers::new(client.clone(), Tasks::new(), Clock::start());
        let watched = runtime.block_on(async { informers.of() });
        Self { runtime, client, watched }
    }

    /// Nodes, and the account that pods run as: no controller is there to make it.
    fn fill(&self) {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client.clone());
        self.runtime.block_on(accounts.create(&PostParams::default(), &account)).unwrap();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let room = json!({"cpu": "11", "memory": "64Gi", "pods": PODS_A_NODE.to_string()});
        self.each(0..NODES, async |at| {
            let name = format!("n{at}");
            let node = json!({
                "metadata": {"name": name}, "status": {"capacity": room, "allocatable": room},
            });
            nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
            // A new node is tainted until a controller finds it ready.
            let ready = Patch::Merge(json!({"spec": {"taints": null}}));
            nodes.patch(&name, &PatchParams::default(), &ready).await.unwrap();
        });
    }

    fn create_pods(&self, prefix: &str, scheduler: &str, count: usize) {
        let pods: Api<Pod> = Api::default_namespaced(self.client.clone());
        self.each(0..count, async |at| {
            let pod = json!({
                "metadata": {"name": format!("{prefix}-{at}")},
                "spec": {"schedulerName": scheduler, "containers": [{"name": "c", "image": "i",
                    "resources": {"requests": {"cpu": "100m"}}}]},
            });
            pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        });
    }

    fn each(&self, numbers: std::ops::Range<usize>, work: impl AsyncFn(usize)) {
        self.runtime.block_on(stream::iter(numbers).for_each_concurrent(CREATES, |at| work(at)));
    }

    fn pods(&self) -> Vec<views::Pod> {
        let pods: Api<views::Pod> = Api::default_namespaced(self.client.clone());
        self.runtime.block_on(pods.list(&ListParams::default())).unwrap().items
    }

    /// Waits until so many pods have a node.
    fn bound(&self, wanted: usize) -> usize {
        eventually_within(PATIENCE, &format!("{wanted} pods are bound"), || {
            let bound = self.watched.all().iter().filter(|pod| pod.spec.node_name.is_some()).count();
            if bound >= wanted { Ok(bound) } else { Err(bound) }
        })
    }

    /// The lease, once somebody other than `not` holds it.
    fn lease(&self, not: Option<&LeaseSpec>) -> LeaseSpec {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
        eventually_within(PATIENCE, "somebody leads", || {
            let lease = self.runtime.block_on(leases.get_opt("mine")).unwrap().and_then(|lease| lease.spec);
            let holder = |spec: &LeaseSpec| spec.holder_identity.clone().filter(|name| !name.is_empty());
            match lease {
                Some(lease) if holder(&lease).is_some() && holder(&lease) != not.and_then(holder) => {
                    Ok(lease)
                }
                other => Err(Box::new(other)),
            }
        })
    }
}

#[test]
fn killed_while_ten_thousand_pods_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(&["apiserver"], directory.path());
    let cluster = Cluster::of(&process);
    cluster.fill();
    cluster.create_pods("other", "other", FOREIGN);
    cluster.create_pods("default", "default-scheduler", FOREIGN);
    cluster.create_pods("mine", "mine", PODS);

    let leader = Scheduler::start(&process.kubeconfig());
    cluster.lease(None);
    let follower = Scheduler::start(&process.kubeconfig());
    let first = cluster.bound(PODS / 10);
    drop(leader);
    let last = cluster.lease(None);
    let next = cluster.lease(Some(&last));
    let gap = next.acquire_time.unwrap().0.duration_since(last.renew_time.unwrap().0);
    let limit = LEASE_DURATION + RETRY_PERIOD + BUSY;
    assert!(gap <= limit.try_into().unwrap(), "taken over {gap:#} after the last renewal");

    let second = cluster.bound(first + PODS / 10);
    drop(follower);
    let _third = Scheduler::start(&process.kubeconfig());
    cluster.bound(PODS);
    eprintln!("killed at {first} and {second} of {PODS} pods; taken over {gap:#} after the last renewal");
    all_is_well(&cluster.pods());
}

fn all_is_well(pods: &[views::Pod]) {
    assert_eq!(pods.len(), PODS + 2 * FOREIGN, "none is lost");
    let names: BTreeSet<&str> = pods.iter().map(|pod| pod.name()).collect();
    assert_eq!(names.len(), pods.len(), "none is doubled");
    let mut on: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        assert!(pod.metadata.deletion_timestamp.is_none(), "{} is evicted", pod.name());
        let mine = pod.name().starts_with("mine-");
        assert_eq!(pod.spec.node_name.is_some(), mine, "{}", pod.name());
        if let Some(node) = &pod.spec.node_name {
            *on.entry(node).or_default() += 1;
        }
    }
    let overfull: Vec<_> = on.iter().filter(|(_, pods)| **pods > PODS_A_NODE).collect();
    assert!(overfull.is_empty(), "{overfull:?}");
}
