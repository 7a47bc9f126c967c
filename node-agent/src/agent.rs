//! One agent process: its nodes, their workers, the one server.
//!
//! Promise: `run` returns when `tasks` is told to stop, or at once with an error that says what to check. Simulated
//! nodes of one process share one watch a kind and one HTTPS listener.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::events::Recorder;
use component::informers::Informers;
use component::tasks::Tasks;
use kube::Client;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::config::{Config, RuntimeChoice};
use crate::containers::resolv_conf::Names;
use crate::cri::{CriError, CriRuntime};
use crate::node::{self, Machine};
use crate::pods::{self, Node, Pods};
use crate::routes;
use crate::runtime::simulated::Simulated;
use crate::runtime::{Runtime, RuntimeError};
use crate::serve::{self, ServeError};
use crate::volumes::Volumes;

/// How long the runtime may take to answer at the start.
const RUNTIME_LIMIT: Duration = Duration::from_secs(30);

/// Lease renewals of simulated nodes are spread over this time.
const LEASE_SPREAD: Duration = Duration::from_secs(9);

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the container runtime's address is wrong")]
    Endpoint(#[from] CriError),
    #[error(
        "the container runtime at {endpoint} does not answer; is it running? (apt-get install -y containerd)"
    )]
    Runtime { endpoint: String, source: RuntimeError },
    #[error("cannot serve the node API")]
    Serve(#[from] ServeError),
    #[error("cannot use directory {path}")]
    Directory { path: std::path::PathBuf, source: std::io::Error },
}

/// Runs the agent until the tasks are told to stop.
pub async fn run(config: Config, client: Client, clock: Clock, tasks: Tasks) -> Result<(), AgentError> {
    let config = Arc::new(config);
    let names = node_names(&config);
    let machine = Machine::read(&config);
    let runtimes = runtimes(&config, &names, &clock, &tasks).await?;
    if matches!(config.runtime, RuntimeChoice::Cri { .. }) {
        for dir in [&config.root_dir, &config.pod_logs_dir] {
            let failed = |source| AgentError::Directory { path: dir.clone(), source };
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
    }
    let informers = Informers::new(client.clone(), tasks.clone(), clock.clone());
    let recorder =
        Recorder::on_host(client.clone(), "kubelet", Some(names[0].clone()), clock.clone(), &tasks);
    let shared =
        Shared { config: Arc::clone(&config), client, clock, tasks: tasks.clone(), recorder, machine };
    let nodes: BTreeMap<String, Pods> = names
        .iter()
        .zip(runtimes)
        .map(|(name, runtime)| (name.clone(), Pods::new(Arc::new(shared.node(name, runtime, &informers)))))
        .collect();

    let port =
        serve::listen(&shared.config, nodes.values().cloned().collect(), &shared.client, &tasks).await?;
    info!(nodes = names.len(), port, "node agent serves");
    let watch = node::watch(&informers, &names);
    for (index, pods) in nodes.values().enumerate() {
        let (pods, machine, watch, tasks) =
            (pods.clone(), shared.machine.clone(), watch.clone(), tasks.clone());
        let delay = LEASE_SPREAD * (index as u32) / (names.len() as u32);
        shared.tasks.spawn_until_stopped("node", async move {
            let node = Arc::clone(pods.node());
            let uid = node::register(&node, &machine, port).await;
            tasks.spawn_until_stopped("node-lease", node::renew(Arc::clone(&node), uid, delay));
            node::keep_status(node, machine, port, watch).await;
        });
    }
    if let Some(network) = config.pod_network {
        let keep = routes::keep(config.node_name.clone(), informers.clone(), network, tasks.clone());
        tasks.spawn("pod-routes", keep);
    }
    let source = pods::source(&informers, &names);
    let by_name: HashMap<String, Pods> =
        nodes.iter().map(|(name, pods)| (name.clone(), pods.clone())).collect();
    tasks.spawn_until_stopped("pod-source", pods::follow(source.clone(), by_name));
    for pods in nodes.values() {
        let (pods, source) = (pods.clone(), source.clone());
        tasks.spawn_until_stopped("relist", async move {
            // Before the first list of pods everything would look like an orphan.
            source.synced().await;
            pods.adopt(&source).await;
            pods::relist(pods).await;
        });
    }
    tasks.stopping().await;
    Ok(())
}

/// What all nodes of the process have in common.
struct Shared {
    config: Arc<Config>,
    client: Client,
    clock: Clock,
    tasks: Tasks,
    recorder: Recorder,
    machine: Machine,
}

impl Shared {
    fn node(&self, name: &str, runtime: Arc<dyn Runtime>, informers: &Informers) -> Node {
        let services = runtime.is_real().then(|| informers.of());
        Node {
            name: name.to_owned(),
            config: Arc::clone(&self.config),
            client: self.client.clone(),
            runtime,
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            recorder: self.recorder.clone(),
            volumes: Volumes::new(&self.config.root_dir, self.client.clone(), self.clock.clone()),
            names: Names {
                cluster_dns: self.config.cluster_dns.clone(),
                cluster_domain: self.config.cluster_domain.clone(),
                node: node::resolver(&self.config.resolv_conf),
            },
            addresses: vec![node::node_address(&self.config)],
            capacity: self.machine.allocatable,
            services,
            labels: Mutex::default(),
        }
    }
}

fn node_names(config: &Config) -> Vec<String> {
    match config.runtime {
        RuntimeChoice::Cri { .. } => vec![config.node_name.clone()],
        RuntimeChoice::Simulated { nodes, .. } => {
            (0..nodes.max(1)).map(|index| format!("{}-{index}", config.node_name)).collect()
        }
    }
}

async fn runtimes(
    config: &Config,
    names: &[String],
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Vec<Arc<dyn Runtime>>, AgentError> {
    match &config.runtime {
        RuntimeChoice::Cri { endpoint } => {
            let runtime = CriRuntime::connect(endpoint)?;
            wait_for(&runtime, endpoint).await?;
            Ok(vec![Arc::new(runtime)])
        }
        RuntimeChoice::Simulated { start_latency, .. } => {
            let simulated = |index| {
                let runtime = Simulated::new(index, *start_latency, clock.clone(), tasks.clone());
                Arc::new(runtime) as Arc<dyn Runtime>
            };
            Ok((0..names.len() as u32).map(simulated).collect())
        }
    }
}

async fn wait_for(runtime: &CriRuntime, endpoint: &str) -> Result<(), AgentError> {
    let deadline = tokio::time::Instant::now() + RUNTIME_LIMIT;
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(version) => {
                info!(name = version.name, version = version.version, "container runtime answers");
                return Ok(());
            }
            Err(source) if tokio::time::Instant::now() > deadline => {
                return Err(AgentError::Runtime { endpoint: endpoint.to_owned(), source });
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(endpoint, %error, "waiting for the container runtime");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
