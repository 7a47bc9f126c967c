//! A Deployment of 3,000 replicas on 100 simulated nodes: until all run, until all are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use harness::bench::{Report, directory, usage};
use harness::process::Process;
use harness::wire::{Connection, Wire};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Pods asked for.
const REPLICAS: u64 = 3000;
/// Nodes they go to.
const NODES: &str = "100";
/// How long all may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn main() -> Result<()> {
    let mut report = Report::new("deployment");
    let directory = directory();
    let process = Process::start(&["up", "--simulated-nodes", NODES], directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&mut report, &process))?;
    report.finish();
    Ok(())
}

async fn measure(report: &mut Report, process: &Process) -> Result<()> {
    let mut connection = Wire::new(&process.kubeconfig())?.connect().await?;
    let before = usage(process.id());
    let start = Instant::now();
    let body = Bytes::from(serde_json::to_vec(&deployment())?);
    connection.send(Method::POST, DEPLOYMENTS, body).await?;
    until(start, &mut connection, &format!("{DEPLOYMENTS}/many"), |deployment| {
        deployment["status"]["readyReplicas"] == REPLICAS
    })
    .await?;
    let took = start.elapsed();
    let after = usage(process.id());
    let reference = "kwok's CI: 10,000 pods <= 60 s; upstream's load test: 10 pods/s";
    report.add(
        "3,000 replicas, all Ready",
        took.as_secs_f64(),
        "s",
        reference,
        "in one process, 100 simulated nodes",
    );
    report.add(
        "pods a second",
        REPLICAS as f64 / took.as_secs_f64(),
        "/s",
        "GKE at 130,000 nodes: 1,000/s",
        "",
    );
    report.add(
        "CPU",
        (after.cpu - before.cpu) * 1e3 / REPLICAS as f64,
        "ms a pod",
        "",
        "the whole control plane",
    );
    report.add("memory", after.memory, "MB", "", "the whole process with 3,000 running pods");
    report.add("memory, peak", after.peak, "MB", "", "");
    spread(report, &get(&mut connection, PODS).await?)?;

    let start = Instant::now();
    connection.send(Method::DELETE, &format!("{DEPLOYMENTS}/many"), Bytes::new()).await?;
    until(start, &mut connection, &format!("{PODS}?limit=1"), |pods| {
        pods["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await?;
    let reference = "kwok's CI: 10,000 pods deleted <= 90 s";
    report.add(
        "3,000 replicas, all gone",
        start.elapsed().as_secs_f64(),
        "s",
        reference,
        "background deletion",
    );
    Ok(())
}

/// How evenly the nodes were used.
fn spread(report: &mut Report, pods: &Value) -> Result<()> {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        *nodes.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default()).or_default() += 1;
    }
    ensure!(!nodes.contains_key(""), "every pod has a node");
    let (least, most) = (nodes.values().min().unwrap_or(&0), nodes.values().max().unwrap_or(&0));
    report.add("nodes used", nodes.len() as f64, "", "100", "");
    report.add("pods on the fullest node", *most as f64, "", "30", &format!("{least} on the emptiest"));
    Ok(())
}

async fn until(
    start: Instant,
    connection: &mut Connection,
    path: &str,
    done: impl Fn(&Value) -> bool,
) -> Result<()> {
    loop {
        let seen = get(connection, path).await?;
        if done(&seen) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{path}: not within {PATIENCE:?}; last: {}", seen["status"]);
        sleep(PAUSE).await;
    }
}

async fn get(connection: &mut Connection, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&connection.send(Method::GET, path, Bytes::new()).await?)?)
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "many"}},
            "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [{
                    "name": "web", "image": "registry.example/web:1",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }]},
            },
        },
    })
}
