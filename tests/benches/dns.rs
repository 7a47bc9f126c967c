//! Cluster DNS with 10,000 Services on loopback: questions a second and the time of one, beside a UDP echo server on the
//! same kind of sockets, which is what the machine allows.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use addons::dns::{Config, Dns, Surroundings, Upstreams, Zone};
use anyhow::{Context as _, Result, ensure};
use component::informers::Informers;
use component::metrics::Registry;
use component::random::Random;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use harness::bench::{Latencies, Report, usage};
use harness::cluster::TestCluster;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use serde_json::json;
use tokio::time::Instant;

/// Services with an address, and without one but with two endpoints each.
const SERVICES: usize = 9_000;
const HEADLESS: usize = 1_000;
/// Creates at a time.
const WRITERS: usize = 16;
/// Questions of a measurement.
const QUESTIONS: usize = 200_000;
/// Askers, each a thread with a socket, and their questions under way.
const ASKERS: usize = 2;
const UNDER_WAY: u16 = 16;
/// Services added one by one to the full index.
const ADDED: usize = 100;
/// How long a reply may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let mut report = Report::new("dns");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cluster = runtime.block_on(TestCluster::apiserver());
    runtime.block_on(fill(&cluster))?;
    let before = usage(std::process::id());
    let start = Instant::now();
    let dns = runtime.block_on(serve(&cluster))?;
    let note = format!("{SERVICES} Services with an address, {HEADLESS} headless with 2 endpoints");
    report.add("start until every name is known", millis(start.elapsed()), "ms", "", &note);
    let memory = usage(std::process::id()).memory - before.memory;
    report.add("memory", memory, "MB", "", "informers and index; the API server is in the same process");

    let echo = runtime.block_on(echo())?;
    let asked = [
        ("echo", echo, RecordType::A, "service-{}.default.svc.cluster.local.", None),
        ("Service, A", dns, RecordType::A, "service-{}.default.svc.cluster.local.", Some(1)),
        ("headless Service, A", dns, RecordType::A, "headless-{}.default.svc.cluster.local.", Some(2)),
        (
            "port of a Service, SRV",
            dns,
            RecordType::SRV,
            "_http._tcp.service-{}.default.svc.cluster.local.",
            Some(1),
        ),
        ("name that does not exist", dns, RecordType::A, "absent-{}.default.svc.cluster.local.", Some(0)),
    ];
    let mut limit = 0.0;
    for (name, at, kind, pattern, answers) in asked {
        let questions = questions(pattern, kind)?;
        check(at, &questions[0], answers)?;
        let (seconds, latencies) = ask(at, &questions)?;
        let rate = QUESTIONS as f64 / seconds;
        limit = if answers.is_none() { rate } else { limit };
        let part = format!("{:.0} % of the echo server", rate / limit * 100.0);
        let note = format!("{ASKERS} askers, {UNDER_WAY} questions each under way; no question is lost");
        report.add(
            &format!("{name}, rate"),
            rate,
            "questions/s",
            if answers.is_none() { "" } else { &part },
            &note,
        );
        report.add_latency(name, &latencies, "", "");
    }
    let latencies = runtime.block_on(add(&cluster, dns))?;
    report.add_latency("new Service until it is answered", &latencies, "", "create, watch, index, question");
    report.finish();
    Ok(())
}

async fn fill(cluster: &TestCluster) -> Result<()> {
    let (services, slices) = (cluster.api::<Service>(), cluster.api::<EndpointSlice>());
    let port = json!([{"name": "http", "port": 80}]);
    let ordinary =
        (0..SERVICES).map(|n| json!({"metadata": {"name": format!("service-{n}")}, "spec": {"ports": port}}));
    let headless = (0..HEADLESS).map(|n| {
        json!({"metadata": {"name": format!("headless-{n}")}, "spec": {"clusterIP": "None", "ports": port}})
    });
    let all =
        ordinary.chain(headless).map(serde_json::from_value::<Service>).collect::<Result<Vec<_>, _>>()?;
    let parameters = PostParams::default();
    let creates = iter(all).map(async |service| services.create(&parameters, &service).await.map(drop));
    creates.buffer_unordered(WRITERS).try_collect::<()>().await?;
    let all = (0..HEADLESS).map(|n| {
        serde_json::from_value::<EndpointSlice>(json!({
            "metadata": {"name": format!("headless-{n}"),
                "labels": {"kubernetes.io/service-name": format!("headless-{n}")}},
            "addressType": "IPv4", "ports": port,
            "endpoints": [{"addresses": [format!("10.1.{}.{}", n / 250, n % 250)]},
                {"addresses": [format!("10.2.{}.{}", n / 250, n % 250)]}],
        }))
    });
    let creates = iter(all.collect::<Result<Vec<_>, _>>()?)
        .map(async |slice| slices.create(&parameters, &slice).await.map(drop));
    Ok(creates.buffer_unordered(WRITERS).try_collect::<()>().await?)
}

async fn serve(cluster: &TestCluster) -> Result<SocketAddr> {
    let informers = Informers::new(cluster.client.clone(), cluster.tasks.clone(), cluster.clock.clone());
    let (registry, random) = (Registry::new(), Random::from_seed(1));
    let surroundings = Surroundings { informers, clock: cluster.clock.clone(), registry, random };
    let upstreams = Upstreams::Servers(Vec::new());
    let config = Config { upstreams, ..Config::new(&Zone::default().name, vec![([127, 0, 0, 1], 0).into()]) };
    let dns = Dns::start(config, &surroundings, &cluster.tasks)?;
    while !dns.is_synced() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(dns.addresses[0])
}

/// As many sockets as the DNS server has; each datagram comes back as it is.
async fn echo() -> Result<SocketAddr> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd as _;

    let mut at = SocketAddr::from(([127, 0, 0, 1], 0));
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, at.port()))?;
        let socket = tokio::net::UdpSocket::from_std(fd.into())?;
        at = socket.local_addr()?;
        #[expect(clippy::disallowed_methods, reason = "it lives as long as the benchmark")]
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while socket.readable().await.is_ok() {
                for _ in 0..64 {
                    let Ok((length, from)) = socket.try_recv_from(&mut buffer) else { break };
                    let _ = socket.try_send_to(&buffer[..length], from);
                }
                tokio::task::consume_budget().await;
            }
        });
    }
    Ok(at)
}

/// Questions about `HEADLESS` different names.
fn questions(pattern: &str, kind: RecordType) -> Result<Vec<Vec<u8>>> {
    let one = |n: usize| {
        let mut request = Message::new(0, MessageType::Query, OpCode::Query);
        request.metadata.recursion_desired = true;
        request.add_query(Query::query(Name::from_ascii(pattern.replace("{}", &n.to_string()))?, kind));
        Ok(request.to_vec()?)
    };
    (0..HEADLESS).map(one).collect()
}

/// What is measured must be right.
fn check(at: SocketAddr, question: &[u8], answers: Option<usize>) -> Result<()> {
    let socket = asker(at)?;
    socket.send(question)?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    let Some(answers) = answers else { return Ok(()) };
    let reply = Message::from_vec(&buffer[..length])?;
    let code = if answers == 0 { ResponseCode::NXDomain } else { ResponseCode::NoError };
    ensure!(reply.answers.len() == answers && reply.metadata.response_code == code, "wrong reply: {reply:?}");
    Ok(())
}

fn asker(at: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Asks all questions round and round; answers the seconds it took and the time of each.
fn ask(at: SocketAddr, questions: &[Vec<u8>]) -> Result<(f64, Latencies)> {
    let start = Instant::now();
    let mut all = Latencies::default();
    let results: Vec<Result<Latencies>> = std::thread::scope(|scope| {
        let threads = (0..ASKERS).map(|_| scope.spawn(|| ask_alone(at, questions)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("an asker")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    for latencies in results {
        all.merge(&latencies?);
    }
    Ok((seconds, all))
}

fn ask_alone(at: SocketAddr, questions: &[Vec<u8>]) -> Result<Latencies> {
    let (socket, mut latencies, mut buffer) = (asker(at)?, Latencies::default(), [0; 512]);
    let mut sent = vec![Instant::now(); usize::from(UNDER_WAY)];
    let mut next = questions.iter().cycle();
    let mut send = |id: u16, sent: &mut [Instant]| -> Result<()> {
        let mut question = next.next().context("there are questions")?.clone();
        question[..2].copy_from_slice(&id.to_be_bytes());
        sent[usize::from(id)] = Instant::now();
        socket.send(&question)?;
        Ok(())
    };
    (0..UNDER_WAY).try_for_each(|id| send(id, &mut sent))?;
    let count = QUESTIONS / ASKERS;
    for number in 0..count {
        socket.recv(&mut buffer).context("a question was lost")?;
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        latencies.record(sent[usize::from(id)].elapsed());
        if number + usize::from(UNDER_WAY) < count {
            send(id, &mut sent)?;
        }
    }
    Ok(latencies)
}

/// How long a new Service takes from its creation to the answer with its address.
async fn add(cluster: &TestCluster, at: SocketAddr) -> Result<Latencies> {
    let (mut latencies, services) = (Latencies::default(), cluster.api::<Service>());
    let socket = asker(at)?;
    for number in 0..ADDED {
        let name = format!("added-{number}");
        let question = &mut questions(&format!("{name}.default.svc.cluster.local."), RecordType::A)?[0];
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        let start = Instant::now();
        services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
        loop {
            let mut buffer = [0; 512];
            tokio::task::block_in_place(|| socket.send(question).and_then(|_| socket.recv(&mut buffer)))?;
            // The response code is the low half of the fourth byte.
            if buffer[3] & 0xf == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        latencies.record(start.elapsed());
    }
    Ok(latencies)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
