//! Flags of the proxy, under kube-proxy's names, and the file of `--config`.
//!
//! Promise: a flag that is given wins over the file; what neither says has upstream's default. Flags and fields that
//! have nothing to act on here are taken and told of in the log, so that manifests start unchanged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::args::duration;
use serde::Deserialize;

use super::config::{Config, DetectLocal, Mode, NodePorts};
use super::model::Cidr;

/// Flags of the proxy. All are optional, so that a file can say the same.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProxyArgs {
    /// What programs Services: nftables, ipvs, or auto for the first of them that the kernel can do
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub proxy_mode: Option<Mode>,

    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), with --only=proxy
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Take everything away that a proxy ever made on this machine, and exit
    #[arg(long)]
    pub cleanup: bool,

    /// Addresses of pods: RANGE,...
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub cluster_cidr: Vec<Cidr>,

    /// How connections of pods are known: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix
    #[arg(long, value_name = "MODE")]
    pub detect_local_mode: Option<String>,

    /// The bridge of pods, for BridgeInterface
    #[arg(long, value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,

    /// How the names of pods' interfaces begin, for InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,

    /// Ranges of this node's addresses on which node ports answer, or `primary`
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,

    /// Show endpoints the node's address as the source of every connection to a cluster IP
    #[arg(long)]
    pub masquerade_all: bool,

    /// The bit of packet marks that asks for masquerading
    #[arg(long, value_name = "BIT")]
    pub iptables_masquerade_bit: Option<u8>,

    /// Shortest time between changes of the kernel's state
    #[arg(long, visible_aliases = ["iptables-min-sync-period", "ipvs-min-sync-period"], value_name = "DURATION",
        value_parser = duration)]
    pub nftables_min_sync_period: Option<Duration>,

    /// How often to look whether others changed the kernel's state
    #[arg(long, visible_aliases = ["iptables-sync-period", "ipvs-sync-period"], value_name = "DURATION",
        value_parser = duration)]
    pub nftables_sync_period: Option<Duration>,

    /// Where /healthz and /livez are served; empty for nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub healthz_bind_address: Option<String>,

    /// Where /metrics and /proxyMode are served; empty for nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_bind_address: Option<String>,

    /// IPVS: how connections are spread
    #[arg(long, value_name = "SCHEDULER")]
    pub ipvs_scheduler: Option<String>,

    /// IPVS: answer ARP for an address only on the interface that has it
    #[arg(long)]
    pub ipvs_strict_arp: bool,

    /// IPVS: ranges in which virtual servers are somebody else's
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub ipvs_exclude_cidrs: Vec<Cidr>,

    /// IPVS: timeout of idle TCP connections
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ipvs_tcp_timeout: Option<Duration>,

    /// IPVS: timeout of TCP connections after a FIN
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ipvs_tcpfin_timeout: Option<Duration>,

    /// IPVS: timeout of UDP flows
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ipvs_udp_timeout: Option<Duration>,
}

/// What is wrong in flags or in the file.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no KubeProxyConfiguration", path.display())]
    Parse { path: PathBuf, source: serde_yaml_ng::Error },
    #[error("{} is {found}, not a kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration", path.display())]
    Kind { path: PathBuf, found: String },
    #[error("{field}: {value:?} cannot be used: {why}")]
    Value { field: &'static str, value: String, why: String },
}

/// The fields of a KubeProxyConfiguration that have an effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    api_version: String,
    kind: String,
    mode: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    hostname_override: String,
    client_connection: ClientConnection,
    healthz_bind_address: Option<String>,
    metrics_bind_address: Option<String>,
    node_port_addresses: Option<Vec<String>>,
    detect_local_mode: String,
    detect_local: DetectLocalFields,
    iptables: Masquerading,
    nftables: Masquerading,
    ipvs: IpvsFields,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DetectLocalFields {
    bridge_interface: String,
    interface_name_prefix: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Masquerading {
    masquerade_all: bool,
    masquerade_bit: Option<u8>,
    min_sync_period: Option<String>,
    sync_period: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IpvsFields {
    scheduler: String,
    #[serde(rename = "strictARP")]
    strict_arp: bool,
    #[serde(rename = "excludeCIDRs")]
    exclude_cidrs: Option<Vec<String>>,
    min_sync_period: Option<String>,
    sync_period: Option<String>,
    tcp_timeout: Option<String>,
    tcp_fin_timeout: Option<String>,
    udp_timeout: Option<String>,
}

/// What the flags and the file ask for together.
#[derive(Debug)]
pub struct Asked {
    pub config: Config,
    /// The file's kubeconfig, for the case that no flag names one.
    pub kubeconfig: Option<PathBuf>,
}

impl ProxyArgs {
    /// Reads the file and puts the flags over it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a value cannot be used; the field is named.
    pub fn read(&self, node_name: Option<&str>) -> Result<Asked, FlagError> {
        let file = self.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let own_name = || match file.hostname_override.as_str() {
            "" => crate::host_name(),
            name => name.to_owned(),
        };
        let mut config = Config::new(node_name.map_or_else(own_name, str::to_owned));
        file.apply(&mut config)?;
        self.apply(&mut config)?;
        let kubeconfig = Some(file.client_connection.kubeconfig).filter(|path| !path.is_empty());
        Ok(Asked { config, kubeconfig: kubeconfig.map(PathBuf::from) })
    }

    fn apply(&self, config: &mut Config) -> Result<(), FlagError> {
        set(&mut config.mode, self.proxy_mode);
        if !self.cluster_cidr.is_empty() {
            config.cluster_cidrs.clone_from(&self.cluster_cidr);
        }
        if let Some(mode) = &self.detect_local_mode {
            let name = |name: &Option<String>| name.clone().unwrap_or_default();
            let (bridge, prefix) = (name(&self.pod_bridge_interface), name(&self.pod_interface_name_prefix));
            config.detect_local = detect_local("--detect-local-mode", mode, bridge, prefix)?;
        }
        if !self.nodeport_addresses.is_empty() {
            config.node_ports = node_ports("--nodeport-addresses", &self.nodeport_addresses)?;
        }
        config.masquerade_all |= self.masquerade_all;
        set(&mut config.masquerade_bit, self.iptables_masquerade_bit);
        config.min_sync_period = self.nftables_min_sync_period.or(config.min_sync_period);
        set(&mut config.sync_period, self.nftables_sync_period);
        if let Some(address) = &self.healthz_bind_address {
            config.healthz = bind_address("--healthz-bind-address", address)?;
        }
        if let Some(address) = &self.metrics_bind_address {
            config.metrics = bind_address("--metrics-bind-address", address)?;
        }
        set(&mut config.ipvs.scheduler, self.ipvs_scheduler.clone());
        config.ipvs.strict_arp |= self.ipvs_strict_arp;
        if !self.ipvs_exclude_cidrs.is_empty() {
            config.ipvs.exclude.clone_from(&self.ipvs_exclude_cidrs);
        }
        let timeouts = &mut config.ipvs.timeouts;
        set(&mut timeouts.tcp, self.ipvs_tcp_timeout.map(seconds));
        set(&mut timeouts.tcp_fin, self.ipvs_tcpfin_timeout.map(seconds));
        set(&mut timeouts.udp, self.ipvs_udp_timeout.map(seconds));
        Ok(())
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, FlagError> {
        let read = |source| FlagError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let parse = |source| FlagError::Parse { path: path.to_owned(), source };
        let file: Self = serde_yaml_ng::from_str(&text).map_err(parse)?;
        if (file.api_version.as_str(), file.kind.as_str())
            != ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration")
        {
            let found = format!("{} {}", file.api_version, file.kind);
            return Err(FlagError::Kind { path: path.to_owned(), found });
        }
        Ok(file)
    }

    fn apply(&self, config: &mut Config) -> Result<(), FlagError> {
        if !self.mode.is_empty() {
            config.mode = mode(&self.mode).map_err(|why| wrong("mode", &self.mode, why))?;
        }
        config.cluster_cidrs =
            ranges("clusterCIDR", self.cluster_cidr.split(',').filter(|text| !text.is_empty()))?;
        if !self.detect_local_mode.is_empty() {
            let DetectLocalFields { bridge_interface, interface_name_prefix } = self.detect_local.clone();
            config.detect_local = detect_local(
                "detectLocalMode",
                &self.detect_local_mode,
                bridge_interface,
                interface_name_prefix,
            )?;
        }
        if let Some(addresses) = self.node_port_addresses.as_ref().filter(|list| !list.is_empty()) {
            config.node_ports = node_ports("nodePortAddresses", addresses)?;
        }
        if let Some(address) = &self.healthz_bind_address {
            config.healthz = bind_address("healthzBindAddress", address)?;
        }
        if let Some(address) = &self.metrics_bind_address {
            config.metrics = bind_address("metricsBindAddress", address)?;
        }
        // In mode ipvs upstream takes masquerading from `iptables`.
        let (masquerading, minimum, period) = match config.mode {
            Mode::Nftables | Mode::Auto => {
                (&self.nftables, &self.nftables.min_sync_period, &self.nftables.sync_period)
            }
            Mode::Ipvs => (&self.iptables, &self.ipvs.min_sync_period, &self.ipvs.sync_period),
        };
        config.masquerade_all = masquerading.masquerade_all;
        set(&mut config.masquerade_bit, masquerading.masquerade_bit);
        config.min_sync_period = time("minSyncPeriod", minimum.as_deref())?;
        set(&mut config.sync_period, time("syncPeriod", period.as_deref())?);
        self.ipvs.apply(config)
    }
}

impl IpvsFields {
    fn apply(&self, config: &mut Config) -> Result<(), FlagError> {
        let options = &mut config.ipvs;
        set(&mut options.scheduler, Some(self.scheduler.clone()).filter(|name| !name.is_empty()));
        options.strict_arp = self.strict_arp;
        let exclude = self.exclude_cidrs.iter().flatten().map(String::as_str);
        options.exclude = ranges("ipvs.excludeCIDRs", exclude)?;
        let timeout = |field, text: &Option<String>| Ok(time(field, text.as_deref())?.map(seconds));
        set(&mut options.timeouts.tcp, timeout("ipvs.tcpTimeout", &self.tcp_timeout)?);
        set(&mut options.timeouts.tcp_fin, timeout("ipvs.tcpFinTimeout", &self.tcp_fin_timeout)?);
        set(&mut options.timeouts.udp, timeout("ipvs.udpTimeout", &self.udp_timeout)?);
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "" | "auto" => Ok(Mode::Auto),
        "nftables" => Ok(Mode::Nftables),
        "ipvs" => Ok(Mode::Ipvs),
        // What it does can be had; how it does it cannot.
        "iptables" => Err("iptables is not one of the modes: take nftables or ipvs".to_owned()),
        _ => Err("take auto, nftables or ipvs".to_owned()),
    }
}

fn detect_local(
    field: &'static str,
    mode: &str,
    bridge: String,
    prefix: String,
) -> Result<DetectLocal, FlagError> {
    match mode {
        "ClusterCIDR" => Ok(DetectLocal::ClusterCidr),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" if !bridge.is_empty() => Ok(DetectLocal::Bridge(bridge)),
        "InterfaceNamePrefix" if !prefix.is_empty() => Ok(DetectLocal::InterfacePrefix(prefix)),
        "BridgeInterface" | "InterfaceNamePrefix" => {
            Err(wrong(field, mode, "it needs the name of the interface".to_owned()))
        }
        _ => Err(wrong(
            field,
            mode,
            "take ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix".to_owned(),
        )),
    }
}

fn node_ports(field: &'static str, texts: &[String]) -> Result<NodePorts, FlagError> {
    match texts {
        [primary] if primary == "primary" => Ok(NodePorts::Primary),
        _ => Ok(NodePorts::Within(ranges(field, texts.iter().map(String::as_str))?)),
    }
}

fn ranges<'a>(field: &'static str, texts: impl Iterator<Item = &'a str>) -> Result<Vec<Cidr>, FlagError> {
    texts.map(|text| text.parse().map_err(|error| wrong(field, text, format!("{error}")))).collect()
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Duration>, FlagError> {
    let given = text.filter(|text| !text.is_empty() && *text != "0s");
    given.map(|text| duration(text).map_err(|why| wrong(field, text, why))).transpose()
}

/// Nowhere if empty. A lone port or `:PORT` is on all addresses.
fn bind_address(field: &'static str, text: &str) -> Result<Option<SocketAddr>, FlagError> {
    if text.is_empty() {
        return Ok(None);
    }
    let everywhere = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let address = everywhere.map(|port| SocketAddr::from(([0, 0, 0, 0], port))).or_else(|_| text.parse());
    address.map(Some).map_err(|_| wrong(field, text, "write it as 0.0.0.0:10256".to_owned()))
}

fn wrong(field: &'static str, value: &str, why: String) -> FlagError {
    FlagError::Value { field, value: value.to_owned(), why }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ProxyArgs,
    }

    fn read(flags: &[&str], file: Option<&str>) -> Result<Asked, FlagError> {
        let mut args = Cli::parse_from(["proxy"].iter().chain(flags)).args;
        let mut written = tempfile::NamedTempFile::new().unwrap();
        if let Some(text) = file {
            std::io::Write::write_all(&mut written, text.as_bytes()).unwrap();
            args.config = Some(written.path().to_owned());
        }
        args.read(None)
    }

    const FILE: &str = "
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clusterCIDR: 10.244.0.0/16,fd00:244::/48
hostnameOverride: n7
clientConnection: {kubeconfig: /etc/kube-proxy.conf, qps: 5}
healthzBindAddress: ''
metricsBindAddress: ':1234'
nodePortAddresses: [10.0.0.0/8]
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: cni0}
conntrack: {maxPerCore: 32768}
iptables: {masqueradeAll: true, masqueradeBit: 3}
ipvs: {scheduler: lc, strictARP: true, excludeCIDRs: [10.9.0.0/16], minSyncPeriod: 2s, syncPeriod: 1m, tcpTimeout: 15m0s}
";

    #[test]
    fn the_file_says_it_and_flags_win() {
        let asked = read(&[], Some(FILE)).unwrap();
        let config = asked.config;
        assert_eq!((config.mode, config.node_name.as_str()), (Mode::Ipvs, "n7"));
        assert_eq!(asked.kubeconfig, Some(PathBuf::from("/etc/kube-proxy.conf")));
        assert_eq!(config.cluster_cidrs.len(), 2);
        assert_eq!(config.detect_local, DetectLocal::Bridge("cni0".to_owned()));
        assert_eq!((config.healthz, config.metrics), (None, Some("0.0.0.0:1234".parse().unwrap())));
        assert!(config.masquerade_all && config.ipvs.strict_arp);
        assert_eq!((config.masquerade_bit, config.ipvs.timeouts.tcp), (3, 900));
        assert_eq!(config.min_sync_period, Some(Duration::from_secs(2)));
        assert_eq!(config.sync_period, Duration::from_secs(60));

        let flags = [
            "--proxy-mode=nftables",
            "--ipvs-scheduler=sh",
            "--nodeport-addresses=primary",
            "--cluster-cidr=10.0.0.0/8",
            "--iptables-sync-period=5s",
        ];
        let config = read(&flags, Some(FILE)).unwrap().config;
        assert_eq!((config.mode, config.ipvs.scheduler.as_str()), (Mode::Nftables, "sh"));
        assert_eq!((config.node_ports, config.cluster_cidrs.len()), (NodePorts::Primary, 1));
        assert_eq!(config.sync_period, Duration::from_secs(5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let table = [
            ("apiVersion: v1\nkind: Pod\n".to_owned(), "is v1 Pod"),
            (format!("{head}mode: iptables\n"), "mode: \"iptables\""),
            (format!("{head}clusterCIDR: x\n"), "clusterCIDR: \"x\""),
            (format!("{head}detectLocalMode: BridgeInterface\n"), "needs the name"),
            (format!("{head}healthzBindAddress: nowhere\n"), "healthzBindAddress"),
            (format!("{head}nftables: {{syncPeriod: 5}}\n"), "syncPeriod: \"5\""),
            ("a: [".to_owned(), "is no KubeProxyConfiguration"),
        ];
        for (text, part) in table {
            let error = read(&[], Some(&text)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Cli::try_parse_from(["proxy", "--proxy-mode=iptables"]).is_err());
    }
}
