//! What the machine is and has.
//!
//! Promise: read from /proc, /etc and the file system; a fact that cannot be read is empty or zero, never an error.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use crate::config::{Config, ResolvConf, RuntimeChoice};
use crate::containers::resolv_conf::parse;
use crate::runtime::config::Dns;

/// Memory kept back from pods: upstream's hard eviction threshold `memory.available<100Mi`.
const RESERVED_MEMORY: i64 = 100 << 20;

/// A simulated node's machine: 32 CPUs and 256 GiB, like kwok's.
const SIMULATED: Capacity = Capacity { milli_cpu: 32_000, memory: 256 << 30, ephemeral: 1 << 40, pods: 110 };

/// systemd's stub resolver is of no use inside a pod; this is the file behind it.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// What pods may use (allocatable).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of ephemeral storage.
    pub ephemeral: i64,
    pub pods: u32,
}

/// Facts that do not change while the agent runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub capacity: Capacity,
    pub allocatable: Capacity,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os: String,
}

/// What is short right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pid: bool,
}

impl Machine {
    pub(crate) fn read(config: &Config) -> Self {
        let capacity = match config.runtime {
            RuntimeChoice::Simulated { .. } => Capacity { pods: config.max_pods, ..SIMULATED },
            RuntimeChoice::Cri { .. } => Capacity {
                milli_cpu: cpus() * 1000,
                memory: memory("MemTotal:"),
                ephemeral: disk(&config.root_dir).0,
                pods: config.max_pods,
            },
        };
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let os = text("/etc/os-release");
        let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            allocatable: Capacity {
                memory: (capacity.memory - RESERVED_MEMORY).max(0),
                // Upstream: nodefs.available<10%.
                ephemeral: capacity.ephemeral / 10 * 9,
                ..capacity
            },
            capacity,
            machine_id: text("/etc/machine-id"),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel: text("/proc/sys/kernel/osrelease"),
            os: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        }
    }
}

impl Pressure {
    /// Upstream's hard eviction thresholds.
    pub(super) fn read(root_dir: &Path) -> Self {
        let (size, free) = disk(root_dir);
        let number =
            |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i64>().ok());
        let processes = std::fs::read_to_string("/proc/loadavg").ok();
        let processes =
            processes.as_deref().and_then(|text| text.split(['/', ' ']).nth(4)?.parse::<i64>().ok());
        let limit = number("/proc/sys/kernel/pid_max").unwrap_or(i64::MAX);
        Self {
            memory: memory("MemAvailable:") < RESERVED_MEMORY,
            disk: size > 0 && free < size / 10,
            pid: processes.is_some_and(|processes| processes > limit / 10 * 9),
        }
    }
}

/// The address that other machines would reach this one by: that of the default route.
pub(crate) fn node_address(config: &Config) -> IpAddr {
    let local = IpAddr::from([127, 0, 0, 1]);
    if let Some(address) = config.node_ip {
        return address;
    }
    if matches!(config.runtime, RuntimeChoice::Simulated { .. }) {
        return local;
    }
    // Connecting a datagram socket sends nothing, it only asks the routing table.
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    route.map_or(local, |address| address.ip())
}

/// The node's own resolver, as pods may use it.
pub(crate) fn resolver(choice: &ResolvConf) -> Dns {
    let read = |path: &Path| parse(&std::fs::read_to_string(path).unwrap_or_default());
    match choice {
        ResolvConf::Found => {
            let usable = |dns: &Dns| dns.servers.iter().any(|server| !server.starts_with("127."));
            let mut all = RESOLVERS.map(|path| read(Path::new(path))).into_iter();
            all.clone().find(usable).or_else(|| all.next()).unwrap_or_default()
        }
        ResolvConf::File(path) => read(path),
        // Upstream's meaning of an empty `--resolv-conf`: a resolver in the pod itself.
        ResolvConf::Nothing => {
            Dns { servers: vec!["127.0.0.1".to_owned()], searches: vec![".".to_owned()], options: Vec::new() }
        }
    }
}

fn cpus() -> i64 {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    count.max(1) as i64
}

/// A line of /proc/meminfo in bytes.
fn memory(name: &str) -> i64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// (size, free) of the file system that holds a path, in bytes; of its nearest parent that exists.
pub(crate) fn disk(path: &Path) -> (i64, i64) {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    match nix::sys::statvfs::statvfs(existing) {
        Ok(stat) => {
            let block = stat.fragment_size() as i64;
            // Blocks that are kept for root or by a quota are nobody's: what counts is what `df` counts.
            let used = (stat.blocks() - stat.blocks_free()) as i64 * block;
            let available = stat.blocks_available() as i64 * block;
            (used + available, available)
        }
        Err(_) => (0, 0),
    }
}
