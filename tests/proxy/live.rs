//! The proxy as it runs: it follows an API server, tells of itself over HTTP, and keeps up with a flood of changes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use component::metrics::Registry;
use component::tasks::Tasks;
use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use node_agent::proxy::model::Cidr;
use node_agent::proxy::{Config, DetectLocal, run};
use serde_json::{Value, json};

use crate::ask::{Answer, Way, ask};
use crate::namespace::ruleset;
use crate::network::Network;

/// How long a change may take to be seen; on a loaded machine syncs themselves are slow.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Changes of one slice in the flood.
const FLOOD: usize = 600;

const VIP: &str = "10.96.0.50:80";

#[test]
fn it_follows_the_cluster_and_tells_of_itself() {
    let network = Arc::new(Network::start());
    network.within("node", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(Arc::clone(&network)));
    });
}

async fn follow(network: Arc<Network>) {
    let cluster = TestCluster::apiserver().await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), "default");
    create(&Api::<Node>::all(cluster.client.clone()), json!({"metadata": {"name": "node"}})).await;
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.50", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32100, "ports": [{"name": "web", "port": 80, "nodePort": 30080},
            {"name": "udp", "port": 53, "protocol": "UDP"}]});
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    create(&services, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    create(&slices, slice("10.244.0.11", "node")).await;

    let mut config = Config::new("node");
    config.detect_local = DetectLocal::ClusterCidr;
    config.cluster_cidrs = vec!["10.244.0.0/16".parse::<Cidr>().unwrap()];
    config.cleanup_at_end = true;
    let (tasks, registry, clock) = (Tasks::new(), Registry::new(), cluster.clock.clone());
    let proxy = run(config, cluster.client.clone(), clock, registry.clone(), tasks.clone());
    // In this task, as it opens its sockets in this thread's namespace.
    let proxy = async { proxy.await.expect("the proxy runs") };
    tokio::select! {
        biased;
        () = async {
            tokio::join!(proxy, async {
                checks(&network, &slices, &services, &registry).await;
                tasks.tell_to_stop();
            });
        } => {}
    }
    assert!(!ruleset().contains("steersman-proxy"), "{}", ruleset());
    cluster.tasks.clone().stop().await;
}

async fn checks(
    network: &Arc<Network>,
    slices: &Api<EndpointSlice>,
    services: &Api<Service>,
    registry: &Registry,
) {
    answers(network, VIP, "pod1").await;
    // A client that keeps its socket is led to the new pod, although the kernel tracks the flow to the old one.
    let socket = Arc::new(network.within("pod3", || UdpSocket::bind("0.0.0.0:5555").unwrap()));
    assert_eq!(exchange(&socket).await.as_deref(), Some("pod1 10.244.0.13"));
    replace(slices, slice("10.244.0.12", "node")).await;
    answers(network, VIP, "pod2").await;
    // The rules change first, then the flow ends; until then each question only keeps the old flow alive.
    let moved = async {
        while exchange(&socket).await.as_deref() != Some("pod2 10.244.0.13") {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("the old flow ends");

    let (status, body) = get(network, "outside", "192.168.50.1:32100", "/").await;
    assert_eq!((status.as_str(), &body["localEndpoints"]), ("200", &json!(1)), "{body}");
    assert_eq!(body["service"], json!({"namespace": "default", "name": "web"}));
    let (status, body) = get(network, "outside", "192.168.50.1:10256", "/healthz").await;
    assert_eq!((status.as_str(), &body["nodeEligible"]), ("200", &json!(true)), "{body}");
    assert_eq!(get(network, "node", "127.0.0.1:10249", "/proxyMode").await.1, json!("nftables"));
    let (_, metrics) = get(network, "node", "127.0.0.1:10249", "/metrics").await;
    assert!(metrics.to_string().contains("kubeproxy_sync_proxy_rules_duration_seconds_count"), "{metrics}");

    // The last pod here goes: load balancers are told, and the node port drops.
    replace(slices, slice("10.244.1.11", "other")).await;
    answers(network, VIP, "far").await;
    // The rules change first, then what load balancers are told.
    let told = async {
        loop {
            let (status, body) = get(network, "outside", "192.168.50.1:32100", "/").await;
            if (status.as_str(), &body["localEndpoints"]) == ("503", &json!(0)) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the health check fails");

    let before = syncs(registry);
    for number in 0..FLOOD {
        replace(slices, slice(&format!("10.244.0.{}", 100 + number % 100), "node")).await;
    }
    replace(slices, slice("10.244.0.11", "node")).await;
    answers(network, VIP, "pod1").await;
    let during = syncs(registry) - before;
    harness::bench::say(&format!("{FLOOD} changes of a slice: {during} syncs"));
    assert!(during < FLOOD as u64 / 2, "{during} syncs");

    services.delete("web", &Default::default()).await.unwrap();
    eventually(network, VIP, |answer| !matches!(answer, Answer::From(..))).await;
}

fn slice(address: &str, node: &str) -> Value {
    json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "nodeName": node, "conditions": {"ready": true}}],
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "udp", "port": 8080, "protocol": "UDP"}]})
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&Default::default(), &object).await.unwrap();
}

async fn replace(api: &Api<EndpointSlice>, object: Value) {
    let object: EndpointSlice = serde_json::from_value(object).unwrap();
    api.replace("web-1", &Default::default(), &object).await.unwrap();
}

async fn answers(network: &Arc<Network>, to: &str, pod: &'static str) {
    eventually(network, to, move |answer| matches!(answer, Answer::From(from, _) if from == pod)).await;
}

async fn eventually(network: &Arc<Network>, to: &str, wanted: impl Fn(&Answer) -> bool) {
    let to: SocketAddr = to.parse().unwrap();
    let waiting = async {
        loop {
            let network = Arc::clone(network);
            let once = move || ask(&network, "pod3", Way::Tcp, to);
            let answer = tokio::task::spawn_blocking(once).await.unwrap();
            if wanted(&answer) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the change is seen in time");
}

/// One UDP question, sent again once as every resolver does.
async fn exchange(socket: &Arc<UdpSocket>) -> Option<String> {
    let socket = Arc::clone(socket);
    let once = move || {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut buffer = [0; 64];
        for _ in 0..2 {
            socket.send_to(b"?", "10.96.0.50:53").unwrap();
            if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        None
    };
    tokio::task::spawn_blocking(once).await.unwrap()
}

/// A GET from a place: the status, and the body as JSON if it is, else as text.
async fn get(network: &Arc<Network>, from: &'static str, at: &str, path: &str) -> (String, Value) {
    let (network, at): (_, SocketAddr) = (Arc::clone(network), at.parse().unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let once = move || {
        network.within(from, || {
            let mut stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    let text = tokio::task::spawn_blocking(once).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

fn syncs(registry: &Registry) -> u64 {
    let text = registry.encode();
    let name = "kubeproxy_sync_proxy_rules_duration_seconds_count ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}
