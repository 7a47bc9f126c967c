//! Watch fan-out: one write, 1,000 watchers with a TLS connection each.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::{join, try_join_all};
use harness::bench::{Latencies, Report, directory, usage};
use harness::process::Process;
use harness::wire::{Connection, Wire};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Watchers, each with a connection of its own.
const WATCHERS: usize = 1000;
/// Writes one at a time, for the latency.
const SINGLE: usize = 40;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(100);
/// Writes one after the other, for the throughput.
const BURST: usize = 300;
/// Writes that no watcher wants.
const FOREIGN: usize = 1000;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn main() -> Result<()> {
    // The server inherits it: both ends of each connection are files.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut report = Report::new("watch");
    let directory = directory();
    let process = Process::start(&["apiserver"], directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&mut report, &process))?;
    report.finish();
    Ok(())
}

async fn measure(report: &mut Report, process: &Process) -> Result<()> {
    let wire = Wire::new(&process.kubeconfig())?;
    let mut writer = wire.connect().await?;
    writer.send(Method::POST, LEASES, body(&json!({"metadata": {"name": "beat"}}))).await?;
    let created = writer.send(Method::POST, MAPS, body(&map(0))).await?;
    let created: Value = serde_json::from_slice(&created)?;
    let from = created["metadata"]["resourceVersion"].as_str().unwrap_or_default();

    let before = usage(process.id());
    let path = format!("{MAPS}?watch=1&resourceVersion={from}");
    let mut connections = try_join_all((0..WATCHERS).map(|_| wire.connect())).await?;
    let watches =
        connections.iter_mut().map(|connection| connection.stream(Method::GET, &path, Bytes::new()));
    let mut watches = try_join_all(watches).await?;
    let each = (usage(process.id()).memory - before.memory) * 1e3 / WATCHERS as f64;
    report.add("memory", each, "KB a watcher", "", "TLS and HTTP connection included");

    single(report, &mut writer, &mut watches).await?;
    burst(report, process, &mut writer, &mut watches).await?;
    foreign(report, process, &mut writer).await
}

/// Writes now and then: how long until each watcher has it?
async fn single(report: &mut Report, writer: &mut Connection, watches: &mut [Incoming]) -> Result<()> {
    let sent = RefCell::new(Vec::new());
    let writing = async {
        for number in 1..=SINGLE {
            sent.borrow_mut().push(Instant::now());
            write(writer, number).await?;
            sleep(PAUSE).await;
        }
        anyhow::Ok(())
    };
    let watching = try_join_all(watches.iter_mut().map(async |watch| {
        let mut latencies = Latencies::default();
        let mut seen = 0;
        while seen < SINGLE {
            let more = events(watch).await?;
            for number in seen..seen + more {
                latencies.record(sent.borrow()[number].elapsed());
            }
            seen += more;
        }
        anyhow::Ok(latencies)
    }));
    let (written, seen) = join(writing, watching).await;
    written?;
    let mut latencies = Latencies::default();
    seen?.iter().for_each(|one| latencies.merge(one));
    report.add_latency(
        "from sending a write to its event at a watcher",
        &latencies,
        "k0smotron: p99 7.5 s under churn (etcd)",
        "the write's fsync and reading 1,000 connections included",
    );
    Ok(())
}

/// Writes without a pause: how many events a second come through?
async fn burst(
    report: &mut Report,
    process: &Process,
    writer: &mut Connection,
    watches: &mut [Incoming],
) -> Result<()> {
    let before = usage(process.id());
    let start = Instant::now();
    let writing = async {
        for number in 1..=BURST {
            write(writer, number).await?;
        }
        anyhow::Ok(())
    };
    let watching = try_join_all(watches.iter_mut().map(async |watch| {
        let mut seen = 0;
        while seen < BURST {
            seen += events(watch).await?;
        }
        ensure!(seen == BURST, "{seen} events for {BURST} writes");
        Ok(())
    }));
    let (written, seen) = join(writing, watching).await;
    written?;
    seen?;
    let delivered = (BURST * WATCHERS) as f64;
    report.add(
        "events delivered",
        delivered / start.elapsed().as_secs_f64(),
        "/s",
        "",
        "300 writes to 1,000 watchers",
    );
    let cpu = (usage(process.id()).cpu - before.cpu) * 1e6 / delivered;
    report.add("CPU of the server", cpu, "us an event", "", "TLS and the writes included");
    Ok(())
}

/// Writes of another kind: the watchers must not cost anything.
async fn foreign(report: &mut Report, process: &Process, writer: &mut Connection) -> Result<()> {
    let before = usage(process.id());
    let start = Instant::now();
    let path = format!("{LEASES}/beat");
    let mut lease: Value = serde_json::from_slice(&writer.send(Method::GET, &path, Bytes::new()).await?)?;
    for number in 0..FOREIGN {
        lease["spec"] = json!({"leaseTransitions": number});
        lease = serde_json::from_slice(&writer.send(Method::PUT, &path, body(&lease)).await?)?;
    }
    report.add(
        "lease renewals beside them",
        FOREIGN as f64 / start.elapsed().as_secs_f64(),
        "/s",
        "",
        "1 client",
    );
    let cpu = (usage(process.id()).cpu - before.cpu) * 1e6 / FOREIGN as f64;
    report.add("CPU of the server", cpu, "us a renewal", "", "no watcher of another kind wakes");
    Ok(())
}

/// How many whole events the next piece of a watch ends.
async fn events(watch: &mut Incoming) -> Result<usize> {
    let frame = watch.frame().await;
    let frame = frame.ok_or_else(|| anyhow::anyhow!("the watch ended"))??;
    Ok(frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count()))
}

async fn write(writer: &mut Connection, number: usize) -> Result<()> {
    writer.send(Method::PUT, &format!("{MAPS}/watched"), body(&map(number))).await?;
    Ok(())
}

/// About 1 KB; different each time, so that it is written.
fn map(number: usize) -> Value {
    let data =
        json!({"text": "x".repeat(700), "number": number.to_string(), "at": format!("{:?}", Instant::now())});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}, "data": data})
}

fn body(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a value encodes").into()
}
