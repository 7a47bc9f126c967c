//! The cluster that is measured: the real API server and scheduler in this process, each on threads of its own, so
//! that the system can say how much CPU each side took.
//!
//! Requests of the benchmark go straight into the server's service. The scheduler's threads also do the server's
//! work for the scheduler's requests, as a call into the server runs where it is made.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use apiserver::authn::User;
use apiserver::http::body::Body;
use apiserver::{Apiserver, AsUser, Config};
use bytes::Bytes;
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::tasks::Tasks;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use scheduler::Surroundings;
use scheduler::metrics::Metrics;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

use crate::decisions::Decisions;

/// Threads of the scheduler: as many as the smallest machine has cores.
const SCHEDULER_THREADS: usize = 2;
/// What its threads are called; the system keeps 15 letters.
pub(crate) const SCHEDULER: &str = "scheduler";

/// A running cluster.
pub(crate) struct Cluster {
    server: AsUser,
    tasks: Tasks,
    /// What the scheduler says of its decisions.
    pub decisions: Arc<Decisions>,
    /// The scheduler's threads.
    threads: Option<Runtime>,
    /// Where the store's log is, if anywhere.
    _directory: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts the server, and the scheduler beside it.
    pub(crate) async fn start(on_disk: bool) -> Result<Self> {
        let directory = on_disk.then(harness::bench::directory);
        let data_dir = directory.as_ref().map(|directory| directory.path().to_owned());
        let (clock, tasks) = (Clock::start(), Tasks::new());
        let apiserver =
            Apiserver::open(Config { data_dir, ..Config::default() }, clock.clone(), &tasks).await?;
        let threads = Builder::new_multi_thread()
            .worker_threads(SCHEDULER_THREADS)
            .thread_name(SCHEDULER)
            .enable_all()
            .build()?;
        let decisions = Arc::new(Decisions::default());
        {
            let _on_its_threads = threads.enter();
            let user = User::new("system:kube-scheduler", ["system:authenticated"]);
            let client = component::client::from_service(apiserver.as_user(user));
            let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
            let told = decisions.clone();
            let metrics = Metrics::new(&Registry::new()).telling(move |took| told.add(took));
            let surroundings = Surroundings { metrics, ..Surroundings::new(client, informers, clock) };
            let work = scheduler::run_in(scheduler::Config::default(), surroundings, tasks.clone());
            tasks.spawn("scheduler", async move {
                // Without a lease nothing can be lost.
                let _ = work.await;
            });
        }
        let server = apiserver.as_user(User::system_masters("benchmark"));
        Ok(Self { server, tasks, decisions, threads: Some(threads), _directory: directory })
    }

    /// A client of the server; any number of them.
    pub(crate) fn client(&self) -> Client {
        Client(self.server.clone())
    }
}

impl Drop for Cluster {
    /// Ends it without waiting for what nobody measures.
    fn drop(&mut self) {
        self.tasks.tell_to_stop();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Sends requests into the server.
#[derive(Clone, Debug)]
pub(crate) struct Client(AsUser);

impl Client {
    /// Sends a request and leaves the body of the answer to the caller.
    pub(crate) async fn stream(&mut self, method: Method, path: &str, body: Bytes) -> Result<Body> {
        let content =
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let answer = self.0.call(request.body(Full::new(body))?).await?;
        let (status, body) = (answer.status(), answer.into_body());
        if status.is_success() {
            return Ok(body);
        }
        let text = body.collect().await?.to_bytes();
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&text))
    }

    /// Creates an object at this path.
    pub(crate) async fn create(&mut self, path: &str, body: Bytes) -> Result<()> {
        self.stream(Method::POST, path, body).await?;
        Ok(())
    }

    /// Creates an object, given as a value.
    pub(crate) async fn make(&mut self, path: &str, object: &Value) -> Result<()> {
        self.create(path, object.to_string().into()).await
    }

    /// Reads what is at this path.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        let body = self.stream(Method::GET, path, Bytes::new()).await?;
        Ok(body.collect().await.context("a whole body")?.to_bytes())
    }
}

/// Seconds of CPU that threads of this name have used, those that live.
pub(crate) fn cpu_of_threads(name: &str) -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let (_, thread) = before.split_once('(')?;
        let tick = |at: usize| after.split_whitespace().nth(at)?.parse::<f64>().ok();
        (thread == name).then(|| Some(tick(11)? + tick(12)?))?
    });
    ticks.sum::<f64>() / harness::bench::TICKS
}
