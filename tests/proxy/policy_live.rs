//! The enforcement as it runs: it follows an API server, holds new pods back until their policies are in force, and has
//! packets between ports of a bridge judged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use component::informers::{Informers, Key};
use component::metrics::Registry;
use component::tasks::Tasks;
use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use node_agent::policy::{Config, Guard, Surroundings, guard, run};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ask::{Answer, Way, ask};
use crate::namespace::ruleset;
use crate::network::Network;

/// How long a change may take to be seen; on a loaded machine syncs themselves are slow.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn it_follows_the_cluster_and_new_pods_wait_for_it() {
    let network = Arc::new(Network::start());
    network.within("node", || {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(Arc::clone(&network)));
    });
}

async fn follow(network: Arc<Network>) {
    let cluster = TestCluster::apiserver().await;
    let account = json!({"metadata": {"name": "default"}});
    create::<ServiceAccount>(&Api::namespaced(cluster.client.clone(), "default"), account).await;
    let (tasks, registry) = (Tasks::new(), Registry::new());
    let surroundings = Surroundings {
        informers: Informers::new(cluster.client.clone(), tasks.clone(), cluster.clock.clone()),
        clock: cluster.clock.clone(),
        registry: registry.clone(),
        tasks: tasks.clone(),
    };
    let (guard, arrivals) = guard();
    let config = Config { node_name: "node".to_owned(), cleanup_at_end: true };
    // In this task, as it opens its sockets in this thread's namespace.
    let enforcement = async { run(config, surroundings, arrivals).await.expect("policies are enforced") };
    tokio::join!(enforcement, async {
        checks(&network, &cluster, &guard).await;
        let text = registry.encode();
        assert!(text.contains("steersman_network_policy_ingress_isolated_addresses 0"), "{text}");
        assert!(text.contains("steersman_network_policy_pod_guard_duration_seconds_count 2"), "{text}");
        tasks.tell_to_stop();
    });
    assert!(!ruleset().contains("steersman-policy"), "{}", ruleset());
    // Whoever enforced policies has ended: nobody waits.
    guard.wait(Key::new("default", "x"), "x".to_owned(), Vec::new()).await.unwrap();
    cluster.tasks.clone().stop().await;
}

async fn checks(network: &Arc<Network>, cluster: &TestCluster, guard: &Guard) {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), "default");
    for (name, role, address) in [("pod1", "web", "10.244.0.11"), ("pod2", "client", "10.244.0.12")] {
        create(&pods, pod(name, role)).await;
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
    answers(network, "10.244.0.11:8080", |answer| matches!(answer, Answer::From(..))).await;
    let deny = json!({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"role": "web"}}, "policyTypes": ["Ingress"]}});
    create(&policies, deny).await;
    answers(network, "10.244.0.11:8080", |answer| *answer == Answer::Silence).await;

    // A pod that nobody has reported an address of: when it may start, it is isolated.
    let new = create(&pods, pod("pod3", "web")).await;
    let (key, uid) = (Key::of(&new), new.metadata.uid.clone().unwrap());
    let address: IpAddr = "10.244.0.13".parse().unwrap();
    answers(network, "10.244.0.13:8080", |answer| matches!(answer, Answer::From(..))).await;
    for _ in 0..2 {
        guard.wait(key.clone(), uid.clone(), vec![address]).await.unwrap();
        assert_eq!(once(network, "10.244.0.13:8080").await, Answer::Silence);
    }

    let from =
        json!([{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": 8080}]}]);
    let allow = json!({"metadata": {"name": "allow"}, "spec": {"podSelector": {}, "ingress": from}});
    create(&policies, allow).await;
    answers(network, "10.244.0.13:8080", |answer| matches!(answer, Answer::From(..))).await;
    assert_eq!(once(network, "10.244.0.13:9090").await, Answer::Silence);
    for name in ["deny", "allow"] {
        policies.delete(name, &DeleteParams::default()).await.unwrap();
    }
    answers(network, "10.244.0.13:9090", |answer| matches!(answer, Answer::From(..))).await;
    answers(network, "10.244.0.11:9090", |answer| matches!(answer, Answer::From(..))).await;
}

fn pod(name: &str, role: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"role": role}},
        "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "i"}]}})
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

/// `pod2` asks.
async fn once(network: &Arc<Network>, to: &str) -> Answer {
    let (network, to): (_, SocketAddr) = (Arc::clone(network), to.parse().unwrap());
    tokio::task::spawn_blocking(move || ask(&network, "pod2", Way::Tcp, to)).await.unwrap()
}

async fn answers(network: &Arc<Network>, to: &str, wanted: impl Fn(&Answer) -> bool) {
    let waiting = async {
        while !wanted(&once(network, to).await) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{to} does not answer as it should"));
}
