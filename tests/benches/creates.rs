//! Durable creates: how many objects a second the API server takes over HTTPS, each on disk before it is answered.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::future::try_join_all;
use harness::bench::{Latencies, Report, Usage, usage};
use harness::process::Process;
use harness::wire::{Connection, Wire, create_service_account};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(5);
/// How long the server is warmed up.
const WARM_UP: Duration = Duration::from_secs(1);
/// Bytes of text in a ConfigMap, so that it is about 1 KB in all.
const TEXT: usize = 700;

fn main() -> Result<()> {
    let mut report = Report::new("creates");
    let directory = harness::bench::directory();
    let process = Process::start(&["apiserver"], directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&mut report, &process))?;
    report.finish();
    Ok(())
}

async fn measure(report: &mut Report, process: &Process) -> Result<()> {
    let wire = Wire::new(&process.kubeconfig())?;
    create_service_account(&mut wire.connect().await?).await?;
    load(&wire, "warm", 8, WARM_UP, config_map).await?;
    for (kind, clients, make) in [
        ("ConfigMap of 1 KB", 1, config_map as Make),
        ("ConfigMap of 1 KB", 100, config_map as Make),
        ("Pod", 1, pod as Make),
        ("Pod", 100, pod as Make),
    ] {
        let before = usage(process.id());
        let run =
            load(&wire, &format!("{}-{clients}", kind[..3].to_lowercase()), clients, LOAD, make).await?;
        describe(report, kind, clients, &run, before, usage(process.id()));
    }
    Ok(())
}

fn describe(report: &mut Report, kind: &str, clients: usize, run: &Run, before: Usage, after: Usage) {
    let created = run.latencies.count() as f64;
    let rate = created / run.took.as_secs_f64();
    let reference = match clients {
        1 => "etcd 3.6: 583 puts/s of 256 B on 3 x 8 cores",
        _ => "aim: 20,000/s; etcd 3.6: 44,000-50,000 puts/s with 1,000 clients",
    };
    let name = format!("creates of a {kind}, {clients} client{}", if clients == 1 { "" } else { "s" });
    report.add(&name, rate, "/s", reference, "HTTPS, client certificate, fsync before the answer");
    report.add_latency(&name, &run.latencies, "Kubernetes SLO: p99 of a write <= 1 s", "");
    let cpu = (after.cpu - before.cpu) * 1e6 / created;
    report.add(
        &format!("{name}, CPU of the server"),
        cpu,
        "us each",
        "",
        "user and system, TLS and fsync included",
    );
    let memory = (after.memory - before.memory) * 1e6 / created;
    report.add(
        &format!("{name}, memory"),
        memory,
        "bytes each",
        "",
        "growth of the server's resident memory",
    );
}

type Make = fn(&str) -> serde_json::Value;

struct Run {
    latencies: Latencies,
    took: Duration,
}

/// Creates objects from many clients until the time is over.
async fn load(wire: &Wire, name: &str, clients: usize, time: Duration, make: Make) -> Result<Run> {
    let connections = try_join_all((0..clients).map(|_| wire.connect())).await?;
    let start = Instant::now();
    let client = async |number: usize, mut connection: Connection| -> Result<Latencies> {
        let mut latencies = Latencies::default();
        for count in 0.. {
            let object = make(&format!("{name}-{number}-{count}"));
            let path = match object["kind"].as_str() {
                Some("Pod") => "/api/v1/namespaces/default/pods",
                _ => "/api/v1/namespaces/default/configmaps",
            };
            let body = Bytes::from(serde_json::to_vec(&object)?);
            let began = Instant::now();
            connection.send(Method::POST, path, body).await?;
            latencies.record(began.elapsed());
            if start.elapsed() > time {
                break;
            }
        }
        Ok(latencies)
    };
    let all = try_join_all(connections.into_iter().enumerate().map(|(number, c)| client(number, c))).await?;
    let took = start.elapsed();
    let mut latencies = Latencies::default();
    all.iter().for_each(|one| latencies.merge(one));
    Ok(Run { latencies, took })
}

fn config_map(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "bench"}},
        "data": {"text": "x".repeat(TEXT)},
    })
}

fn pod(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "web"}},
        "spec": {"containers": [{
            "name": "web", "image": "registry.example/web:1.2.3", "ports": [{"containerPort": 8080}],
            "env": [{"name": "MODE", "value": "fast"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        }]},
    })
}
