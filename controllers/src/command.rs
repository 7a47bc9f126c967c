//! The command line of the controllers, for their own binary and for `steersman controllers`.
//!
//! Flags are kube-controller-manager's where it has them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use component::args::{AccessArgs, ClientArgs, LeaderArgs, LogArgs, ServeArgs, duration, identity};
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::process::until_stopped;
use component::random::Random;
use component::ready::Readiness;
use component::serve::{Endpoints, Health, serve_pages};
use component::tasks::Tasks;

use crate::{Config, Rates, Surroundings, run_in};

/// The lease and the port are kube-controller-manager's: the two never work at the same time.
const LEASE: &str = "kube-controller-manager";
const PORT: u16 = 10257;

/// Run the controllers against an API server
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    leader: LeaderArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    log: LogArgs,

    /// Controllers to run: names, -name to leave one out, * for all
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    controllers: Vec<String>,

    /// Deployments worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 5)]
    concurrent_deployment_syncs: usize,

    /// ReplicaSets worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 5)]
    concurrent_replicaset_syncs: usize,

    /// Services whose endpoints are worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 5)]
    concurrent_service_endpoint_syncs: usize,

    /// Terminating namespaces worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 10)]
    concurrent_namespace_syncs: usize,

    /// Namespaces whose service account and root certificate are worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 5)]
    concurrent_serviceaccount_token_syncs: usize,

    /// Objects the garbage collector works on at the same time
    #[arg(long, value_name = "N", default_value_t = 20)]
    concurrent_gc_syncs: usize,

    /// Endpoints in one EndpointSlice at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = slice_size)]
    max_endpoints_per_slice: usize,

    /// Finished pods that may stay before the oldest are removed; 0 lets all stay
    #[arg(long, value_name = "N", default_value_t = 12_500)]
    terminated_pod_gc_threshold: usize,

    /// Pause between two looks at the nodes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    node_monitor_period: Duration,

    /// Silence after which a node counts as lost
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    node_monitor_grace_period: Duration,

    /// Silence after which a node that never reported counts as lost
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    node_startup_grace_period: Duration,

    /// Lost nodes a second whose pods are evicted, in a healthy zone
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    node_eviction_rate: f64,

    /// The same in a big zone that is mostly lost
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    secondary_node_eviction_rate: f64,

    /// Nodes above which a zone counts as big
    #[arg(long, value_name = "N", default_value_t = 50)]
    large_cluster_size_threshold: usize,

    /// Share of lost nodes from which a zone counts as mostly lost
    #[arg(long, value_name = "SHARE", default_value_t = 0.55)]
    unhealthy_zone_threshold: f64,

    /// Certificate authority to publish as kube-root-ca.crt in every namespace
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
}

impl Args {
    /// The configuration these flags ask for.
    fn config(&self) -> anyhow::Result<Config> {
        let root_ca = match &self.root_ca_file {
            Some(file) => {
                let read = std::fs::read_to_string(file);
                Some(read.with_context(|| format!("--root-ca-file {}", file.display()))?)
            }
            None => None,
        };
        Ok(Config {
            controllers: self.controllers.clone(),
            leader: self.leader.config(LEASE, identity(&Random::from_entropy())),
            concurrent_deployment_syncs: self.concurrent_deployment_syncs,
            concurrent_replicaset_syncs: self.concurrent_replicaset_syncs,
            concurrent_endpoint_syncs: self.concurrent_service_endpoint_syncs,
            concurrent_namespace_syncs: self.concurrent_namespace_syncs,
            concurrent_account_syncs: self.concurrent_serviceaccount_token_syncs,
            concurrent_gc_syncs: self.concurrent_gc_syncs,
            max_endpoints_per_slice: self.max_endpoints_per_slice,
            terminated_pod_threshold: self.terminated_pod_gc_threshold,
            node_monitor_period: self.node_monitor_period,
            node_grace_period: self.node_monitor_grace_period,
            node_startup_grace_period: self.node_startup_grace_period,
            rates: Rates {
                normal: self.node_eviction_rate,
                secondary: self.secondary_node_eviction_rate,
                large: self.large_cluster_size_threshold,
                unhealthy: self.unhealthy_zone_threshold,
            },
            root_ca,
        })
    }
}

/// Runs the controllers until the process is told to stop.
///
/// # Errors
///
/// When a flag makes no sense, the API server's address is not known, the port is taken, or leadership is lost.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let tasks = Tasks::new();
    until_stopped(serve_and_run(args, tasks.clone()), tasks).await
}

async fn serve_and_run(args: Args, tasks: Tasks) -> anyhow::Result<()> {
    let (config, clock, readiness) = (args.config()?, Clock::start(), Readiness::new());
    let client = args.client.client().await?;
    let metrics = Registry::of_process();
    let informers = Informers::new(client.clone(), tasks.clone(), clock.clone()).measured(&metrics);
    let health = Health::new(readiness);
    health.informers(&informers);
    if let Some(address) = args.serve.address(PORT) {
        let (access, tls) = args.access.secure(&args.serve, &client, &tasks).await?;
        let endpoints = Endpoints::new(health, metrics).guarded(access);
        serve_pages(address, Some(tls), endpoints, &tasks).await?;
    }
    run_in(config, Surroundings { client, informers, clock }, tasks).await?;
    Ok(())
}

fn slice_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=1000) => Ok(size),
        _ => Err("must be from 1 to 1000, the API's limit".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"controllers").chain(args)).map(|cli| cli.args)
    }

    #[test]
    fn defaults_are_the_configurations() {
        let config = parse(&[]).unwrap().config().unwrap();
        let mut expected = Config { leader: config.leader.clone(), ..Config::default() };
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
        assert_eq!(config.leader.unwrap().name, "kube-controller-manager");
        expected.controllers = vec!["*".into(), "-deployment-controller".into()];
        let chosen = parse(&["--controllers=*,-deployment-controller", "--leader-elect=false"]).unwrap();
        assert_eq!(chosen.config().unwrap().controllers, expected.controllers);
        assert!(chosen.config().unwrap().leader.is_none());
    }

    #[test]
    fn flags_that_make_no_sense() {
        assert!(parse(&["--max-endpoints-per-slice=0"]).is_err());
        assert!(parse(&["--node-monitor-period=5"]).is_err());
        let missing = parse(&["--root-ca-file=/no/such/file"]).unwrap().config().unwrap_err();
        assert_eq!(missing.to_string(), "--root-ca-file /no/such/file");
    }
}
