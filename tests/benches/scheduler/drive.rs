//! One row, end to end: nodes and pods are created through the API, the scheduler binds them, and a watch of our own
//! sees them bound.
//!
//! Phases: the nodes; the pods that are there before (bound by the same scheduler); the measured pods, created by
//! several tasks as fast as the server takes them. The clock runs from the first create to the event of the last
//! bind. A row that takes longer than its limit is cut there, and says how far it came.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use harness::bench::usage;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::{Client, Cluster, SCHEDULER, cpu_of_threads};
use crate::objects::{self, GANG_SIZE, NAMED_NODE, Shape, Template};
use crate::observer::{Observer, THREAD as OBSERVER};
use crate::places;
use crate::rows::Row;

/// Where the pods before stand; with many namespaces the others are `before-N`.
const BEFORE: &str = "sched-0";
/// Where the measured pods stand.
pub(crate) const MEASURED: &str = "sched-1";
/// Where the pods beside them stand.
const BESIDE: &str = "churn";
/// Namespaces where a row asks for many.
const MANY: usize = 100;
/// Tasks that create pods, as many as in upstream's benchmark.
const CREATORS: usize = 30;
/// Pause between two pods that come beside the measured ones, as upstream.
const CHURN_EVERY: Duration = Duration::from_millis(200);
/// The named node takes any number of pods.
const NAMED_PODS: &str = "90000";
const NODE_PODS: &str = "110";
const GROUPS: &str = "/apis/scheduling.k8s.io/v1alpha2";

/// How large a row is run, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub nodes: usize,
    pub measured: usize,
    /// Of the pods before, and again of the measured pods.
    pub limit: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Outcome {
    /// Why the row could not be run, or its places are wrong.
    pub failure: Option<String>,
    /// Pods before: asked for and reached.
    pub before: (usize, usize),
    pub measured: usize,
    pub bound: usize,
    /// Events written when the last pod was seen bound, those of the pods before among them.
    pub events: usize,
    pub seconds: f64,
    /// Milliseconds.
    pub decision: (f64, f64),
    pub decisions: u64,
    /// Seconds the decisions took together.
    pub deciding: f64,
    /// Seconds of CPU: in all, of creating, of the scheduler with its requests, of watching.
    pub cpu: [f64; 4],
    /// MB, at the end and the most.
    pub memory: (f64, f64),
}

/// Runs a row.
pub(crate) async fn run(row: &Row, extent: Extent) -> Outcome {
    let mut outcome = Outcome { measured: extent.measured, ..Outcome::default() };
    if let Err(error) = phases(row, extent, &mut outcome).await {
        outcome.failure = Some(format!("{error:#}"));
    }
    outcome
}

async fn phases(row: &Row, extent: Extent, outcome: &mut Outcome) -> Result<()> {
    let cluster = Cluster::start(row.on_disk).await?;
    let mut client = cluster.client();
    prepare(&mut client, row, extent).await.context("setting up")?;
    before(&client, row, extent, outcome).await.context("pods before")?;
    measure(&cluster, row, extent, outcome).await.context("measured pods")?;
    places::check(&mut client, row).await.context("places")
}

/// Namespaces, nodes and what else must be there.
async fn prepare(client: &mut Client, row: &Row, extent: Extent) -> Result<()> {
    let many = (0..if row.many_namespaces { MANY } else { 0 }).map(|number| format!("before-{number}"));
    for name in [BEFORE, MEASURED, BESIDE].into_iter().map(str::to_owned).chain(many) {
        client.make("/api/v1/namespaces", &objects::namespace(&name)).await?;
        client.make(&format!("/api/v1/namespaces/{name}/serviceaccounts"), &objects::account()).await?;
    }
    client.make("/apis/scheduling.k8s.io/v1/priorityclasses", &objects::priority_class()).await?;
    if row.measured.0 == Shape::OfService {
        client.make(&format!("/api/v1/namespaces/{MEASURED}/services"), &objects::service()).await?;
    }
    if row.measured.0 == Shape::Gang {
        for number in 0..extent.measured.div_ceil(GANG_SIZE) {
            let path = format!("{GROUPS}/namespaces/{MEASURED}/podgroups");
            client.make(&path, &objects::pod_group(number)).await.context("PodGroups")?;
        }
    }
    for number in 0..extent.nodes {
        let zone = (!row.zones.is_empty()).then(|| row.zones[number % row.zones.len()]);
        add_node(client, &objects::node(&format!("node-{number}"), zone, NODE_PODS)).await?;
    }
    if row.measured.0 == Shape::Daemon {
        add_node(client, &objects::node(NAMED_NODE, None, NAMED_PODS)).await?;
    }
    Ok(())
}

async fn add_node(client: &mut Client, node: &Value) -> Result<()> {
    client.make("/api/v1/nodes", node).await?;
    let path = format!("/api/v1/nodes/{}", node["metadata"]["name"].as_str().unwrap_or_default());
    client.stream(Method::PATCH, &path, objects::untainted().to_string().into()).await?;
    Ok(())
}

async fn before(client: &Client, row: &Row, extent: Extent, outcome: &mut Outcome) -> Result<()> {
    let deadline = Instant::now() + extent.limit;
    let observer = Observer::start(client.clone(), "/api/v1/pods", "before")?;
    for (batch, (shape, count)) in row.init(extent.nodes).enumerate() {
        let namespace = |number: usize| match row.many_namespaces {
            true => format!("before-{}", number % MANY),
            false => BEFORE.to_owned(),
        };
        let pods = Pods { template: Template::pod(shape), prefix: format!("before-{batch}"), count };
        pods.create(client, namespace, deadline).await?;
        outcome.before.0 += count;
    }
    outcome.before.1 = observer.reach(outcome.before.0, deadline).await?.0;
    Ok(())
}

async fn measure(cluster: &Cluster, row: &Row, extent: Extent, outcome: &mut Outcome) -> Result<()> {
    let client = cluster.client();
    let observer = Observer::start(client.clone(), &format!("/api/v1/namespaces/{MEASURED}/pods"), OBSERVER)?;
    cluster.decisions.take();
    let cpu = Cpu::now();
    let start = Instant::now();
    let deadline = start + extent.limit;
    let (done, ended) = watch::channel(false);
    let work = async {
        let pods = Pods {
            template: Template::pod(row.measured.0),
            prefix: "measured".to_owned(),
            count: extent.measured,
        };
        pods.create(&client, |_| MEASURED.to_owned(), deadline).await?;
        let reached = observer.reach(extent.measured, deadline).await;
        let _ = done.send(true);
        reached
    };
    let (reached, beside) = futures::future::join(work, churn(client.clone(), row.churn, ended)).await;
    beside.context("pods beside them")?;
    let (bound, at) = reached?;
    let decisions = cluster.decisions.take();
    let usage = usage(std::process::id());
    outcome.bound = bound;
    outcome.seconds = (at - start).as_secs_f64();
    outcome.decision = (decisions.quantile(0.5), decisions.quantile(0.99));
    (outcome.decisions, outcome.deciding) = (decisions.count(), decisions.total.as_secs_f64());
    outcome.cpu = cpu.until_now();
    outcome.memory = (usage.memory, usage.peak);
    outcome.events = count(&mut cluster.client(), "/api/v1/events").await?;
    Ok(())
}

/// How many objects there are.
async fn count(client: &mut Client, path: &str) -> Result<usize> {
    let list: Value = serde_json::from_slice(&client.get(&format!("{path}?limit=1")).await?)?;
    let first = list["items"].as_array().map_or(0, Vec::len);
    let rest = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    Ok(first + usize::try_from(rest)?)
}

/// Creates a pod now and then until told to end.
async fn churn(mut client: Client, shape: Option<Shape>, mut ended: watch::Receiver<bool>) -> Result<()> {
    let Some(shape) = shape else { return Ok(()) };
    let template = Template::pod(shape);
    for number in 0.. {
        let body = template.body(&format!("beside-{number}"), number);
        client.create(&format!("/api/v1/namespaces/{BESIDE}/pods"), body).await?;
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => break,
            () = sleep(CHURN_EVERY) => {}
        }
    }
    Ok(())
}

/// Pods to be created.
struct Pods {
    template: Template,
    prefix: String,
    count: usize,
}

impl Pods {
    /// Creates them, from several tasks, as fast as the server takes them; what is not created at the deadline is left.
    async fn create(
        &self,
        client: &Client,
        namespace: impl Fn(usize) -> String,
        deadline: Instant,
    ) -> Result<()> {
        let next = Cell::new(0);
        let creator = async |mut client: Client| -> Result<()> {
            loop {
                let number = next.get();
                if number >= self.count || Instant::now() >= deadline {
                    return Ok(());
                }
                next.set(number + 1);
                let body: Bytes = self.template.body(&format!("{}-{number}", self.prefix), number);
                client.create(&format!("/api/v1/namespaces/{}/pods", namespace(number)), body).await?;
                // A store in memory answers at once; the next task is to have its turn.
                tokio::task::yield_now().await;
            }
        };
        try_join_all((0..CREATORS).map(|_| creator(client.clone()))).await?;
        Ok(())
    }
}

/// CPU used so far, by who used it.
struct Cpu([f64; 4]);

impl Cpu {
    fn now() -> Self {
        let (all, scheduler, observer) =
            (usage(std::process::id()).cpu, cpu_of_threads(SCHEDULER), cpu_of_threads(OBSERVER));
        Self([all, all - scheduler - observer, scheduler, observer])
    }

    fn until_now(self) -> [f64; 4] {
        let Self(now) = Self::now();
        std::array::from_fn(|at| now[at] - self.0[at])
    }
}
