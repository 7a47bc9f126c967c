//! What the command line says. Parsing only; each component reads its own flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Flags, Parser, Subcommand};

/// The Kubernetes control plane in one binary.
#[derive(Debug, Parser)]
#[command(name = "steersman", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a whole cluster up on this machine.
    Up(Up),
    /// The API server alone.
    Apiserver(apiserver::Args),
    /// The controllers alone, for any cluster.
    Controllers(controllers::Args),
    /// The scheduler alone, for any cluster.
    Scheduler(scheduler::Args),
    /// The node agent alone, for any cluster.
    NodeAgent(Box<node_agent::Args>),
    /// The cluster's DNS server alone, for any cluster.
    Dns(addons::dns::Args),
    /// Say why a pod is where it is, why it waits, and what would help.
    Explain(scheduler::explain::Args),
    /// Say what would happen: to manifests, to pods of nodes that are drained, lost or added. Never writes.
    Simulate(scheduler::simulate::Args),
}

/// `steersman up`.
#[derive(Debug, Flags)]
pub(crate) struct Up {
    /// Where the cluster keeps everything: objects, certificates, containers, admin.kubeconfig.
    #[arg(long, default_value = "/var/lib/steersman")]
    pub(crate) data_dir: PathBuf,

    /// The port of the API server, on all addresses.
    #[arg(long, default_value_t = 6443)]
    pub(crate) secure_port: u16,

    /// This many simulated nodes in place of this machine: no root, no containerd, no containers.
    #[arg(long, value_name = "N")]
    pub(crate) simulated_nodes: Option<u32>,

    /// A container runtime that runs already, as `unix:///run/containerd/containerd.sock`, in place of a private
    /// containerd.
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "simulated_nodes")]
    pub(crate) container_runtime_endpoint: Option<String>,

    /// Only the node, joined to the cluster of --kubeconfig.
    #[arg(long, requires = "kubeconfig", conflicts_with = "control_plane_only")]
    pub(crate) nodes_only: bool,

    /// Everything but a node.
    #[arg(long, conflicts_with_all = ["simulated_nodes", "container_runtime_endpoint"])]
    pub(crate) control_plane_only: bool,

    /// A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) for the scheduler: profiles, plugins, extenders.
    #[arg(long, value_name = "FILE", conflicts_with = "nodes_only")]
    pub(crate) scheduler_config: Option<PathBuf>,

    /// The cluster that --nodes-only joins.
    #[arg(long, requires = "nodes_only")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// How the node calls itself; this machine's host name if not given.
    #[arg(long)]
    pub(crate) node_name: Option<String>,

    /// Addresses of this node's pods; a free range like 10.244.1.0/24 if not given. The first start decides.
    #[arg(long, value_name = "RANGE", conflicts_with_all = ["simulated_nodes", "container_runtime_endpoint", "control_plane_only"])]
    pub(crate) pod_cidr: Option<node_agent::proxy::model::Cidr>,

    /// Where the cluster's DNS server listens; on the bridge of the pods if not given.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "nodes_only")]
    pub(crate) dns_listen: Option<SocketAddr>,

    /// Leave cluster DNS to somebody else, such as the chart's Deployment. Pods are told the address of the Service
    /// kube-system/kube-dns, or the tenth of the service range where there is none yet.
    #[arg(long, conflicts_with_all = ["nodes_only", "dns_listen"])]
    pub(crate) disable_dns: bool,

    /// What programs Services on this machine. Where nothing can, they are left alone, and the log says so.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ProxyMode::Auto)]
    pub(crate) proxy_mode: ProxyMode,

    /// Leave NetworkPolicies to somebody else. Without root or nf_tables nobody enforces them, and the log says so.
    #[arg(long)]
    pub(crate) disable_network_policy: bool,

    #[command(flatten)]
    pub(crate) log: component::args::LogArgs,
}

/// What programs Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProxyMode {
    /// The first of the next two that the kernel can do.
    Auto,
    Nftables,
    Ipvs,
    /// Nothing, or a proxy of your own.
    None,
}

impl Args {
    /// Runs the command to its end.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Up(up) => crate::up::up(up).await,
            Command::Apiserver(args) => apiserver::command(args).await,
            Command::Controllers(args) => controllers::command(args).await,
            Command::Scheduler(args) => scheduler::command(args).await,
            Command::NodeAgent(args) => node_agent::command(*args).await,
            Command::Dns(args) => addons::dns::command(args).await,
            Command::Explain(args) => scheduler::explain::command(args).await,
            Command::Simulate(args) => scheduler::simulate::command(args).await,
        }
    }
}
