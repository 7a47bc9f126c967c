//! A small network to test a proxy in: a node with pods behind a bridge, a pod on another node, a client outside.
//!
//! Promise: everything is in network namespaces of one test and goes with it. All have IPv4 and IPv6:
//!
//! ```text
//!   pod1 .. pod3  10.244.0.11..13  fd00:244::11..13      behind the node's bridge (10.244.0.1, hairpin on)
//!   far           10.244.1.11      fd00:245::11          a pod of another node
//!   outside       192.168.50.2, .3  fd00:50::2           its gateway is the node (192.168.50.1, fd00:50::1)
//! ```

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sctp;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

/// The TCP and UDP port that every pod answers on, and another.
pub(crate) const PORTS: [u16; 2] = [8080, 9090];

/// The places of the network, but the node.
pub(crate) const PODS: [&str; 4] = ["pod1", "pod2", "pod3", "far"];

/// How long servers look away from the stop sign.
const PATIENCE: Duration = Duration::from_millis(100);

static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// The network; dropping it takes it down.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
}

impl Network {
    /// Builds it and starts the servers.
    pub(crate) fn start() -> Self {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("sp{}-{number}", std::process::id() % 100_000);
        let mut network = Self { prefix, stop: Arc::default(), servers: Vec::new() };
        network.build();
        for pod in PODS {
            network.serve(pod);
        }
        network
    }

    fn build(&self) {
        let node = self.namespace("node");
        for place in PODS.into_iter().chain(["node", "outside"]) {
            ip(&format!("netns add {}", self.namespace(place)));
            ip(&format!("-n {} link set lo up", self.namespace(place)));
        }
        self.within("node", || {
            for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{path}"), "1").expect("packets can be forwarded");
            }
        });
        let mut script = String::from("link add cni0 type bridge\naddr add 10.244.0.1/24 dev cni0\n");
        script += "addr add fd00:244::1/64 dev cni0 nodad\nlink set cni0 up\n";
        for number in 1..=3 {
            let pod = self.namespace(&format!("pod{number}"));
            script += &format!("link add v{number} type veth peer name eth0 netns {pod}\n");
            script += &format!("link set v{number} master cni0 up\n");
        }
        for (name, place, v4, v6) in
            [("vout", "outside", "192.168.50", "fd00:50:"), ("vfar", "far", "192.168.60", "fd00:60:")]
        {
            script += &format!("link add {name} type veth peer name eth0 netns {}\n", self.namespace(place));
            script += &format!("addr add {v4}.1/24 dev {name}\naddr add {v6}:1/64 dev {name} nodad\n");
            script += &format!("link set {name} up\n");
        }
        script += "route add default via 192.168.50.2\nroute add default via fd00:50::2\n";
        script += "route add 10.244.1.0/24 via 192.168.60.2\nroute add fd00:245::/64 via fd00:60::2\n";
        batch(&node, &script);
        for number in 1..=3 {
            run("bridge", &format!("-n {node} link set dev v{number} hairpin on"));
            let place = self.namespace(&format!("pod{number}"));
            batch(
                &place,
                &leaf(
                    &[&format!("10.244.0.1{number}/24"), &format!("fd00:244::1{number}/64")],
                    "10.244.0.1",
                    "fd00:244::1",
                ),
            );
        }
        let far = leaf(
            &["192.168.60.2/24", "fd00:60::2/64", "10.244.1.11/32", "fd00:245::11/128"],
            "192.168.60.1",
            "fd00:60::1",
        );
        batch(&self.namespace("far"), &far);
        let outside =
            leaf(&["192.168.50.2/24", "192.168.50.3/24", "fd00:50::2/64"], "192.168.50.1", "fd00:50::1");
        batch(&self.namespace("outside"), &outside);
    }

    /// Runs `work` in a place (a pod, `far`, `outside` or `node`), on a thread of its own.
    pub(crate) fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.open(place);
        std::thread::scope(|scope| {
            let inside = || {
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a network namespace");
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The name of the namespace of a place, for `ip netns exec`.
    pub(crate) fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    fn open(&self, place: &str) -> File {
        File::open(format!("/run/netns/{}", self.namespace(place))).expect("the namespace is there")
    }

    /// Answers every connection (of SCTP too where the kernel has it) and every UDP packet with the pod's name and the
    /// address it sees.
    pub(crate) fn serve(&mut self, pod: &'static str) {
        for port in PORTS {
            let any = SocketAddr::new(IpAddr::from([0_u16; 8]), port);
            let (tcp, udp) = self.within(pod, move || {
                let tcp = TcpListener::bind(any).expect("the pod's port is free");
                (tcp, UdpSocket::bind(any).expect("the pod's port is free"))
            });
            for listener in [Some(tcp), self.within(pod, move || sctp::listener(port))].into_iter().flatten()
            {
                let stop = Arc::clone(&self.stop);
                self.servers.push(std::thread::spawn(move || answer_streams(pod, &listener, &stop)));
            }
            let stop = Arc::clone(&self.stop);
            self.servers.push(std::thread::spawn(move || answer_udp(pod, &udp, &stop)));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.servers.drain(..).for_each(|server| drop(server.join()));
        for place in PODS.into_iter().chain(["node", "outside"]) {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(place)]).status();
        }
    }
}

fn answer_streams(pod: &str, listener: &TcpListener, stop: &AtomicBool) {
    use std::io::Write as _;
    let patience = TimeVal::new(0, PATIENCE.as_micros() as i64);
    setsockopt(listener, sockopt::ReceiveTimeout, &patience).expect("a socket option");
    while !stop.load(Ordering::Relaxed) {
        if let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(seen(pod, peer).as_bytes());
        }
    }
}

fn answer_udp(pod: &str, socket: &UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(seen(pod, peer).as_bytes(), peer);
        }
    }
}

fn seen(pod: &str, peer: SocketAddr) -> String {
    format!("{pod} {}", peer.ip().to_canonical())
}

/// The addresses of a place with one link, and its gateways.
fn leaf(addresses: &[&str], v4: &str, v6: &str) -> String {
    let (mut script, mut sources) = (String::new(), [String::new(), String::new()]);
    for address in addresses {
        // What stands on the loopback is what the place is known by.
        if let Some(own) = address.strip_suffix("/32").or_else(|| address.strip_suffix("/128")) {
            sources[usize::from(own.contains(':'))] = format!(" src {own}");
        }
        let link = if address.ends_with("/32") || address.ends_with("/128") { "lo" } else { "eth0" };
        let nodad = if address.contains(':') { " nodad" } else { "" };
        script += &format!("addr add {address} dev {link}{nodad}\n");
    }
    let [source, source_v6] = sources;
    script += &format!("link set eth0 up\nroute add default via {v4}{source}\n");
    script + &format!("route add default via {v6}{source_v6}\n")
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn batch(namespace: &str, script: &str) {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(script.as_bytes()).expect("a temporary file");
    ip(&format!("-n {namespace} -batch {}", file.path().display()));
}
