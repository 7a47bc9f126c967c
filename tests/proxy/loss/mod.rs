//! Nothing is lost: clients that never pause, while backends roll, the proxy is killed and started, and started in the
//! other mode.
//!
//! Promise: the proxy is a process of its own (`process`), killed with SIGKILL; connections that are opened, connections
//! that stay open and UDP exchanges are counted (`clients`), and the counts are printed. A UDP exchange may be sent
//! twice; nothing else may fail. Nothing waits for a time to pass where there is something to be seen.

mod clients;
mod pods;
mod process;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use harness::{uml, vm};
use node_agent::proxy::Nftables;
use tokio::time::Instant;

use crate::network::Network;
use clients::Load;
use pods::{PODS, Pod};

/// Where the proxy's process finds what is wanted of it: the back end and the endpoints.
const WISH: &str = "STEERSMAN_TEST_PROXY_WISH";
/// The service and its port, the same for TCP and UDP.
const SERVICE: &str = "10.96.0.77:7000";
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(150);
/// For the proxy to program a wish, started anew: beside the clients, in a virtual machine on a busy machine, that has
/// taken over a minute.
const PROGRAMMED: Duration = Duration::from_secs(300);
const ROUNDS: usize = 12;
/// How many times modes are switched, both ways in turn; `STEERSMAN_TEST_SWITCHES` has another number.
const SWITCHES: usize = 4;
const SWITCHES_VARIABLE: &str = "STEERSMAN_TEST_SWITCHES";
/// What one switch may take, on a machine without hardware support for virtual machines and with other work.
const SWITCHED: Duration = Duration::from_secs(120);
/// For the back end that was to have forgotten all it wants to forget.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

#[test]
fn nftables_loses_nothing() {
    rolling("nftables");
}

#[test]
fn ipvs_loses_nothing() {
    uml::in_guest("loss::ipvs_loses_nothing", || rolling("ipvs"));
}

#[test]
fn switching_modes_loses_nothing() {
    let switches = std::env::var(SWITCHES_VARIABLE).ok();
    let switches = switches.map_or(SWITCHES, |text| text.parse().expect("a number of switches"));
    let limit = vm::LIMIT + SWITCHED * u32::try_from(switches).expect("not so many switches");
    let name = "loss::switching_modes_loses_nothing";
    vm::in_guest_with(name, limit, &[(SWITCHES_VARIABLE, &switches.to_string())], || switching(switches));
}

/// Rolls the backends, then kills the proxy again and again.
fn rolling(mode: &str) {
    process::begin();
    let network = Network::start();
    let mut driver = Driver::start(&network, mode);
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
        driver.spawn();
        driver.wait();
        std::thread::sleep(PAUSE);
    }
    driver.finish(&format!("{mode}: {ROUNDS} changes of backends, {kills} kills of the proxy"));
}

/// Starts the proxy in the other mode again and again, while the backends roll.
fn switching(switches: usize) {
    process::begin();
    let network = Network::start();
    let mut driver = Driver::start(&network, "nftables");
    for round in 0..switches {
        let mode = ["ipvs", "nftables"][round % 2];
        driver.kill();
        // Every other time endpoints change too while no proxy is there, else with the new one at work.
        let changed = [(round + 1) % 3, (round + 2) % 3];
        if round % 4 < 2 {
            driver.wish(mode, &changed);
        } else {
            driver.wish(mode, &[round % 3, (round + 1) % 3]);
        }
        driver.spawn();
        driver.wait();
        driver.wish(mode, &changed);
        driver.wait();
        // Some of each mode that live on under the other.
        driver.load.keepers(service());
        handed_over(&network, mode);
        driver.load.tell("the other back end has let go");
        if round % 4 < 2 {
            std::thread::sleep(LONG_ENOUGH);
        }
    }
    driver.finish(&format!("nftables and ipvs in turn: {switches} switches, as many changes of backends"));
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

fn service() -> SocketAddr {
    SERVICE.parse().expect("an address")
}

/// What stands between the test and the proxy's process, the backends and the clients.
struct Driver<'a> {
    network: &'a Network,
    pods: [Pod; 3],
    directory: tempfile::TempDir,
    child: Option<Child>,
    load: Load<'a>,
}

impl<'a> Driver<'a> {
    /// The backends, the proxy in a mode with two of them, then the clients.
    fn start(network: &'a Network, mode: &str) -> Self {
        let mut driver = Self {
            network,
            pods: PODS.map(|(pod, address)| Pod::start(network, pod, address)),
            directory: tempfile::tempdir().expect("a temporary directory"),
            child: None,
            load: Load::new(network),
        };
        driver.wish(mode, &[0, 1]);
        driver.spawn();
        driver.wait();
        driver.load.start(service());
        driver
    }

    fn finish(mut self, what: &str) {
        std::mem::replace(&mut self.load, Load::new(self.network)).finish(what);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes what is wanted: a back end and endpoints.
    fn wish(&self, mode: &str, pods: &[usize]) {
        for pod in pods {
            self.pods[*pod].live.store(true, Relaxed);
        }
        let names: Vec<&str> = pods.iter().map(|pod| PODS[*pod].0).collect();
        let (wish, next) = (format!("{mode} {}", names.join(" ")), self.path("next"));
        std::fs::write(&next, &wish).expect("write the wish");
        std::fs::rename(next, self.path("wish")).expect("write the wish");
        self.load.tell(&format!("wanted: {wish}"));
    }

    /// This very test once more, in the node, as the proxy.
    fn spawn(&mut self) {
        let program = std::env::current_exe().expect("this binary");
        let test = std::thread::current().name().map(str::to_owned).expect("tests have names");
        let wish = self.path("wish");
        let child = self.network.within("node", move || {
            Command::new(program)
                .args([&test, "--exact", "--nocapture", "--test-threads=1"])
                .env(WISH, wish)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        });
        self.child = Some(child.expect("start the proxy"));
        self.load.tell("the proxy is started");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill the proxy");
            child.wait().expect("the proxy ends");
            // The next one says itself what it has done.
            drop(std::fs::remove_file(self.path("done")));
            self.load.tell("the proxy is killed");
        }
    }

    /// Waits until the wish is programmed; then the pods that are not in it serve nobody who comes from now on.
    fn wait(&mut self) {
        let wish = std::fs::read_to_string(self.path("wish")).expect("the wish");
        let since = Instant::now();
        while std::fs::read_to_string(self.path("done")).unwrap_or_default() != wish {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("the proxy's state"));
            assert!(ended.is_none(), "the proxy ended: {ended:?}");
            assert!(since.elapsed() < PROGRAMMED, "the proxy did not program {wish:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.load.tell("that is programmed");
        // Who came before was sent to a pod that served then, and is answered.
        self.load.settle();
        let names: BTreeSet<&str> = wish.split(' ').skip(1).collect();
        for (pod, (name, _)) in self.pods.iter().zip(PODS) {
            pod.live.store(names.contains(name), Relaxed);
        }
        self.load.tell("pods that are not in it serve nobody new");
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.load.stop();
        self.kill();
    }
}
