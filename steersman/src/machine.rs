//! This machine as a node: what runs its containers, and how it joins a cluster.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use component::informers::Informers;
use component::tasks::Tasks;
use node_agent::containerd::{Containerd, ContainerdConfig, gateway, keep_pod_cidr, pod_cidr};
use node_agent::policy::{self, Guard, Surroundings};
use node_agent::{Config, PodNetwork, RuntimeChoice, proxy};
use tokio::sync::watch;

use crate::args::{ProxyMode, Up};
use crate::control_plane::{ControlPlane, PodRanges};
use crate::crew::Crew;
use crate::dns::ClusterDns;
use crate::progress::Progress;

/// Simulated containers are running after this long, like real ones without a pull.
const SIMULATED_START: Duration = Duration::from_millis(200);

/// How long the start waits for Services to work.
const SERVICES_LIMIT: Duration = Duration::from_secs(3);

/// What runs containers here, before it has joined a cluster.
pub(crate) struct Machine {
    runtime: RuntimeChoice,
    /// The private one, ours to stop.
    pub(crate) containerd: Option<Containerd>,
    pub(crate) nodes: u32,
    /// An address of this machine that every pod reaches: the bridge's.
    pub(crate) bridge: Option<IpAddr>,
    /// Addresses of pods that the private containerd gives.
    pod_cidr: Option<String>,
}

impl Machine {
    /// `ranges` are those that Nodes of the cluster have already.
    pub(crate) async fn start(
        args: &Up,
        ranges: &PodRanges,
        progress: &Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<Option<Self>> {
        if args.control_plane_only {
            return Ok(None);
        }
        if let Some(nodes) = args.simulated_nodes {
            let runtime = RuntimeChoice::Simulated { nodes, start_latency: SIMULATED_START };
            return Ok(Some(Self { runtime, containerd: None, nodes, bridge: None, pod_cidr: None }));
        }
        if let Some(endpoint) = args.container_runtime_endpoint.clone() {
            return Ok(Some(Self {
                runtime: RuntimeChoice::Cri { endpoint },
                containerd: None,
                nodes: 1,
                bridge: None,
                pod_cidr: None,
            }));
        }
        let dir = std::path::absolute(args.data_dir.join("containerd"))?;
        let pod_cidr = pod_addresses(args, ranges, &dir)
            .with_context(|| format!("cannot use the data directory {}", dir.display()))?;
        let bridge = gateway(&pod_cidr);
        let config = ContainerdConfig { dir, pod_cidr: pod_cidr.clone(), bridge: None };
        let containerd = Containerd::start(config, tasks).await?;
        progress.done("containerd answers");
        let runtime = RuntimeChoice::Cri { endpoint: containerd.endpoint() };
        Ok(Some(Self { runtime, containerd: Some(containerd), nodes: 1, bridge, pod_cidr: Some(pod_cidr) }))
    }

    pub(crate) async fn join(
        &self,
        args: &Up,
        cluster: &ControlPlane,
        cluster_dns: Option<ClusterDns>,
        crew: &Crew,
    ) -> anyhow::Result<()> {
        let name = node_name(args);
        let data_dir = std::path::absolute(&args.data_dir)?;
        let mut config = Config::new(name.clone(), self.runtime.clone());
        config.root_dir = data_dir.join("node");
        config.pod_logs_dir = data_dir.join("logs");
        config.serving.client_ca = Some(cluster.ca.clone().into_bytes());
        let services_work = args.simulated_nodes.is_none() && self.proxy(args, &name, cluster, crew).await;
        config.cluster_dns = cluster_dns.map(|dns| dns.for_pods(services_work)).into_iter().collect();
        config.pod_cidr.clone_from(&self.pod_cidr);
        if self.containerd.is_some() {
            config.pod_network = Some(PodNetwork { masquerade: true, cleanup_at_end: true });
        }
        if args.simulated_nodes.is_some() {
            config.serving.port = 0;
        }
        if args.simulated_nodes.is_none() && !args.disable_network_policy {
            config.guard = Some(policies(&name, cluster, crew));
        }
        let agent =
            node_agent::run(config, cluster.node_client(&name), crew.clock.clone(), crew.nodes.clone());
        crew.run("node agent", &crew.nodes, agent);
        Ok(())
    }

    /// Programs Services on this machine; answers whether they work by now. A cluster without them is worth more than
    /// none, so a kernel or a user that cannot is told of and no more.
    async fn proxy(&self, args: &Up, node: &str, cluster: &ControlPlane, crew: &Crew) -> bool {
        let mut config = proxy::Config::new(node);
        config.mode = match args.proxy_mode {
            ProxyMode::Auto => proxy::Mode::Auto,
            ProxyMode::Nftables => proxy::Mode::Nftables,
            ProxyMode::Ipvs => proxy::Mode::Ipvs,
            ProxyMode::None => return false,
        };
        config.detect_local = proxy::DetectLocal::NodeCidr;
        config.cluster_cidrs = self.pod_cidr.iter().filter_map(|range| range.parse().ok()).collect();
        // The cluster ends with this process, and its Services with it.
        config.cleanup_at_end = true;
        let (programmed, mut work) = watch::channel(false);
        config.programmed = Some(programmed);
        let (client, clock) = (cluster.proxy_client(), crew.clock.clone());
        let (registry, tasks) = (cluster.registry(), crew.nodes.clone());
        crew.nodes.spawn("proxy", async move {
            if let Err(error) = proxy::run(config, client, clock, registry, tasks).await {
                tracing::warn!(error = component::telemetry::chain(&error), "Services are not programmed");
            }
        });
        // A proxy that cannot work lets go of its end; one that waits for another's end takes too long.
        let work = tokio::time::timeout(SERVICES_LIMIT, work.wait_for(|programmed| *programmed)).await;
        matches!(work, Ok(Ok(_)))
    }
}

/// How the node of this machine calls itself.
pub(crate) fn node_name(args: &Up) -> String {
    args.node_name.clone().unwrap_or_else(node_agent::host_name)
}

/// The directory's range, at its first start the one asked for, or that of the Node, or one that nobody has.
fn pod_addresses(args: &Up, ranges: &PodRanges, dir: &Path) -> std::io::Result<String> {
    if let Some(asked) = args.pod_cidr.or(ranges.own).filter(|_| !dir.join("pod-cidr").exists()) {
        keep_pod_cidr(dir, &asked.to_string())?;
    }
    pod_cidr(dir, &ranges.others)
}

/// Enforces network policies on this machine; answers where new pods wait for theirs. A kernel or a user that cannot
/// is told of and no more.
fn policies(node: &str, cluster: &ControlPlane, crew: &Crew) -> Guard {
    let (guard, arrivals) = policy::guard();
    let (clock, tasks) = (crew.clock.clone(), crew.nodes.clone());
    // Of a control plane of ours everything that is needed is watched already.
    let own = || Informers::new(cluster.client.clone(), tasks.clone(), clock.clone());
    let informers = cluster.informers.clone().unwrap_or_else(own);
    // The cluster ends with this process, and its policies with it.
    let config = policy::Config { node_name: node.to_owned(), cleanup_at_end: true };
    let surroundings = Surroundings { informers, clock, registry: cluster.registry(), tasks };
    crew.nodes.spawn("network-policies", async move {
        if let Err(error) = policy::run(config, surroundings, arrivals).await {
            tracing::warn!(error = component::telemetry::chain(&error), "network policies are not enforced");
        }
    });
    guard
}
