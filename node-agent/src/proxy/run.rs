//! A proxy from its start to its end.
//!
//! Promise: the kernel follows the API within milliseconds, and under a flood of changes with as many syncs as leave
//! the machine to others; what the kernel refuses is tried again, with everything compared, while what was in force
//! stays. One proxy at a time in a network namespace: a second one waits until the first is gone.

use std::time::Duration;

use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::tasks::Tasks;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::backend::{Backend, Report};
use super::config::Config;
use super::follow::Follower;
use super::health::{self, HealthChecks, State};
use super::ipvs::Ipvs;
use super::metrics::Metrics;
use super::model::{Changes, DataPlane};
use super::nftables::Nftables;
use super::stale;
use super::switch::Switching;
use crate::alone::alone;
use crate::netlink::{self, Socket, SyncError};
use crate::pace::{Pace, off_thread};

/// The name of the lock.
const LOCK: &str = "steersman-proxy";
/// After a sync the proxy rests so many times as long as that took, within limits, while changes gather.
const REST_FACTOR: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("the proxy cannot work in mode {mode}")]
    Backend { mode: &'static str, source: SyncError },
    #[error("the proxy cannot take its lock")]
    Lock(#[source] std::io::Error),
}

/// Runs a proxy in the network namespace of the calling thread until the tasks are told to stop.
///
/// # Errors
///
/// When the kernel lacks what the mode needs, or permission does.
pub async fn run(
    config: Config,
    client: Client,
    clock: Clock,
    registry: Registry,
    tasks: Tasks,
) -> Result<(), ProxyError> {
    let informers = Informers::new(client, tasks.clone(), clock.clone());
    let metrics = Metrics::new(&registry);
    let mut follower = Follower::start(&informers, &config, metrics.clone(), clock.clone());
    let state = State::new(clock.clone());
    tokio::select! {
        () = tasks.stopping() => Ok(()),
        locked = alone(LOCK) => {
            let _held = locked.map_err(ProxyError::Lock)?;
            // Here and not before: two back ends may not prepare the kernel at the same time.
            let worker = Worker::open(&config, &clock)?;
            let mode = worker.backend.name();
            if let Some(address) = config.healthz {
                health::serve_health(address, state.clone(), &tasks);
            }
            if let Some(address) = config.metrics {
                health::serve_metrics(address, mode, registry, &tasks);
            }
            tokio::select! {
                () = tasks.stopping() => return Ok(()),
                () = follower.synced() => {}
            }
            follower.rest();
            info!(mode, node = config.node_name, "proxy follows Services");
            let health_checks = HealthChecks::new(state.clone(), tasks.clone());
            let proxy = Proxy { config, follower, state, health_checks, metrics, tasks, clock };
            proxy.follow(worker).await;
            Ok(())
        }
    }
}

/// Takes away everything that proxies of any mode ever made in this network namespace.
///
/// # Errors
///
/// When the kernel refuses.
pub fn cleanup(config: &Config, clock: &Clock) -> Result<(), ProxyError> {
    let failed = |mode| move |source| ProxyError::Backend { mode, source };
    if let Some(mut left) = Nftables::left_over().map_err(failed("nftables"))? {
        left.cleanup().map_err(failed("nftables"))?;
        info!(mode = "nftables", "taken away");
    }
    if let Some(mut left) = Ipvs::left_over(config.ipvs.clone(), clock.clone()).map_err(failed("ipvs"))? {
        left.cleanup().map_err(failed("ipvs"))?;
        info!(mode = "ipvs", "taken away");
    }
    Ok(())
}

/// What blocks: it works on a thread for that.
struct Worker {
    backend: Switching,
    conntrack: Socket,
    plane: DataPlane,
    /// What the next sync has to look at.
    changes: Changes,
}

/// What a sync did, besides the back end's report.
struct Synced {
    report: Report,
    full: bool,
    stale_flows: usize,
    took: Duration,
}

impl Worker {
    fn open(config: &Config, clock: &Clock) -> Result<Self, ProxyError> {
        let failed = |source| ProxyError::Backend { mode: config.mode.name(), source };
        let backend = Switching::open(config.mode, &config.ipvs, clock).map_err(failed)?;
        let conntrack = Socket::open(netlink::Protocol::Netfilter).map_err(|error| {
            failed(SyncError::Netlink {
                doing: "open a netlink socket",
                source: std::io::Error::other(error),
            })
        })?;
        let plane = DataPlane::default();
        Ok(Self { backend, conntrack, plane, changes: Changes::everything() })
    }

    /// One sync. When it fails, the next one looks at everything.
    fn sync(&mut self) -> Result<Synced, SyncError> {
        let started = Instant::now();
        let changes = std::mem::replace(&mut self.changes, Changes::everything());
        let report = self.backend.sync(&self.plane, &changes)?;
        let mut stale_flows = 0;
        if !report.stale.is_empty() {
            // The rules are right already: a failure here is no reason to go back.
            match stale::delete(&mut self.conntrack, &report.stale) {
                Ok(deleted) => stale_flows = deleted,
                Err(error) => warn!(%error, "stale UDP flows cannot be deleted"),
            }
        }
        self.changes = Changes::default();
        Ok(Synced { report, full: changes.everything, stale_flows, took: started.elapsed() })
    }
}

/// The parts of a running proxy that do not block.
struct Proxy {
    config: Config,
    follower: Follower,
    state: State,
    health_checks: HealthChecks,
    metrics: Metrics,
    tasks: Tasks,
    clock: Clock,
}

impl Proxy {
    async fn follow(mut self, mut worker: Worker) {
        let mut pace = Pace::new(self.config.sync_period);
        loop {
            let sync = tokio::select! {
                () = self.tasks.stopping() => break,
                () = pace.sync_due() => true,
                () = pace.check_due() => {
                    pace.checked();
                    let (back, disturbed) = off_thread(worker, is_disturbed).await;
                    worker = back;
                    worker.changes.everything |= disturbed;
                    disturbed
                }
                matters = self.follower.next() => {
                    if matters {
                        self.state.queued();
                        pace.changed();
                    }
                    false
                }
            };
            if sync {
                self.follower.rest();
                self.follower.plan(&self.config, &mut worker.plane, &mut worker.changes);
                self.state.set_eligible(!self.follower.node().leaving);
                let (back, outcome) = off_thread(worker, Worker::sync).await;
                worker = back;
                self.finish(&worker, outcome, &mut pace);
            }
        }
        if self.config.cleanup_at_end {
            let (_, outcome) = off_thread(worker, |worker| worker.backend.cleanup()).await;
            if let Err(error) = outcome {
                warn!(error = component::telemetry::chain(&error), "rules cannot be taken away");
            }
        }
    }

    /// Notes how a sync ended, and when the next one is due.
    fn finish(&mut self, worker: &Worker, outcome: Result<Synced, SyncError>, pace: &mut Pace) {
        match outcome {
            Ok(synced) => {
                let Report { added, removed, again_in, .. } = synced.report;
                debug!(added, removed, full = synced.full, took = ?synced.took, "synced");
                self.metrics.synced(synced.full, synced.took);
                self.metrics.stale_flows.inc_by(synced.stale_flows as u64);
                self.metrics.last_sync.set(self.clock.now().as_second());
                self.metrics.frontends.set(worker.plane.frontends.len() as i64);
                for trigger in self.follower.take_triggers() {
                    self.metrics.network_programming.observe(self.clock.since(trigger).as_secs_f64());
                }
                self.state.updated();
                if let Some(programmed) = &self.config.programmed {
                    programmed.send_replace(true);
                }
                self.health_checks.set(&worker.plane.health_checks);
                let rest = (synced.took * REST_FACTOR).min(LONGEST_REST);
                pace.succeeded(self.config.min_sync_period.unwrap_or(rest), again_in);
            }
            Err(error) => {
                let (error, again_in) = (component::telemetry::chain(&error), pace.failed());
                warn!(error, ?again_in, "rules stay as they are, will try again");
                self.metrics.failures.inc();
                self.state.queued();
            }
        }
    }
}

fn is_disturbed(worker: &mut Worker) -> bool {
    // When the kernel cannot be asked, a sync will say why.
    worker.backend.is_disturbed().unwrap_or(true)
}
