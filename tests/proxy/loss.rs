//! Nothing is lost: clients that never pause, while backends roll, the proxy is killed and started, and started in the
//! other mode.
//!
//! Promise: the proxy is a process of its own, killed with SIGKILL; connections that are opened, connections that
//! stay open and UDP exchanges are counted, and the counts are printed. A UDP exchange may be sent twice, as a
//! resolver does; nothing else may fail.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Key;
use harness::{uml, vm};
use node_agent::netlink::{Protocol, Socket, conntrack};
use node_agent::proxy::ipvs::Options;
use node_agent::proxy::model::{Changes, DataPlane, EndpointSlice, Service, plan_service};
use node_agent::proxy::{Backend, Mode, Nftables, Report, Switching};
use serde_json::json;
use tokio::time::Instant;

use crate::cases::settings;
use crate::network::Network;
use crate::table::node;

/// Where the proxy's process finds what is wanted of it: the back end and the endpoints.
const WISH: &str = "STEERSMAN_TEST_PROXY_WISH";
/// The service and its port, the same for TCP and UDP.
const SERVICE: &str = "10.96.0.77:7000";
const PODS: [(&str, &str); 3] = [("pod1", "10.244.0.11"), ("pod2", "10.244.0.12"), ("far", "10.244.1.11")];

/// How long a connection may take to open or to answer before it is lost; generous, as machines for tests are slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until a UDP question is asked once more.
const RETRY: Duration = Duration::from_secs(1);
/// How long a pod that was taken out goes on serving what reaches it, as one that terminates.
const LAST_WORDS: Duration = Duration::from_millis(150);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(150);
/// For the proxy to program a wish, started anew.
const PROGRAMMED: Duration = Duration::from_secs(60);
const ROUNDS: usize = 12;
/// Both ways in turn, half of them each.
const SWITCHES: usize = 8;
/// For the back end that was to have forgotten all it wants to forget.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

#[test]
fn nftables_loses_nothing() {
    scenario("nftables");
}

#[test]
fn ipvs_loses_nothing() {
    uml::in_guest("loss::ipvs_loses_nothing", || scenario("ipvs"));
}

#[test]
fn switching_modes_loses_nothing() {
    vm::in_guest("loss::switching_modes_loses_nothing", switching);
}

/// Starts the proxy in the other mode again and again, while the backends roll.
fn switching() {
    if let Some(wish) = std::env::var_os(WISH) {
        proxy(&PathBuf::from(wish));
    }
    let network = Network::start();
    let pods = PODS.map(|(pod, address)| Pod::start(&network, pod, address));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut driver =
        Driver { network: &network, pods: &pods, wish: directory.path().join("wish"), child: None };
    driver.wish("nftables", &[0, 1]);
    driver.start();
    driver.wait();
    let counts = Arc::new(Counts::default());
    let mut clients = clients(&network, &counts);
    for round in 0..SWITCHES {
        let mode = ["ipvs", "nftables"][round % 2];
        driver.kill();
        // Every other time endpoints change too while no proxy is there, else with the new one at work.
        let changed = [(round + 1) % 3, (round + 2) % 3];
        if round % 4 < 2 {
            driver.wish(mode, &changed);
        } else {
            driver.wish(mode, &[round % 3, (round + 1) % 3]);
        }
        driver.start();
        driver.wait();
        driver.wish(mode, &changed);
        driver.wait();
        // Some of each mode that live on under the other.
        clients.extend(keepers(&network, &counts));
        handed_over(&network, mode);
        if round % 4 < 2 {
            std::thread::sleep(LONG_ENOUGH);
        }
    }
    counts.over.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    drop(driver);
    report(&format!("nftables and ipvs in turn: {SWITCHES} switches, as many changes of backends"), &counts);
}

/// Under nf_tables IPVS keeps what it had and takes nothing new; under IPVS no rule of the other is left.
fn handed_over(network: &Network, mode: &str) {
    let since = Instant::now();
    loop {
        let left = network.within("node", || match mode {
            "ipvs" => Nftables::open().and_then(|mut it| it.is_there()).expect("the kernel can be asked"),
            _ => {
                let table = std::fs::read_to_string("/proc/thread-self/net/ip_vs").expect("IPVS is there");
                let mut weights = table.lines().filter_map(|line| line.split_once("Masq")).map(|(_, it)| it);
                weights.any(|numbers| numbers.split_whitespace().next() != Some("0"))
            }
        });
        if !left {
            return;
        }
        assert!(since.elapsed() < PROGRAMMED, "the other back end does not let go under {mode}");
        std::thread::sleep(PAUSE);
    }
}

/// What clients count.
#[derive(Debug, Default)]
struct Counts {
    over: AtomicBool,
    opened: AtomicUsize,
    open_lost: AtomicUsize,
    kept: AtomicUsize,
    kept_exchanges: AtomicUsize,
    kept_lost: AtomicUsize,
    datagrams: AtomicUsize,
    datagrams_retried: AtomicUsize,
    datagrams_lost: AtomicUsize,
}

/// Rolls the backends, then kills the proxy again and again.
fn scenario(mode: &str) {
    if let Some(wish) = std::env::var_os(WISH) {
        proxy(&PathBuf::from(wish));
    }
    let network = Network::start();
    let pods = PODS.map(|(pod, address)| Pod::start(&network, pod, address));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut driver =
        Driver { network: &network, pods: &pods, wish: directory.path().join("wish"), child: None };
    driver.wish(mode, &[0, 1]);
    driver.start();
    driver.wait();
    let counts = Arc::new(Counts::default());
    let clients = clients(&network, &counts);
    for round in 0..ROUNDS {
        driver.wish(mode, &[round % 3, (round + 1) % 3]);
        driver.wait();
        std::thread::sleep(PAUSE);
    }
    let mut kills = 0;
    for round in 0..ROUNDS {
        driver.kill();
        kills += 1;
        // Every other time things change while no proxy is there.
        let from = if round % 2 == 0 { round } else { round + 1 };
        driver.wish(mode, &[from % 3, (from + 1) % 3]);
        std::thread::sleep(PAUSE);
        driver.start();
        driver.wait();
        std::thread::sleep(PAUSE);
    }
    counts.over.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    drop(driver);
    report(&format!("{mode}: {ROUNDS} changes of backends, {kills} kills of the proxy"), &counts);
}

fn report(what: &str, counts: &Counts) {
    let read = |count: &AtomicUsize| count.load(Relaxed);
    let (opened, open_lost) = (read(&counts.opened), read(&counts.open_lost));
    let (kept, exchanges, kept_lost) =
        (read(&counts.kept), read(&counts.kept_exchanges), read(&counts.kept_lost));
    let (datagrams, retried, lost) =
        (read(&counts.datagrams), read(&counts.datagrams_retried), read(&counts.datagrams_lost));
    harness::bench::say(&format!(
        "\n{} {what}: {opened} connections opened, {open_lost} lost; {kept} connections kept over {exchanges} exchanges, {kept_lost} lost; {datagrams} UDP exchanges, \
         {retried} sent twice, {lost} lost",
        uml::FIGURE,
    ));
    assert!(opened > 100 && exchanges > 100 && datagrams > 100, "the clients hardly worked");
    assert_eq!((open_lost, kept_lost, lost), (0, 0, 0), "connections or exchanges were lost");
}

/// What stands between the test and the proxy's process.
struct Driver<'a> {
    network: &'a Network,
    pods: &'a [Pod; 3],
    wish: PathBuf,
    child: Option<Child>,
}

impl Driver<'_> {
    /// Writes what is wanted: a back end and endpoints.
    fn wish(&self, mode: &str, pods: &[usize]) {
        for pod in pods {
            self.pods[*pod].live.store(true, Relaxed);
        }
        let names: Vec<&str> = pods.iter().map(|pod| PODS[*pod].0).collect();
        let next = self.wish.with_extension("next");
        std::fs::write(&next, format!("{mode} {}", names.join(" "))).expect("write the wish");
        std::fs::rename(next, &self.wish).expect("write the wish");
    }

    /// This very test once more, in the node, as the proxy.
    fn start(&mut self) {
        let program = std::env::current_exe().expect("this binary");
        let test = std::thread::current().name().map(str::to_owned).expect("tests have names");
        let wish = self.wish.clone();
        let child = self.network.within("node", move || {
            Command::new(program)
                .args([&test, "--exact", "--nocapture", "--test-threads=1"])
                .env(WISH, wish)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        });
        self.child = Some(child.expect("start the proxy"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill the proxy");
            child.wait().expect("the proxy ends");
        }
    }

    /// Waits until the wish is programmed; then the pods that are not in it stop serving newcomers.
    fn wait(&mut self) {
        let wish = std::fs::read_to_string(&self.wish).expect("the wish");
        let done = self.wish.with_extension("done");
        let since = Instant::now();
        while std::fs::read_to_string(&done).unwrap_or_default() != wish {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("the proxy's state"));
            assert!(ended.is_none(), "the proxy ended: {ended:?}");
            assert!(since.elapsed() < PROGRAMMED, "the proxy did not program {wish:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(LAST_WORDS);
        let names: BTreeSet<&str> = wish.split(' ').skip(1).collect();
        for (pod, (name, _)) in self.pods.iter().zip(PODS) {
            pod.live.store(names.contains(name), Relaxed);
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Echoes on TCP and UDP. While it is not live, newcomers get nothing; connections that it has go on.
struct Pod {
    live: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pod {
    fn start(network: &Network, pod: &str, address: &str) -> Pod {
        // At its own address: an answer from any other leads nowhere.
        let at: SocketAddr = format!("{address}:7000").parse().expect("an address");
        let (tcp, udp) = network.within(pod, || {
            (TcpListener::bind(at).expect("a free port"), UdpSocket::bind(at).expect("a free port"))
        });
        tcp.set_nonblocking(true).expect("a socket option");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket option");
        let (live, over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (alive, end) = (Arc::clone(&live), Arc::clone(&over));
        let listener = std::thread::spawn(move || {
            while !end.load(Relaxed) {
                match tcp.accept() {
                    Ok((stream, _)) if alive.load(Relaxed) => drop(std::thread::spawn(move || echo(stream))),
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let (alive, end) = (Arc::clone(&live), Arc::clone(&over));
        let datagrams = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !end.load(Relaxed) {
                if let Ok((length, client)) = udp.recv_from(&mut buffer)
                    && alive.load(Relaxed)
                {
                    drop(udp.send_to(&buffer[..length], client));
                }
            }
        });
        Pod { live, over, threads: vec![listener, datagrams] }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn echo(mut stream: TcpStream) {
    drop(stream.set_nonblocking(false));
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// From a pod and from outside: one that opens connections, three that keep theirs, two that exchange datagrams.
fn clients(network: &Network, counts: &Arc<Counts>) -> Vec<JoinHandle<()>> {
    let to: SocketAddr = SERVICE.parse().expect("an address");
    let mut all = keepers(network, counts);
    for place in ["pod3", "outside"] {
        // Threads start in the place, and sockets made later are of the place.
        for client in [open, exchange_anew, exchange] {
            let counts = Arc::clone(counts);
            all.push(network.within(place, || std::thread::spawn(move || client(to, &counts))));
        }
    }
    all
}

/// From a pod and from outside: three that keep their connections.
fn keepers(network: &Network, counts: &Arc<Counts>) -> Vec<JoinHandle<()>> {
    let to: SocketAddr = SERVICE.parse().expect("an address");
    let keeper = |place| {
        let stream = network.within(place, || connect(to)).expect("the service answers");
        let counts = Arc::clone(counts);
        std::thread::spawn(move || keep(stream, &counts))
    };
    ["pod3", "pod3", "pod3", "outside", "outside", "outside"].into_iter().map(keeper).collect()
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)
}

fn open(to: SocketAddr, counts: &Counts) {
    while !counts.over.load(Relaxed) {
        counts.opened.fetch_add(1, Relaxed);
        if let Err(error) = connect(to).and_then(|mut stream| ask(&mut stream)) {
            eprintln!("lost a new connection: {error}");
            counts.open_lost.fetch_add(1, Relaxed);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn keep(mut stream: TcpStream, counts: &Counts) {
    counts.kept.fetch_add(1, Relaxed);
    while !counts.over.load(Relaxed) {
        if let Err(error) = ask(&mut stream) {
            eprintln!("lost a kept connection: {error}");
            counts.kept_lost.fetch_add(1, Relaxed);
            return;
        }
        counts.kept_exchanges.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One socket all the time: the kernel remembers where its first packet went.
fn exchange(to: SocketAddr, counts: &Counts) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    while !counts.over.load(Relaxed) {
        question(&socket, to, counts);
    }
}

/// A new socket for each question.
fn exchange_anew(to: SocketAddr, counts: &Counts) {
    while !counts.over.load(Relaxed) {
        question(&UdpSocket::bind("0.0.0.0:0").expect("a free port"), to, counts);
    }
}

fn question(socket: &UdpSocket, to: SocketAddr, counts: &Counts) {
    socket.set_read_timeout(Some(RETRY)).expect("a socket option");
    let number = counts.datagrams.fetch_add(1, Relaxed).to_ne_bytes();
    let mut answer = [0; 64];
    let mut once = || {
        drop(socket.send_to(&number, to));
        // An answer to an earlier question is passed over.
        while let Ok((length, _)) = socket.recv_from(&mut answer) {
            if answer[..length] == number {
                return true;
            }
        }
        false
    };
    if !once() {
        counts.datagrams_retried.fetch_add(1, Relaxed);
        if !once() {
            eprintln!("lost a UDP exchange");
            counts.datagrams_lost.fetch_add(1, Relaxed);
        }
    }
    std::thread::sleep(Duration::from_millis(5));
}

/// The proxy's process: programs each wish as it comes, until it is killed.
fn proxy(path: &Path) -> ! {
    let mut plane = DataPlane::new(settings());
    let mut changes = Changes::everything();
    let first = std::fs::read_to_string(path).expect("the wish");
    let mode = if first.starts_with("ipvs") { Mode::Ipvs } else { Mode::Nftables };
    let options = Options { grace: Duration::from_secs(600), ..Options::default() };
    let mut backend = Switching::open(mode, &options, &Clock::start()).expect("the back end works here");
    assert!(first.starts_with(backend.name()), "the back end is {}", backend.name());
    let mut conntrack = Socket::open(Protocol::Netfilter).expect("a socket");
    let (mut last, mut again_at) = (String::new(), None);
    loop {
        let wish = std::fs::read_to_string(path).expect("the wish");
        let is_due = again_at.is_some_and(|at| at <= Instant::now());
        if wish == last && !is_due {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let pods: Vec<&str> = wish.split(' ').skip(1).collect();
        plane.set(&Key::new("default", "s"), plan(&pods), &mut changes);
        let report = backend.sync(&plane, &changes).expect("the kernel takes it");
        changes = Changes::default();
        delete_stale(&mut conntrack, &report);
        again_at = report.again_in.map(|after| Instant::now() + after);
        std::fs::write(path.with_extension("done"), &wish).expect("say that it is done");
        last = wish;
    }
}

fn delete_stale(socket: &mut Socket, report: &Report) {
    if report.stale.is_empty() {
        return;
    }
    let is_stale = |flow: &conntrack::Flow| {
        report.stale.iter().any(|stale| {
            let to = (flow.original.destination, flow.original.destination_port);
            let answers = (flow.reply.source, flow.reply.source_port);
            to == (stale.frontend.address, stale.frontend.port) && stale.endpoint.unwrap_or(to) == answers
        })
    };
    let mut flows = conntrack::flows(socket, false, 17).expect("read flows");
    flows.retain(is_stale);
    conntrack::delete(socket, &flows).expect("delete flows");
}

fn plan(pods: &[&str]) -> node_agent::proxy::model::ServicePlan {
    let address = SERVICE.split(':').next().expect("an address");
    let ports = json!([{"name": "t", "port": 7000, "protocol": "TCP"}, {"name": "u", "port": 7000, "protocol": "UDP"}]);
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports},
    }))
    .expect("a service");
    let endpoints: Vec<_> = PODS
        .iter()
        .filter(|(pod, _)| pods.contains(pod))
        .map(|(pod, address)| {
            let node = if *pod == "far" { "other" } else { "node" };
            json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}})
        })
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    }))
    .expect("a slice");
    plan_service(&service, &[Arc::new(slice)], &node(), &settings())
}
