//! A whole cluster inside a test: the real API server, controllers, scheduler and simulated nodes in one process,
//! without port, root or sleep. Under a paused runtime an hour of its life takes milliseconds.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use apiserver::authn::User;
use apiserver::{Apiserver, AsUser, Config};
use component::client::from_service;
use component::clock::Clock;
use component::tasks::Tasks;
use kube::Client;

/// Virtual time that a condition may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Virtual pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Seed of every cluster, so that a test does the same thing each time.
const SEED: u64 = 7;

/// A running cluster. `stop` ends its tasks.
#[derive(Clone)]
pub struct TestCluster {
    pub apiserver: Apiserver,
    pub clock: Clock,
    pub tasks: Tasks,
    /// The cluster's administrator.
    pub client: Client,
}

impl TestCluster {
    /// The API server alone, in memory.
    pub async fn apiserver() -> Self {
        let (clock, tasks) = (Clock::start(), Tasks::new());
        let config = Config { seed: Some(SEED), ..Config::default() };
        let apiserver = Apiserver::open(config, clock.clone(), &tasks).await.expect("opens in memory");
        let client = from_service(apiserver.as_user(User::system_masters("admin")));
        Self { apiserver, clock, tasks, client }
    }

    /// The server as seen by the administrator: for requests that no typed client would send.
    pub fn service(&self) -> AsUser {
        self.apiserver.as_user(User::system_masters("admin"))
    }

    /// Waits, in virtual time, until `look` returns `Ok`; panics with what it said last.
    pub async fn eventually<T, E, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, E>>,
        E: Debug,
    {
        let start = tokio::time::Instant::now();
        loop {
            match look().await {
                Ok(seen) => return seen,
                Err(last) if start.elapsed() > PATIENCE => {
                    panic!("{what}: not within {PATIENCE:?}; last: {last:?}")
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Ends all tasks and waits for them.
    pub async fn stop(self) {
        let late = self.tasks.stop().await;
        assert!(late.is_empty(), "tasks that did not end: {late:?}");
    }
}

impl Debug for TestCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCluster").field("apiserver", &self.apiserver).finish_non_exhaustive()
    }
}
