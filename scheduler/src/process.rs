//! The scheduler as a process of its own: flags, client, health and metrics server, signals.
//!
//! Promise: upstream's flag names; a wrong one gives one sentence. Ends when told to, or when the lease is lost, and
//! then with an error, so that nothing it still thinks is acted on.

use crate::config::Config;
use crate::decisions::Desk;
use crate::explain;
use crate::metrics::Metrics;
use crate::pod::DEFAULT_SCHEDULER;
use crate::run::{Surroundings, run_in};
use component::args::{ClientArgs, LeaderArgs, LogArgs, ServeArgs, identity};
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::process::until_stopped;
use component::random::Random;
use component::ready::Readiness;
use component::serve::{Endpoints, Health, Pages, serve_pages};
use component::tasks::Tasks;

/// The port of kube-scheduler.
const DEFAULT_PORT: u16 = 10259;
/// The lease of a scheduler in the place of kube-scheduler. One beside it has a lease of its name.
const DEFAULT_LEASE: &str = "kube-scheduler";

/// Flags of the scheduler.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the API server is.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Which of several copies works.
    #[command(flatten)]
    pub leader: LeaderArgs,

    /// Where health and metrics are served.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// How much is logged.
    #[command(flatten)]
    pub log: LogArgs,

    /// Schedule the pods that name this scheduler; may be given several times
    #[arg(long = "scheduler-name", value_name = "NAME", default_value = DEFAULT_SCHEDULER)]
    pub scheduler_names: Vec<String>,

    /// Make the choice between equally good nodes repeatable
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

impl Args {
    /// The configuration these flags ask for.
    ///
    /// # Errors
    ///
    /// When a scheduler name is empty or given twice.
    pub fn config(&self, random: &Random) -> Result<Config, crate::config::ConfigError> {
        let mut config = Config::for_names(&self.scheduler_names)?;
        let lease = config.scheduler_names().next().filter(|name| *name != DEFAULT_SCHEDULER);
        config.leader = self.leader.config(lease.unwrap_or(DEFAULT_LEASE), identity(random));
        config.seed = self.seed;
        Ok(config)
    }
}

/// Schedules until the process is told to stop.
///
/// # Errors
///
/// When it cannot start, a task panics, or the lease is lost.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let (clock, tasks) = (Clock::start(), Tasks::new());
    let random = args.seed.map_or_else(Random::from_entropy, Random::from_seed);
    let config = args.config(&Random::from_entropy())?;
    let client = args.client.client().await?;
    let registry = Registry::of_process();
    let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
    let desk = Desk::default();
    if let Some(address) = args.serve.address(DEFAULT_PORT) {
        let health = Health::new(Readiness::new());
        health.informers(&informers);
        let pages = Pages::default();
        explain::show(&pages, &desk, &clock);
        let endpoints = Endpoints::new(health, registry.clone()).with(pages);
        let address = serve_pages(address, Some(args.serve.tls()?), endpoints, &tasks).await?;
        tracing::info!(%address, "serving health and metrics");
    }
    let metrics = Metrics::new(&registry);
    let surroundings = Surroundings { random, metrics, desk, ..Surroundings::new(client, informers, clock) };
    until_stopped(run_in(config, surroundings, tasks.clone()), tasks).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn config(flags: &[&str]) -> Config {
        let cli = Cli::try_parse_from([&["scheduler"], flags].concat()).unwrap();
        cli.args.config(&Random::from_seed(1)).unwrap()
    }

    #[test]
    fn flags_become_the_configuration() {
        let default = config(&[]);
        assert_eq!(default.scheduler_names().collect::<Vec<_>>(), ["default-scheduler"]);
        let leader = default.leader.unwrap();
        assert_eq!((leader.name.as_str(), leader.namespace.as_str()), ("kube-scheduler", "kube-system"));
        assert_eq!(leader.lease_duration, Duration::from_secs(15));

        let mine = config(&[
            "--scheduler-name",
            "mine",
            "--scheduler-name=too",
            "--leader-elect=false",
            "--seed",
            "7",
        ]);
        assert_eq!(mine.scheduler_names().collect::<Vec<_>>(), ["mine", "too"]);
        assert_eq!((mine.leader, mine.seed), (None, Some(7)));
        assert_eq!(config(&["--scheduler-name", "mine"]).leader.unwrap().name, "mine");

        let flags = [
            "--leader-elect-resource-name=my-lease",
            "--leader-elect-lease-duration",
            "30s",
            "--secure-port=0",
        ];
        let leader = config(&flags).leader.unwrap();
        assert_eq!((leader.name.as_str(), leader.lease_duration), ("my-lease", Duration::from_secs(30)));
    }
}
