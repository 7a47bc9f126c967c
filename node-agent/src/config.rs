//! What an agent process is told at its start.
//!
//! Promise: plain data; `Config::new` gives upstream's defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use crate::policy::Guard;

/// Everything the agent needs besides a client, a clock and a task set.
#[derive(Clone, Debug)]
pub struct Config {
    pub runtime: RuntimeChoice,
    /// Name of the Node object; simulated nodes are called `NAME-0`, `NAME-1`...
    pub node_name: String,
    /// Address that the Node reports; found out when absent.
    pub node_ip: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Volumes, hosts files and such of pods are kept below it. Upstream: `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// Container logs are kept below it. Upstream: `/var/log/pods`.
    pub pod_logs_dir: PathBuf,
    /// Parent of the `kubepods` cgroups, `/` for the root.
    pub cgroup_root: String,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The resolver of pods that do not use the cluster's.
    pub resolv_conf: ResolvConf,
    pub max_pods: u32,
    /// Addresses that the runtime gives pods, where the cluster does not say: written to a Node that has none.
    pub pod_cidr: Option<String>,
    /// What the agent does for the network of pods; nothing where a network plug-in does it all.
    pub pod_network: Option<PodNetwork>,
    pub serving: Serving,
    /// New pods wait for their network policies there.
    pub guard: Option<Guard>,
}

/// What an agent does for a network of pods without a plug-in that spans nodes: pods of other Nodes are reached by
/// routes over these Nodes' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Show the node's address as the source of what leaves the pods' network, where the kernel has nf_tables.
    pub masquerade: bool,
    /// Take everything away when told to stop. Otherwise all stays, so that a successor finds it.
    pub cleanup_at_end: bool,
}

/// Where the node's own resolver is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvConf {
    /// `/etc/resolv.conf`, or the file behind it where that names a resolver which pods cannot reach.
    Found,
    /// This file.
    File(PathBuf),
    /// Nowhere: pods are told to ask themselves, as upstream for an empty `--resolv-conf`.
    Nothing,
}

/// What runs the containers.
#[derive(Clone, Debug)]
pub enum RuntimeChoice {
    /// `unix:///run/containerd/containerd.sock`
    Cri { endpoint: String },
    /// Nothing runs: containers are Running after `start_latency`, on as many nodes as wanted.
    Simulated { nodes: u32, start_latency: Duration },
}

/// The agent's HTTPS API.
#[derive(Clone, Debug)]
pub struct Serving {
    pub address: IpAddr,
    /// 0 takes a free one; the Node reports the real one.
    pub port: u16,
    /// PEM of the serving certificate (chain) and its key; self-signed when absent.
    pub certificate: Option<CertificateAndKey>,
    /// PEM of the CA that client certificates are checked with. Without it nobody is let in.
    pub client_ca: Option<Vec<u8>>,
    /// Names (common names) of client certificates that may do everything, beside the group `system:masters`.
    /// Others are asked about with a SubjectAccessReview on `nodes/proxy`.
    pub trusted_names: Vec<String>,
}

/// PEM texts.
#[derive(Clone)]
pub struct CertificateAndKey {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for CertificateAndKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertificateAndKey(..)")
    }
}

/// Upstream's default port of the kubelet API.
pub const KUBELET_PORT: u16 = 10250;

/// Upstream's default of pods a node.
pub const MAX_PODS: u32 = 110;

impl Config {
    /// Upstream's defaults for a node of this name.
    pub fn new(node_name: impl Into<String>, runtime: RuntimeChoice) -> Self {
        Self {
            runtime,
            node_name: node_name.into(),
            node_ip: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            root_dir: PathBuf::from("/var/lib/kubelet"),
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            cgroup_root: "/".to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: ResolvConf::Found,
            max_pods: MAX_PODS,
            pod_cidr: None,
            pod_network: None,
            guard: None,
            serving: Serving {
                address: IpAddr::from([0, 0, 0, 0]),
                port: KUBELET_PORT,
                certificate: None,
                client_ca: None,
                trusted_names: vec!["kube-apiserver-kubelet-client".to_owned(), "kube-apiserver".to_owned()],
            },
        }
    }
}
