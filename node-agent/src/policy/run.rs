//! The enforcement of policies from its start to its end.
//!
//! Promise: the kernel follows the API within milliseconds, and under a flood of changes with as many syncs as leave
//! the machine to others; what the kernel refuses is tried again, with everything compared, while what was in force
//! stays. One at a time in a network namespace: a second one waits until the first is gone.

use std::time::Duration;

use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::tasks::Tasks;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::bridge;
use super::follow::Follower;
use super::guard::Arrivals;
use super::metrics::Metrics;
use super::model::{Changes, World};
use super::nftables::{Enforcer, Report};
use crate::alone::alone;
use crate::netlink::SyncError;
use crate::pace::{Pace, off_thread};

/// The name of the lock.
const LOCK: &str = "steersman-policy";
/// How often the kernel is asked whether others changed something.
const CHECK_PERIOD: Duration = Duration::from_secs(30);
/// After a sync it rests so many times as long as that took, within limits, while changes gather.
const REST_FACTOR: u32 = 5;
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What the enforcement is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods of this node are isolated.
    pub node_name: String,
    /// Take everything away when told to stop. Otherwise all stays in force, so that a successor finds it.
    pub cleanup_at_end: bool,
}

/// Why policies are not enforced.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("network policies cannot be enforced")]
    Kernel(#[from] SyncError),
    #[error("the enforcement of network policies cannot take its lock")]
    Lock(#[source] std::io::Error),
}

/// What it stands on.
#[derive(Debug)]
pub struct Surroundings {
    pub informers: Informers,
    pub clock: Clock,
    pub registry: Registry,
    pub tasks: Tasks,
}

/// Enforces policies in the network namespace of the calling thread until the tasks are told to stop.
///
/// # Errors
///
/// When the kernel has no nf_tables, or permission is missing. Whoever waits at the guard then goes on.
pub async fn run(config: Config, surroundings: Surroundings, arrivals: Arrivals) -> Result<(), PolicyError> {
    let Surroundings { informers, clock, registry, tasks } = surroundings;
    tokio::select! {
        () = tasks.stopping() => Ok(()),
        locked = alone(LOCK) => {
            let _held = locked.map_err(PolicyError::Lock)?;
            let mut worker = Worker::open()?;
            let mut follower = Follower::start(&informers, &config.node_name, arrivals);
            tokio::select! {
                () = tasks.stopping() => return Ok(()),
                () = follower.synced() => {}
            }
            follower.rest(&mut worker.world, &mut worker.changes);
            info!(node = config.node_name, "network policies are enforced");
            let metrics = Metrics::new(&registry);
            Enforcement { config, follower, metrics, tasks, clock }.follow(worker).await;
            Ok(())
        }
    }
}

/// Takes away everything that was ever made in this network namespace.
///
/// # Errors
///
/// When the kernel refuses; one without nf_tables has nothing of ours.
pub fn cleanup() -> Result<(), PolicyError> {
    match Enforcer::open() {
        Ok(mut enforcer) => Ok(enforcer.cleanup()?),
        Err(SyncError::Missing(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What blocks: it works on a thread for that.
struct Worker {
    enforcer: Enforcer,
    world: World,
    /// What the next sync has to look at.
    changes: Changes,
    /// What was told of bridges last, so that it is told once.
    unjudged: Option<bridge::Unjudged>,
}

impl Worker {
    fn open() -> Result<Self, SyncError> {
        let enforcer = Enforcer::open()?;
        let mut worker =
            Self { enforcer, world: World::default(), changes: Changes::everything(), unjudged: None };
        worker.judge_bridges();
        Ok(worker)
    }

    /// One sync. When it fails, the next one looks at everything.
    fn sync(&mut self) -> Result<(Report, Duration), SyncError> {
        let started = Instant::now();
        self.world.settle(&mut self.changes);
        let changes = std::mem::replace(&mut self.changes, Changes::everything());
        let report = self.enforcer.sync(&self.world.plane, &changes)?;
        self.changes = Changes::default();
        Ok((report, started.elapsed()))
    }

    fn judge_bridges(&mut self) {
        let unjudged = bridge::judge().err();
        if unjudged != self.unjudged
            && let Some(why) = &unjudged
        {
            warn!(%why, "packets between pods that share a bridge are not judged");
        }
        self.unjudged = unjudged;
    }
}

/// The parts that do not block.
struct Enforcement {
    config: Config,
    follower: Follower,
    metrics: Metrics,
    tasks: Tasks,
    clock: Clock,
}

impl Enforcement {
    async fn follow(mut self, mut worker: Worker) {
        let mut pace = Pace::new(CHECK_PERIOD);
        loop {
            let sync = tokio::select! {
                () = self.tasks.stopping() => break,
                () = pace.sync_due() => true,
                () = pace.check_due() => {
                    pace.checked();
                    worker.judge_bridges();
                    // When the kernel cannot be asked, a sync will say why.
                    let disturbed = worker.enforcer.is_disturbed().unwrap_or(true);
                    worker.changes.everything |= disturbed;
                    disturbed
                }
                () = self.follower.next(&mut worker.world, &mut worker.changes) => {
                    pace.changed();
                    // A new pod should not wait for the changes of others.
                    self.follower.is_awaited()
                }
            };
            if sync {
                self.follower.rest(&mut worker.world, &mut worker.changes);
                let (back, outcome) = off_thread(worker, Worker::sync).await;
                worker = back;
                self.finish(&worker, outcome, &mut pace);
            }
        }
        if self.config.cleanup_at_end {
            let (_, outcome) = off_thread(worker, |worker| worker.enforcer.cleanup()).await;
            if let Err(error) = outcome {
                warn!(error = component::telemetry::chain(&error), "rules cannot be taken away");
            }
        }
    }

    /// Notes how a sync ended, and when the next one is due.
    fn finish(&mut self, worker: &Worker, outcome: Result<(Report, Duration), SyncError>, pace: &mut Pace) {
        match outcome {
            Ok((Report { added, removed }, took)) => {
                debug!(added, removed, ?took, "synced");
                self.metrics.sync.observe(took.as_secs_f64());
                self.metrics.last_sync.set(self.clock.now().as_second());
                self.metrics.note(&worker.world);
                self.follower.in_force(&self.metrics);
                pace.succeeded((took * REST_FACTOR).min(LONGEST_REST), None);
            }
            Err(error) => {
                let (error, again_in) = (component::telemetry::chain(&error), pace.failed());
                warn!(error, ?again_in, "policies stay as they are, will try again");
                self.metrics.failures.inc();
            }
        }
    }
}
