//! The scheduler as a process of its own: flags, client, health and metrics server, signals.
//!
//! Its port shows health to everybody, and metrics and decisions to whom the API server lets see them. Promise: what is wrong in flags or files gives one sentence and ends it before anything is written. Ends when told to,
//! or when the lease is lost, and then with an error, so that nothing it still thinks is acted on.

use crate::decisions::Desk;
use crate::explain;
use crate::flags::Args;
use crate::metrics;
use crate::run::{Surroundings, run_in};
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

/// Schedules until the process is told to stop.
///
/// # Errors
///
/// When it cannot start, a task panics, or the lease is lost.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let (clock, tasks) = (Clock::start(), Tasks::new());
    let random = args.seed.map_or_else(Random::from_entropy, Random::from_seed);
    let (config, file) = args.read(&Random::from_entropy())?;
    if let Some(path) = &args.write_config_to {
        tracing::info!(file = %path.display(), "wrote the configuration");
        return Ok(file.spelt_out().write(path)?);
    }
    args.warn(&file);
    let client = args.client(&file).client().await?;
    let registry = Registry::of_process();
    let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
    let desk = Desk::default();
    if let Some(address) = args.serve.address(DEFAULT_PORT) {
        let health = Health::new(Readiness::new());
        health.informers(&informers);
        let pages = Pages::default();
        explain::show(&pages, &desk, &clock);
        let configz = serde_json::json!({"componentconfig": file.clone().spelt_out()});
        pages.add("/configz", move |_| std::future::ready((http::StatusCode::OK, configz.clone())));
        metrics::resources::show(&pages, &informers, &desk);
        let (access, tls) = args.access.secure(&args.serve, &client, &tasks).await?;
        let endpoints = Endpoints::new(health, registry.clone()).with(pages).guarded(access);
        let address = serve_pages(address, Some(tls), endpoints, &tasks).await?;
        tracing::info!(%address, "serving health and metrics");
    }
    let surroundings =
        Surroundings { random, desk, ..Surroundings::measured(client, informers, clock, registry) };
    let surroundings = surroundings.configured(&file).await?;
    until_stopped(run_in(config, surroundings, tasks.clone()), tasks).await
}
