//! Cluster DNS over real sockets, fed by the real API server and asked by a real resolver. Time is real here: the
//! packets are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use addons::dns::{Config, Dns, Surroundings, Upstreams, Zone, address, publish};
use component::client::from_service;
use component::informers::Informers;
use component::metrics::Registry;
use component::random::Random;
use component::tasks::Tasks;
use harness::cluster::TestCluster;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How long a reply may take; the server's own patience with a silent upstream is 2 s.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    cluster: TestCluster,
    registry: Registry,
    at: SocketAddr,
}

impl World {
    async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let cluster = TestCluster::apiserver().await;
        let informers = Informers::new(cluster.client.clone(), cluster.tasks.clone(), cluster.clock.clone());
        let (dns, registry) = start(&cluster, informers, configure);
        cluster
            .eventually("the server knows the cluster", || async {
                if dns.is_synced() { Ok(()) } else { Err(()) }
            })
            .await;
        Self { cluster, registry, at: dns.addresses[0] }
    }

    async fn service(&self, name: &str, spec: Value) -> Service {
        self.cluster.create(json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        over_udp(self.at, &question(name, kind)).await
    }

    /// Asks until the reply says what is wanted: objects take a moment to arrive.
    async fn until(&self, name: &str, kind: RecordType, wanted: &str) {
        self.cluster
            .eventually(name, || async {
                let said = text(&self.ask(name, kind).await);
                if said == wanted { Ok(()) } else { Err(said) }
            })
            .await;
    }
}

fn start(
    cluster: &TestCluster,
    informers: Informers,
    configure: impl FnOnce(&mut Config),
) -> (Dns, Registry) {
    let mut config = Config::new(&Zone::default().name, vec![(LOOPBACK, 0).into()]);
    config.upstreams = Upstreams::Servers(Vec::new());
    configure(&mut config);
    let surroundings = Surroundings {
        informers,
        clock: cluster.clock.clone(),
        registry: Registry::new(),
        random: Random::from_seed(1),
    };
    let dns = Dns::start(config, &surroundings, &cluster.tasks).expect("loopback");
    (dns, surroundings.registry)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut request = Message::new(4711, MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    request
}

async fn over_udp(at: SocketAddr, request: &Message) -> Message {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(&request.to_vec().unwrap(), at).await.unwrap();
    let mut buffer = vec![0; 65535];
    let received = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await;
    let (length, from) = received.expect("a reply comes").unwrap();
    assert_eq!(from, at);
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn over_tcp(at: SocketAddr, requests: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    for request in requests {
        let bytes = request.to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
    let mut replies = Vec::new();
    for _ in requests {
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        replies.push(Message::from_vec(&bytes).unwrap());
    }
    replies
}

/// `NoError 10.0.0.1 10.0.0.2`
fn text(reply: &Message) -> String {
    let mut data: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    [vec![format!("{:?}", reply.metadata.response_code)], data].concat().join(" ")
}

fn slice(service: &str, addresses: impl Iterator<Item = String>) -> Value {
    let endpoints: Vec<Value> = addresses.map(|address| json!({"addresses": [address]})).collect();
    json!({
        "metadata": {"name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    })
}

#[tokio::test]
async fn a_resolver_finds_services_and_their_ends() {
    let world = World::start(|_| ()).await;
    let web = world.service("web", json!({"ports": [{"name": "http", "port": 80}]})).await;
    let address = web.spec.unwrap().cluster_ip.unwrap();
    world.until("web.default.svc.cluster.local.", RecordType::A, &format!("NoError {address}")).await;

    let mut udp = ConnectionConfig::udp();
    udp.port = world.at.port();
    let server = NameServerConfig::new(LOOPBACK.into(), true, vec![udp]);
    let domains = ["default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."];
    let searches = domains.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
    let config = ResolverConfig::from_parts(None, searches, vec![server]);
    let mut resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    resolver.options_mut().ndots = 5;
    let resolver = resolver.build().unwrap();
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local."] {
        let found: Vec<IpAddr> = resolver.lookup_ip(name).await.unwrap().iter().collect();
        assert_eq!(found, [address.parse::<IpAddr>().unwrap()], "{name}");
    }
    let found = resolver.lookup("_http._tcp.web", RecordType::SRV).await.unwrap();
    assert_eq!(found.answers()[0].data.to_string(), "0 100 80 web.default.svc.cluster.local.");

    Api::<Service>::default_namespaced(world.cluster.client.clone())
        .delete("web", &Default::default())
        .await
        .unwrap();
    world.until("web.default.svc.cluster.local.", RecordType::A, "NXDomain").await;
    let denial = world.ask("web.default.svc.cluster.local.", RecordType::A).await;
    assert!(denial.metadata.authoritative && denial.authorities[0].record_type() == RecordType::SOA);
    world.cluster.stop().await;
}

#[tokio::test]
async fn endpoints_of_a_headless_service_come_and_go() {
    let world = World::start(|_| ()).await;
    world.service("pets", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]})).await;
    let name = "pets.default.svc.cluster.local.";
    world.until(name, RecordType::A, "NXDomain").await;
    let slices: Api<EndpointSlice> = world.cluster.api();
    world.cluster.create::<EndpointSlice>(slice("pets", (1..=2).map(|last| format!("10.0.0.{last}")))).await;
    world.until(name, RecordType::A, "NoError 10.0.0.1 10.0.0.2").await;
    world
        .until("1.0.0.10.in-addr.arpa.", RecordType::PTR, "NoError 10-0-0-1.pets.default.svc.cluster.local.")
        .await;
    let one = json!({"endpoints": [{"addresses": ["10.0.0.2"]}]});
    world.cluster.change::<EndpointSlice>("pets-1", one).await;
    world.until(name, RecordType::A, "NoError 10.0.0.2").await;
    slices.delete("pets-1", &Default::default()).await.unwrap();
    world.until(name, RecordType::A, "NXDomain").await;
    world.cluster.stop().await;
}

#[tokio::test]
async fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let world = World::start(|_| ()).await;
    world.service("many", json!({"clusterIP": "None"})).await;
    let addresses = (0..100).map(|last| format!("10.0.1.{last}"));
    world.cluster.create::<EndpointSlice>(slice("many", addresses)).await;
    let name = "many.default.svc.cluster.local.";
    world
        .cluster
        .eventually("the endpoints are known", || async {
            let reply = world.ask(name, RecordType::A).await;
            if reply.metadata.truncation { Ok(()) } else { Err(text(&reply)) }
        })
        .await;
    let plain = world.ask(name, RecordType::A).await;
    assert!(plain.answers.len() < 40 && plain.edns.is_none());

    let mut with_edns = question(name, RecordType::A);
    with_edns.set_edns(Edns::new());
    with_edns.edns.as_mut().unwrap().set_max_payload(4096);
    let larger = over_udp(world.at, &with_edns).await;
    assert!(
        larger.metadata.truncation && larger.answers.len() > plain.answers.len() && larger.edns.is_some()
    );

    let other = question("absent.default.svc.cluster.local.", RecordType::A);
    let replies = over_tcp(world.at, &[question(name, RecordType::A), other]).await;
    assert_eq!(replies[0].answers.len(), 100);
    assert!(!replies[0].metadata.truncation);
    assert_eq!(replies[1].metadata.response_code, ResponseCode::NXDomain);
    world.cluster.stop().await;
}

#[tokio::test]
async fn until_the_cluster_is_known_its_names_fail() {
    let cluster = TestCluster::apiserver().await;
    // An API server that never answers.
    let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
    });
    let informers = Informers::new(from_service(silent), cluster.tasks.clone(), cluster.clock.clone());
    let (dns, _) = start(&cluster, informers, |_| ());
    let at = dns.addresses[0];
    let failed = over_udp(at, &question("kubernetes.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!((failed.metadata.response_code, dns.is_synced()), (ResponseCode::ServFail, false));
    // Without upstream servers nobody may ask for other names; that is not the cluster's fault.
    let refused = over_udp(at, &question("example.com.", RecordType::A)).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    cluster.stop().await;
}

/// An upstream server: `long.*` does not fit into a datagram, `absent.*` does not exist, others have `address`.
async fn upstream(tasks: &Tasks, address: [u8; 4]) -> (SocketAddr, Arc<AtomicUsize>) {
    let udp = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let at = udp.local_addr().unwrap();
    let (tcp, asked) = (TcpListener::bind(at).await.unwrap(), Arc::new(AtomicUsize::new(0)));
    let reply = move |request: Message, whole: bool| {
        let name = request.queries[0].name().clone();
        let mut reply = Message::response(request.metadata.id, OpCode::Query);
        reply.queries = request.queries;
        reply.metadata.recursion_available = true;
        let first = String::from_utf8_lossy(name.iter().next().unwrap()).into_owned();
        if first == "absent" {
            reply.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, 60);
            reply.authorities.push(Record::from_rdata(name.base_name(), 60, RData::SOA(soa)));
        } else if first == "long" && !whole {
            reply.metadata.truncation = true;
        } else {
            reply.answers.push(Record::from_rdata(name, 60, RData::A(A(address.into()))));
        }
        reply.to_vec().unwrap()
    };
    let counter = Arc::clone(&asked);
    tasks.spawn_until_stopped("upstream-udp", async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let request = Message::from_vec(&buffer[..length]).unwrap();
            // Somebody's guess comes before the answer and must not count.
            let mut guess = request.clone();
            guess.metadata.id = request.metadata.id.wrapping_add(1);
            udp.send_to(&reply(guess, true), from).await.unwrap();
            udp.send_to(&reply(request, false), from).await.unwrap();
        }
    });
    tasks.spawn_until_stopped("upstream-tcp", async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let bytes = reply(Message::from_vec(&bytes).unwrap(), true);
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (at, asked)
}

#[tokio::test]
async fn other_names_are_asked_for_upstream_once() {
    let tasks = Tasks::new();
    let (server, asked) = upstream(&tasks, [1, 2, 3, 4]).await;
    let (stub, stub_asked) = upstream(&tasks, [5, 6, 7, 8]).await;
    // Nobody answers there: a socket that is bound and never read.
    let silent = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let first = silent.local_addr().unwrap();
    let world = World::start(|config| {
        config.upstreams = Upstreams::Servers(vec![first, server]);
        config.stub_domains = vec![(Name::from_ascii("corp.").unwrap(), vec![stub])];
    })
    .await;
    for (name, wanted) in [
        ("www.example.com.", "NoError 1.2.3.4"),
        ("absent.example.com.", "NXDomain"),
        ("long.example.com.", "NoError 1.2.3.4"),
        ("db.corp.", "NoError 5.6.7.8"),
        ("4.3.2.1.in-addr.arpa.", "NoError 1.2.3.4"),
    ] {
        assert_eq!(text(&world.ask(name, RecordType::A).await), wanted, "{name}");
    }
    let before = (asked.load(Ordering::SeqCst), stub_asked.load(Ordering::SeqCst));
    assert_eq!(before, (4, 1), "the silent server is passed over, and its deputy remembered");
    assert_eq!(text(&world.ask("WWW.example.com.", RecordType::A).await), "NoError 1.2.3.4");
    assert_eq!(text(&world.ask("absent.example.com.", RecordType::A).await), "NXDomain");
    assert_eq!((asked.load(Ordering::SeqCst), stub_asked.load(Ordering::SeqCst)), before, "kept");

    world.service("out", json!({"type": "ExternalName", "externalName": "www.example.com"})).await;
    world.until("out.default.svc.cluster.local.", RecordType::A, "NoError 1.2.3.4 www.example.com.").await;

    let shown = world.registry.encode();
    for line in [
        "coredns_cache_hits_total{server=\"dns://127.0.0.1:PORT\",type=\"denial\",zones=\".\",view=\"\"} 1",
        "rcode=\"NXDOMAIN\",plugin=\"forward\"} 2",
        "proto=\"udp\",family=\"1\",type=\"A\"}",
    ] {
        let line = line.replace("PORT", &world.at.port().to_string());
        assert!(shown.contains(&line), "{line} is missing in\n{shown}");
    }
    world.cluster.stop().await;
    tasks.stop().await;
}

#[tokio::test]
async fn the_service_of_the_server_has_the_name_and_address_people_expect() {
    let cluster = TestCluster::apiserver().await;
    let client = &cluster.client;
    assert_eq!(address(client).await.unwrap(), None);
    let given = publish(client, "10.244.0.1:53".parse().unwrap()).await.unwrap();
    assert_eq!(given.to_string(), "10.96.0.10");
    let moved = publish(client, "10.244.7.1:5353".parse().unwrap()).await.unwrap();
    assert_eq!((moved, address(client).await.unwrap()), (given, Some(given)));

    let services = Api::<Service>::namespaced(client.clone(), "kube-system");
    let service = services.get("kube-dns").await.unwrap();
    assert_eq!(service.metadata.labels.unwrap()["k8s-app"], "kube-dns");
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "kube-system");
    let slice = slices.get("kube-dns").await.unwrap();
    assert_eq!(slice.endpoints.unwrap()[0].addresses, ["10.244.7.1"]);
    assert_eq!(slice.ports.unwrap()[0].port, Some(5353));

    // Somebody's CoreDNS in pods: its endpoints are not ours to write.
    services.delete("kube-dns", &Default::default()).await.unwrap();
    slices.delete("kube-dns", &Default::default()).await.unwrap();
    let theirs = json!({"metadata": {"name": "kube-dns"},
        "spec": {"clusterIP": "10.96.0.53", "selector": {"k8s-app": "kube-dns"}, "ports": [{"port": 53}]}});
    services.create(&Default::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let theirs = publish(client, "10.244.0.1:53".parse().unwrap()).await.unwrap();
    assert_eq!(theirs.to_string(), "10.96.0.53");
    assert!(slices.get_opt("kube-dns").await.unwrap().is_none());
    cluster.stop().await;
}
