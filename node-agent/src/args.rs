//! Flags of the agent, under the kubelet's names.
//!
//! Promise: they parse and turn into a `Config`; a file that cannot be read is named.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use component::args::{self, ClientArgs, LogArgs, duration};
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::process::until_stopped;
use component::tasks::Tasks;
use k8s_openapi::api::core::v1::Taint;

use crate::config::{CertificateAndKey, Config, PodNetwork, ResolvConf, RuntimeChoice};
use crate::policy;
use crate::proxy::{self, ProxyArgs};

/// The node agent: runs the pods that the cluster assigned to this machine
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,

    #[command(flatten)]
    pub log: LogArgs,

    /// Run this part alone; without it pods are run, Services programmed if --proxy-mode is given, and policies
    /// enforced with --network-policy
    #[arg(long, value_name = "PART", value_enum)]
    pub only: Option<Part>,

    #[command(flatten)]
    pub proxy: ProxyArgs,

    /// Enforce NetworkPolicies on the pods of this node, where its CNI plugin does not
    #[arg(long)]
    pub network_policy: bool,

    /// Name of the node; the machine's host name if absent
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,

    /// Address of the container runtime
    #[arg(long, value_name = "URL", default_value = "unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,

    /// Run no containers at all: pretend, on nodes called NAME-0, NAME-1...
    #[arg(long)]
    pub simulated: bool,

    /// How many nodes to simulate
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub simulated_nodes: u32,

    /// How long a simulated container takes to start
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub simulated_start_latency: Duration,

    /// Directory for volumes and other files of pods
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,

    /// Directory for container logs
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pub pod_logs_dir: PathBuf,

    /// Address of the node; that of the default route if absent
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,

    /// Labels of the node: KEY=VALUE,...
    #[arg(long, value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    pub node_labels: Vec<(String, String)>,

    /// Taints of a new node: KEY=VALUE:EFFECT,...
    #[arg(long, value_name = "TAINTS", value_delimiter = ',', value_parser = taint)]
    pub register_with_taints: Vec<Taint>,

    /// Addresses of the cluster's DNS service
    #[arg(long, value_name = "IPS", value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,

    /// Domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Resolver of pods that do not use the cluster's; that of the machine if absent, none if empty
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<String>,

    /// Most pods that the node runs
    #[arg(long, value_name = "COUNT", default_value_t = crate::MAX_PODS)]
    pub max_pods: u32,

    /// Addresses that the runtime gives pods; written to the Node unless it has a range
    #[arg(long, value_name = "RANGE")]
    pub pod_cidr: Option<proxy::model::Cidr>,

    /// Route to the pods of other nodes over their addresses: for nodes on one network without a plug-in that does it
    #[arg(long)]
    pub pod_routes: bool,

    /// Parent of the cgroups of pods
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub cgroup_root: String,

    /// Address of the node API
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub address: IpAddr,

    /// Port of the node API; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = crate::KUBELET_PORT)]
    pub port: u16,

    /// Certificate of the node API; self-signed if absent
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// CA that client certificates are checked with; without it nobody is let in
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
}

/// What an agent is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The pods of the node.
    Pods,
    /// Services, in the place of kube-proxy; NetworkPolicies too with --network-policy.
    Proxy,
    /// NetworkPolicies.
    Policy,
}

/// A file named by a flag cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct FileError {
    path: PathBuf,
    source: std::io::Error,
}

impl Args {
    /// What these flags ask for.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn config(&self) -> Result<Config, FileError> {
        let name = self.hostname_override.clone().unwrap_or_else(host_name);
        let runtime = if self.simulated {
            RuntimeChoice::Simulated {
                nodes: self.simulated_nodes,
                start_latency: self.simulated_start_latency,
            }
        } else {
            RuntimeChoice::Cri { endpoint: self.container_runtime_endpoint.clone() }
        };
        let mut config = Config::new(name, runtime);
        config.node_ip = self.node_ip;
        config.labels = self.node_labels.iter().cloned().collect();
        config.taints.clone_from(&self.register_with_taints);
        config.root_dir.clone_from(&self.root_dir);
        config.pod_logs_dir.clone_from(&self.pod_logs_dir);
        config.cgroup_root.clone_from(&self.cgroup_root);
        config.cluster_dns.clone_from(&self.cluster_dns);
        config.cluster_domain.clone_from(&self.cluster_domain);
        config.resolv_conf = match self.resolv_conf.as_deref() {
            None => ResolvConf::Found,
            Some("") => ResolvConf::Nothing,
            Some(path) => ResolvConf::File(PathBuf::from(path)),
        };
        config.max_pods = self.max_pods;
        config.pod_cidr = self.pod_cidr.map(|range| range.to_string());
        if self.pod_routes {
            config.pod_network = Some(PodNetwork { masquerade: false, cleanup_at_end: false });
        }
        config.serving.address = self.address;
        config.serving.port = self.port;
        if let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file) {
            config.serving.certificate =
                Some(CertificateAndKey { certificate: read(certificate)?, key: read(key)? });
        }
        if let Some(ca) = &self.client_ca_file {
            config.serving.client_ca = Some(read(ca)?);
        }
        Ok(config)
    }
}

/// Runs the agent until the process is told to stop.
///
/// # Errors
///
/// When a flag's file cannot be read, the API server's address is not known, or the agent does not start.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let (tasks, clock) = (Tasks::new(), Clock::start());
    if args.proxy.cleanup {
        policy::cleanup()?;
        return Ok(proxy::cleanup(&args.proxy.read(args.hostname_override.as_deref())?.config, &clock)?);
    }
    let runs = |part, asked: bool| args.only.map_or(asked, |only| only == part);
    let (pods, proxy) = (runs(Part::Pods, true), runs(Part::Proxy, args.proxy.proxy_mode.is_some()));
    let policy = args.network_policy || args.only == Some(Part::Policy);
    let asked = proxy.then(|| args.proxy.read(args.hostname_override.as_deref())).transpose()?;
    let mut flags = args.client.clone();
    flags.kubeconfig = flags.kubeconfig.or_else(|| asked.as_ref()?.kubeconfig.clone());
    let mut config = args.config()?;
    let client = flags.client().await.context("cannot find the API server")?;
    let policy = policy.then(|| {
        let (guard, arrivals) = policy::guard();
        config.guard = Some(guard);
        let node_name = asked.as_ref().map_or(&config.node_name, |asked| &asked.config.node_name).clone();
        let surroundings = policy::Surroundings {
            informers: Informers::new(client.clone(), tasks.clone(), clock.clone()),
            clock: clock.clone(),
            registry: Registry::of_process(),
            tasks: tasks.clone(),
        };
        policy::run(policy::Config { node_name, cleanup_at_end: false }, surroundings, arrivals)
    });
    let proxy = asked.map(|asked| {
        proxy::run(asked.config, client.clone(), clock.clone(), Registry::of_process(), tasks.clone())
    });
    let agent = pods.then(|| crate::run(config, client, clock, tasks.clone()));
    let all = async {
        tokio::select! {
            ended = of(agent) => ended.map_err(anyhow::Error::from),
            ended = of(proxy) => ended.map_err(anyhow::Error::from),
            ended = of(policy) => ended.map_err(anyhow::Error::from),
        }
    };
    until_stopped(all, tasks).await
}

/// Runs a part if it is asked for; pends for ever if not.
async fn of<P: Future>(part: Option<P>) -> P::Output {
    match part {
        Some(part) => part.await,
        None => std::future::pending().await,
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError { path: path.to_owned(), source })
}

/// Host name of the machine, in lower case as node names must be.
#[must_use]
pub fn host_name() -> String {
    let name = args::host_name().to_ascii_lowercase();
    if name.is_empty() { "node".to_owned() } else { name }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        Err(format!("`{text}` is not KEY=VALUE"))
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

fn taint(text: &str) -> Result<Taint, String> {
    let wrong = || format!("`{text}` is not KEY=VALUE:EFFECT");
    let (pair, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(wrong());
    }
    let (key, value) = label(pair)?;
    let value = Some(value).filter(|value| !value.is_empty());
    Ok(Taint { key, value, effect: effect.to_owned(), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_become_a_config() {
        let Cli { args } = Cli::parse_from([
            "node-agent",
            "--hostname-override=n1",
            "--node-labels=a=b,c",
            "--register-with-taints=k=v:NoSchedule,x:NoExecute",
            "--simulated",
            "--simulated-nodes=3",
            "--port=0",
        ]);
        let config = args.config().unwrap();
        assert_eq!(config.node_name, "n1");
        assert_eq!(config.labels.len(), 2);
        assert_eq!(
            (config.taints[0].value.as_deref(), config.taints[1].effect.as_str()),
            (Some("v"), "NoExecute")
        );
        assert!(matches!(config.runtime, RuntimeChoice::Simulated { nodes: 3, .. }));
        assert!(Cli::try_parse_from(["x", "--register-with-taints=k=v:Wrong"]).is_err());
    }
}
