//! LIST of 10,000 pods over HTTPS: how fast the bytes come, and what it costs the server in memory.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use harness::bench::{Latencies, Report, directory, reset_peak, usage};
use harness::process::Process;
use harness::wire::{Connection, Wire, create_service_account};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::Instant;

/// Pods there are.
const PODS: usize = 10_000;
/// Clients that create them.
const CREATORS: usize = 50;
/// Lists one after the other.
const LISTS: usize = 30;
/// Clients that list at the same time.
const AT_ONCE: usize = 20;

fn main() -> Result<()> {
    let mut report = Report::new("list");
    let directory = directory();
    let process = Process::start(&["apiserver"], directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&mut report, &process))?;
    report.finish();
    Ok(())
}

async fn measure(report: &mut Report, process: &Process) -> Result<()> {
    let wire = Wire::new(&process.kubeconfig())?;
    let empty = usage(process.id()).memory;
    create_service_account(&mut wire.connect().await?).await?;
    create_pods(&wire).await?;
    let mut connection = wire.connect().await?;
    let first = list(&mut connection).await?;
    let stored = usage(process.id()).memory - empty;
    report.add("bytes of the answer", first as f64 / 1e6, "MB", "", "10,000 pods, defaults filled in");
    report.add(
        "memory for them",
        stored * 1e6 / first as f64,
        "x",
        "kube-apiserver: 5 to 7 x (k/k #142062)",
        "growth of the server's memory over the bytes of the answer",
    );

    reset_peak(process.id());
    let before = usage(process.id());
    let start = Instant::now();
    let mut latencies = Latencies::default();
    for _ in 0..LISTS {
        let began = Instant::now();
        ensure!(list(&mut connection).await? == first, "every list is whole");
        latencies.record(began.elapsed());
    }
    let after = usage(process.id());
    let bytes = (first * LISTS) as f64;
    report.add(
        "list, 1 client",
        bytes / start.elapsed().as_secs_f64() / 1e6,
        "MB/s",
        "",
        "TLS, not compressed",
    );
    report.add_latency("list, 1 client", &latencies, "Kubernetes SLO: p99 <= 30 s", "");
    report.add(
        "CPU of the server",
        (after.cpu - before.cpu) * 1e3 / LISTS as f64,
        "ms a list",
        "",
        "TLS included",
    );
    let extra = after.peak - before.memory;
    report.add(
        "extra memory, 1 client",
        extra,
        "MB",
        "aim: less than the answer",
        "peak above what it was before",
    );

    reset_peak(process.id());
    let before = usage(process.id());
    let mut connections = try_join_all((0..AT_ONCE).map(|_| wire.connect())).await?;
    let start = Instant::now();
    let sizes = try_join_all(connections.iter_mut().map(list)).await?;
    ensure!(sizes.iter().all(|size| *size == first), "every list is whole");
    let rate = (first * AT_ONCE) as f64 / start.elapsed().as_secs_f64() / 1e6;
    report.add(&format!("list, {AT_ONCE} clients at once"), rate, "MB/s", "", "");
    let extra = usage(process.id()).peak - before.memory;
    let note = "peak above what it was before";
    report.add(&format!("extra memory, {AT_ONCE} clients at once"), extra, "MB", "", note);
    Ok(())
}

/// Reads a whole list and answers with its size.
async fn list(connection: &mut Connection) -> Result<usize> {
    let mut body = connection.stream(Method::GET, "/api/v1/pods", Bytes::new()).await?;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(size)
}

async fn create_pods(wire: &Wire) -> Result<()> {
    let creator = async |number: usize| -> Result<()> {
        let mut connection = wire.connect().await?;
        for count in (number..PODS).step_by(CREATORS) {
            let body = Bytes::from(serde_json::to_vec(&pod(count))?);
            connection.send(Method::POST, "/api/v1/namespaces/default/pods", body).await?;
        }
        Ok(())
    };
    try_join_all((0..CREATORS).map(creator)).await?;
    // What the creates left behind is not what a list costs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn pod(number: usize) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": "bench", "shard": format!("s{}", number % 100)}},
        "spec": {"nodeName": format!("node-{}", number % 100), "containers": [{
            "name": "web", "image": "registry.example/web:1.2.3", "ports": [{"containerPort": 8080}],
            "env": [{"name": "MODE", "value": "fast"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        }]},
    })
}
