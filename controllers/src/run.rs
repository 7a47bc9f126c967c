//! Starts the controllers and keeps them running while this process leads.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use component::clock::Clock;
use component::informers::Informers;
use component::tasks::Tasks;
use kube::Client;

use crate::config::Config;
use crate::context::Context;
use crate::registry::{ROWS, Row, SelectionError, select};

/// What the controllers stand on.
#[derive(Clone)]
pub struct Surroundings {
    /// Sends their writes.
    pub client: Client,
    /// Shows them the cluster.
    pub informers: Informers,
    /// Their time.
    pub clock: Clock,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Surroundings").field("informers", &self.informers).finish_non_exhaustive()
    }
}

/// Why the controllers did not start, or ended by themselves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of controllers makes no sense.
    #[error("check --controllers")]
    Selection(#[from] SelectionError),
    /// Another process may lead now. This one should end, so that nothing it still thinks is acted on.
    #[error("lost the leader lease")]
    LostLease,
}

/// Runs the controllers until the tasks are told to stop.
///
/// # Errors
///
/// When the configuration makes no sense, and when leadership is lost.
pub async fn run(config: Config, client: Client, clock: Clock, tasks: Tasks) -> Result<(), Error> {
    let informers = Informers::new(client.clone(), tasks.clone(), clock.clone());
    run_in(config, Surroundings { client, informers, clock }, tasks).await
}

/// [`run`] with informers that are shared with others.
///
/// # Errors
///
/// As [`run`].
pub async fn run_in(config: Config, surroundings: Surroundings, tasks: Tasks) -> Result<(), Error> {
    let rows = select(ROWS, &config.controllers)?;
    let mut stopping = pin!(tasks.stopping());
    let Some(leader) = config.leader.clone() else {
        start(&rows, config, surroundings, &tasks);
        stopping.await;
        return Ok(());
    };
    let Surroundings { client, clock, .. } = surroundings.clone();
    let leadership = component::leader::elect(client, leader, clock, &tasks);
    tokio::select! {
        () = &mut stopping => return Ok(()),
        () = leadership.acquired() => {}
    }
    // In tasks of their own: they have ended before the lease is released.
    let work = tasks.child();
    start(&rows, config, surroundings, &work);
    tokio::select! {
        () = &mut stopping => {
            work.stop().await;
            leadership.release().await;
            Ok(())
        }
        () = leadership.lost() => {
            work.stop().await;
            Err(Error::LostLease)
        }
    }
}

fn start(rows: &[&Row], config: Config, surroundings: Surroundings, tasks: &Tasks) {
    let Surroundings { client, informers, clock } = surroundings;
    let ctx = Context { client, clock, tasks: tasks.clone(), informers, config: Arc::new(config) };
    for row in rows {
        (row.start)(&ctx);
    }
    tracing::info!(controllers = rows.len(), "controllers started");
}
