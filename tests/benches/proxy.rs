//! What the service proxy costs: full syncs and single changes at 1,000 to 30,000 services of two endpoints, memory,
//! and connections through a virtual address; beside the layouts of kube-proxy, made on the same machine.
//!
//! nf_tables is measured in a network namespace of this kernel, IPVS inside user-mode-linux (this kernel may have no
//! ip_vs), which is slower: a system call costs several times as much there, a fresh page of memory some hundred times,
//! and it has one processor. The notes of full syncs say how many pages were fresh and what one costs. Needs root.
//!
//! `--only TEXT` (`make bench-proxy ONLY=ipvs`) measures one of `nftables`, `kube-proxy` and `ipvs`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Key;
use harness::bench::{Latencies, Report, say, usage};
use harness::uml;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{UsageWho, getrusage};
use node_agent::proxy::ipvs::{Ipvs, Options};
use node_agent::proxy::model::{
    Changes, DataPlane, EndpointSlice, NodeFacts, PodDetection, Service, Settings, plan_service,
};
use node_agent::proxy::{Backend, Nftables};
use serde_json::json;
use tokio::time::Instant;

const SIZES: [usize; 3] = [1_000, 10_000, 30_000];
/// The aims for the largest size: full sync, one change, memory.
const AIMS: [&str; 3] = ["aim: under 1 s at 30k", "aim: under 10 ms", "aim: under 100 MB"];
/// How often a single change is measured; the median counts.
const CHANGES: usize = 9;
/// kube-proxy's chains are loaded up to this size; at 30,000 services they took over seven minutes.
const MOST_CHAINS: usize = 10_000;
/// `ipvsadm` is run up to this size.
const MOST_IPVSADM: usize = 1_000;
/// How long connections are opened.
const STORM: Duration = Duration::from_secs(2);
/// The service that has a real pod.
const REAL: &str = "10.111.0.1:80";
const POD: &str = "10.244.255.2:8080";
/// So many pages are touched to learn what a fresh one costs.
const PAGES: usize = 4_096;
/// Memory of the guest: the kernel's tables at 30,000 services take most of it.
const GUEST_MEMORY: &str = "1500M";

const HERE: &str = "nf_tables in a network namespace of this kernel";
const GUEST: &str = "inside user-mode-linux, which is slower than a machine";

fn main() {
    if uml::is_inside() {
        guest();
        return;
    }
    let mut report = Report::new("proxy");
    let arguments: Vec<String> = std::env::args().collect();
    let only = arguments.iter().position(|it| it == "--only").and_then(|at| arguments.get(at + 1));
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    let mut rows = Vec::new();
    if wanted("nftables") {
        rows = measure("nftables", HERE, || Box::new(Nftables::open().expect("nf_tables works here")));
    }
    for size in SIZES.into_iter().filter(|size| *size <= MOST_CHAINS && wanted("kube-proxy")) {
        rows.extend(chains(size));
    }
    if wanted("ipvs") {
        let (code, printed) = uml::run(&[], GUEST_MEMORY);
        assert_eq!(code, 0, "inside the user-mode kernel:\n{printed}");
        let figures = printed.lines().filter_map(|line| line.strip_prefix(uml::FIGURE));
        rows.extend(figures.map(|line| serde_json::from_str::<Row>(line).expect("a figure")));
    }
    for (name, value, unit, reference, note) in rows {
        report.add(&name, value, &unit, &reference, &note);
    }
    report.finish();
}

/// Name, value, unit, reference, note.
type Row = (String, f64, String, String, String);

fn row(name: String, value: f64, unit: &str, reference: &str, note: &str) -> Row {
    (name, value, unit.to_owned(), reference.to_owned(), note.to_owned())
}

/// In the guest: measures IPVS and hands the figures out, a line each.
fn guest() {
    let backend = || -> Box<dyn Backend> {
        Box::new(Ipvs::new(Options::default(), Clock::start()).expect("IPVS works in the guest"))
    };
    let mut rows = measure("ipvs", GUEST, backend);
    rows.extend(ipvsadm());
    for row in rows {
        say(&format!("\n{}{}", uml::FIGURE, serde_json::to_string(&row).expect("a figure")));
    }
}

/// All figures of one back end.
fn measure(name: &str, note: &str, make: impl Fn() -> Box<dyn Backend> + Sync) -> Vec<Row> {
    let mut rows = Vec::new();
    for size in SIZES {
        let network = Network::start();
        rows.extend(network.inside("node", || one_size(name, size, note, &make, &network)));
    }
    rows
}

fn one_size(
    name: &str,
    size: usize,
    note: &str,
    make: &impl Fn() -> Box<dyn Backend>,
    network: &Network,
) -> Vec<Row> {
    let thousands = format!("{name} {}k", size / 1000);
    let before = usage(std::process::id()).memory;
    let mut backend = make();
    let settings = Settings {
        pods: PodDetection::Cidrs(vec!["10.244.0.0/16".parse().expect("a range")]),
        ..Settings::default()
    };
    let mut plane = DataPlane::new(settings);
    let mut changes = Changes::everything();
    let started = Instant::now();
    for number in 0..size {
        put(&mut plane, number, 2, &mut changes);
    }
    let planned = started.elapsed();
    put_real(&mut plane, &mut changes);
    let faults = page_faults();
    let started = Instant::now();
    backend.sync(&plane, &changes).expect("the kernel takes everything");
    let full = started.elapsed();
    let faults = page_faults() - faults;
    let memory = (usage(std::process::id()).memory - before).max(0.0);
    let planned = format!(
        "{note}; {faults} fresh pages, {:.2} µs each; the plan took {} ms before",
        fresh_page().as_secs_f64() * 1e6,
        planned.as_millis()
    );
    let mut rows = vec![
        row(format!("{thousands} full"), millis(full), "ms", AIMS[0], &planned),
        row(
            format!("{thousands} memory"),
            memory,
            "MB",
            AIMS[2],
            "plan and back end, with the allocator's reserves",
        ),
    ];
    let mut change = |what: &str, act: &mut dyn FnMut(&mut DataPlane, usize, &mut Changes)| {
        let mut times: Vec<f64> = (0..CHANGES)
            .map(|turn| {
                let mut changes = Changes::default();
                let started = Instant::now();
                act(&mut plane, turn, &mut changes);
                backend.sync(&plane, &changes).expect("the kernel takes a change");
                millis(started.elapsed())
            })
            .collect();
        times.sort_by(f64::total_cmp);
        rows.push(row(format!("{thousands} +1 {what}"), times[CHANGES / 2], "ms", AIMS[1], note));
    };
    change("service", &mut |plane, turn, changes| put(plane, size + turn, 2, changes));
    change("endpoint", &mut |plane, turn, changes| put(plane, turn, 3, changes));
    let started = Instant::now();
    make().sync(&plane, &Changes::everything()).expect("a successor adopts");
    rows.push(row(
        format!("{thousands} restart"),
        millis(started.elapsed()),
        "ms",
        "",
        "a new proxy adopts all of it",
    ));
    rows.extend(storm(&thousands, network, note));
    backend.cleanup().expect("the kernel forgets");
    rows
}

/// Pages of memory that this process touched for the first time.
fn page_faults() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).expect("the kernel counts").minor_page_faults()
}

/// What such a page costs here.
fn fresh_page() -> Duration {
    let before = page_faults();
    let mut memory: Vec<u8> = Vec::with_capacity(PAGES * 4096);
    let started = Instant::now();
    memory.resize(PAGES * 4096, 1);
    let took = started.elapsed();
    std::hint::black_box(&memory);
    took / u32::try_from(page_faults() - before).unwrap_or(0).max(1)
}

/// Opens connections through the virtual address, one after the other, and directly for comparison.
fn storm(name: &str, network: &Network, note: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let direct = network.inside("client", || connections(POD));
    let through = network.inside("client", || connections(REAL));
    let reference = format!("{:.0}/s without a proxy", direct.0);
    rows.push(row(format!("{name} connections"), through.0, "/s", &reference, note));
    for (quantile, label) in [(0.5, "p50"), (0.99, "p99")] {
        let reference = format!("{:.3} ms without a proxy", direct.1.quantile(quantile));
        let value = through.1.quantile(quantile);
        rows.push(row(
            format!("{name} connection, {label}"),
            value,
            "ms",
            &reference,
            "connect, ask, answer",
        ));
    }
    rows
}

fn connections(to: &str) -> (f64, Latencies) {
    let to: SocketAddr = to.parse().expect("an address");
    let (mut latencies, started) = (Latencies::default(), Instant::now());
    while started.elapsed() < STORM {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(to).expect("the service answers");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        latencies.record(begun.elapsed());
    }
    (latencies.count() as f64 / started.elapsed().as_secs_f64(), latencies)
}

/// Gives service `number` so many endpoints.
fn put(plane: &mut DataPlane, number: usize, endpoints: u8, changes: &mut Changes) {
    let address = |base: u8| {
        format!("10.{}.{}.{}", usize::from(base) + (number >> 16), (number >> 8) & 255, number & 255)
    };
    let pods: Vec<String> = (0..endpoints)
        .map(|pod| format!("10.244.{}.{}", (number >> 7) & 127, ((number & 63) << 2) + 1 + usize::from(pod)))
        .collect();
    set(plane, &format!("s{number}"), &address(100), 80, &pods, 8080, changes);
}

fn put_real(plane: &mut DataPlane, changes: &mut Changes) {
    let (pod, port) = POD.split_once(':').expect("address and port");
    let (address, _) = REAL.split_once(':').expect("address and port");
    set(plane, "real", address, 80, &[pod.to_owned()], port.parse().expect("a port"), changes);
}

fn set(
    plane: &mut DataPlane,
    name: &str,
    address: &str,
    port: u16,
    pods: &[String],
    target: u16,
    changes: &mut Changes,
) {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [{"port": port}]},
    }))
    .expect("a service");
    let endpoints: Vec<_> = pods
        .iter()
        .map(|pod| json!({"addresses": [pod], "nodeName": "other", "conditions": {"ready": true}}))
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "", "port": target, "protocol": "TCP"}],
    }))
    .expect("a slice");
    let plan = plan_service(&service, &[Arc::new(slice)], &NodeFacts::named("node"), &plane.settings.clone());
    assert!(plan.problems.is_empty(), "{:?}", plan.problems);
    plane.set(&Key::new("default", name), plan, changes);
}

/// kube-proxy's layout for nf_tables: a chain a service and a chain an endpoint, loaded by `nft`.
fn chains(size: usize) -> Vec<Row> {
    let mut text = String::from(
        "add table ip kp\nadd map ip kp services { type ipv4_addr . inet_proto . inet_service : verdict; }\n",
    );
    let mut elements = Vec::new();
    for number in 0..size {
        service_chains(&mut text, number, &mut elements);
    }
    let _ = writeln!(text, "add element ip kp services {{ {} }}", elements.join(","));
    let network = Network::start();
    let full = network.inside("node", || nft(&text));
    let (mut one, mut element) = (String::new(), Vec::new());
    service_chains(&mut one, size, &mut element);
    let _ = writeln!(one, "add element ip kp services {{ {} }}", element.join(","));
    let more = network.inside("node", || nft(&one));
    let note = "generated, loaded by nft in a network namespace of this kernel";
    let name = format!("kube-proxy's nftables layout {}k", size / 1000);
    vec![
        row(format!("{name} full"), millis(full), "ms", "30k: 7 min 37 s, measured once", note),
        row(format!("{name} +1 service"), millis(more), "ms", "", note),
    ]
}

fn service_chains(text: &mut String, number: usize, elements: &mut Vec<String>) {
    for endpoint in 1..=2 {
        let _ = writeln!(text, "add chain ip kp e{number}-{endpoint}");
        let _ = writeln!(
            text,
            "add rule ip kp e{number}-{endpoint} meta l4proto tcp dnat to 10.244.0.{endpoint}:8080"
        );
    }
    let _ = writeln!(text, "add chain ip kp s{number}");
    let _ = writeln!(
        text,
        "add rule ip kp s{number} numgen random mod 2 vmap {{ 0 : goto e{number}-1, 1 : goto e{number}-2 }}"
    );
    let address = format!("10.{}.{}.{}", 100 + (number >> 16), (number >> 8) & 255, number & 255);
    elements.push(format!("{address} . tcp . 80 : goto s{number}"));
}

fn nft(text: &str) -> Duration {
    feed("nft", &["-f", "-"], text)
}

/// kube-proxy's layout for IPVS: an address a service on a dummy device, virtual servers by `ipvsadm`.
fn ipvsadm() -> Vec<Row> {
    let (size, mut addresses, mut servers) = (MOST_IPVSADM, String::new(), String::new());
    for number in 0..size {
        let address = format!("10.{}.{}.{}", 100 + (number >> 16), (number >> 8) & 255, number & 255);
        let _ = writeln!(addresses, "addr add {address}/32 dev kube-ipvs0");
        let _ = writeln!(servers, "-A -t {address}:80 -s rr");
        for endpoint in 1..=2 {
            let _ = writeln!(servers, "-a -t {address}:80 -r 10.244.0.{endpoint}:8080 -m -w 1");
        }
    }
    let network = Network::start();
    let took = network.inside("node", || {
        run("ip", "link add kube-ipvs0 type dummy");
        feed("ip", &["-b", "-"], &addresses) + feed("ipvsadm", &["-R"], &servers)
    });
    let note = "generated, ip -b and ipvsadm -R, inside user-mode-linux";
    vec![row(format!("kube-proxy's ipvs layout {}k full", size / 1000), millis(took), "ms", "", note)]
}

/// Runs a program with `text` on its input.
fn feed(program: &str, arguments: &[&str], text: &str) -> Duration {
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: make bench-proxy installs it"));
    child.stdin.take().expect("an input").write_all(text.as_bytes()).expect("it reads");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{program} {arguments:?}: {status}");
    started.elapsed()
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// A node with one pod and one client, in network namespaces that go with it.
struct Network {
    prefix: String,
}

impl Network {
    fn start() -> Network {
        let network = Network { prefix: format!("bp{}", std::process::id()) };
        let [node, pod, client] = ["node", "pod", "client"].map(|place| network.namespace(place));
        for place in [&node, &pod, &client] {
            run("ip", &format!("netns add {place}"));
            run("ip", &format!("-n {place} link set lo up"));
        }
        // The pods that are only addresses lie behind the pod's link too: IPVS takes only what has a route.
        for (link, place, own, peer, bits) in
            [("p", &pod, "10.244.255.1", "10.244.255.2", 16), ("c", &client, "10.245.0.1", "10.245.0.2", 24)]
        {
            run("ip", &format!("-n {node} link add {link} type veth peer name eth0 netns {place}"));
            run("ip", &format!("-n {node} addr add {own}/{bits} dev {link}"));
            run("ip", &format!("-n {node} link set {link} up"));
            run("ip", &format!("-n {place} addr add {peer}/{bits} dev eth0"));
            run("ip", &format!("-n {place} link set eth0 up"));
            run("ip", &format!("-n {place} route add default via {own}"));
        }
        network.inside("node", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a setting"));
        let listener = network.inside("pod", || TcpListener::bind(POD).expect("a free port"));
        // It ends with the process: nobody connects any more once its namespace is gone.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream.and_then(|mut stream| stream.write_all(b"pong")));
            }
        });
        network
    }

    fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    fn inside<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace(place));
        let namespace = std::fs::File::open(path).expect("the namespace is there: run as root");
        std::thread::scope(|scope| {
            let inside = || {
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a network namespace");
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in ["node", "pod", "client"] {
            drop(Command::new("ip").args(["netns", "del", &self.namespace(place)]).status());
        }
    }
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
