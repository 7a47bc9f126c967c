//! What a proxy is told at its start.
//!
//! Promise: plain data with upstream's defaults; together with what the Node says it gives the settings of the model.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;

use super::ipvs;
use super::model::{Cidr, Family, NodeFacts, PodDetection, Settings};

/// Everything a proxy needs besides a client, a clock and a task set.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub mode: Mode,
    /// Addresses of pods (`--cluster-cidr`).
    pub cluster_cidrs: Vec<Cidr>,
    pub detect_local: DetectLocal,
    pub masquerade_all: bool,
    /// Which bit of the packet mark asks for masquerading.
    pub masquerade_bit: u8,
    pub node_ports: NodePorts,
    /// Shortest time between syncs; when `None` the proxy rests ten times as long as the last one took.
    pub min_sync_period: Option<Duration>,
    /// How often the kernel is asked whether others changed something.
    pub sync_period: Duration,
    /// `/healthz` and `/livez`; `None` for no server.
    pub healthz: Option<SocketAddr>,
    /// `/metrics` and `/proxyMode`; `None` for no server.
    pub metrics: Option<SocketAddr>,
    pub ipvs: ipvs::Options,
    /// Told once Services work, after the first sync.
    pub programmed: Option<watch::Sender<bool>>,
    /// Take everything away when told to stop. A proxy of its own leaves all in force, so that its successor finds it.
    pub cleanup_at_end: bool,
}

/// Which back end programs the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The first of `nftables` and `ipvs` that the kernel can do.
    #[default]
    Auto,
    Nftables,
    /// `nftables` takes its place where the kernel has no IPVS, as upstream falls back to iptables.
    Ipvs,
}

impl Mode {
    /// As flags and files name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }
}

/// How connections of pods are told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DetectLocal {
    #[default]
    ClusterCidr,
    NodeCidr,
    Bridge(String),
    InterfacePrefix(String),
}

/// Addresses of the node on which node ports answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePorts {
    /// Upstream's default in mode ipvs: all of them.
    #[default]
    All,
    /// The node's primary addresses; upstream's default in mode nftables.
    Primary,
    Within(Vec<Cidr>),
}

/// Upstream's ports.
pub const HEALTHZ_PORT: u16 = 10256;
pub const METRICS_PORT: u16 = 10249;

/// Upstream's default of `syncPeriod`.
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// Upstream's default of `masqueradeBit`.
const MASQUERADE_BIT: u8 = 14;

impl Config {
    /// Upstream's defaults.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            mode: Mode::default(),
            cluster_cidrs: Vec::new(),
            detect_local: DetectLocal::default(),
            masquerade_all: false,
            masquerade_bit: MASQUERADE_BIT,
            node_ports: NodePorts::default(),
            min_sync_period: None,
            sync_period: SYNC_PERIOD,
            healthz: Some(SocketAddr::from(([0, 0, 0, 0], HEALTHZ_PORT))),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], METRICS_PORT))),
            ipvs: ipvs::Options::default(),
            programmed: None,
            cleanup_at_end: false,
        }
    }

    /// The model's settings on a node.
    #[must_use]
    pub fn settings(&self, node: &NodeFacts) -> Settings {
        let known = |ranges: &[Cidr]| match ranges {
            [] => PodDetection::Unknown,
            ranges => PodDetection::Cidrs(ranges.to_vec()),
        };
        Settings {
            pods: match &self.detect_local {
                DetectLocal::NodeCidr if !node.pod_cidrs.is_empty() => known(&node.pod_cidrs),
                DetectLocal::NodeCidr | DetectLocal::ClusterCidr => known(&self.cluster_cidrs),
                DetectLocal::Bridge(name) => PodDetection::Interface(name.clone()),
                DetectLocal::InterfacePrefix(prefix) => PodDetection::InterfacePrefix(prefix.clone()),
            },
            masquerade_all: self.masquerade_all,
            masquerade_mark: 1 << self.masquerade_bit.min(31),
            node_port_addresses: match &self.node_ports {
                NodePorts::All => Family::BOTH.map(Cidr::all).to_vec(),
                NodePorts::Primary => {
                    Family::BOTH.iter().filter_map(|family| node.primary(*family)).map(Cidr::single).collect()
                }
                NodePorts::Within(ranges) => ranges.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_node() {
        let mut config = Config::new("n1");
        let mut node = NodeFacts::named("n1");
        node.addresses = ["10.0.0.5", "10.0.0.6", "fd00::5"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(config.settings(&node), Settings::default());

        config.node_ports = NodePorts::Primary;
        config.detect_local = DetectLocal::NodeCidr;
        config.cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        config.masquerade_bit = 0;
        let settings = config.settings(&node);
        assert_eq!(format!("{:?}", settings.node_port_addresses), "[10.0.0.5/32, fd00::5/128]");
        assert_eq!(format!("{:?}", settings.pods), "Cidrs([10.244.0.0/16])");
        assert_eq!(settings.masquerade_mark, 1);

        node.pod_cidrs = vec!["10.244.7.0/24".parse().unwrap()];
        assert_eq!(format!("{:?}", config.settings(&node).pods), "Cidrs([10.244.7.0/24])");
    }
}
