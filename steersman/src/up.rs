//! `steersman up`: the four components and cluster DNS in one process, wired and waited for.
//!
//! Keeps true: `admin.kubeconfig` is written before the `ready` line is printed, and `/readyz` turns ok at that
//! moment; ctrl-C and SIGTERM stop nodes first, then controllers and scheduler, then the API server; a component
//! that cannot go on takes the process down with its name.

use std::time::Duration;

use anyhow::{Context as _, bail};
use component::informers::Informers;
use k8s_openapi::api::core::v1::Node;
use kube::Client;

use crate::args::Up;
use crate::control_plane::{ControlPlane, PodRanges};
use crate::crew::Crew;
use crate::dns;
use crate::machine::{Machine, node_name};
use crate::progress::Progress;

/// How long nodes may take to report Ready.
const NODES_READY: Duration = Duration::from_secs(120);

/// Brings the cluster up, then waits until it is told to stop.
pub(crate) async fn up(args: Up) -> anyhow::Result<()> {
    args.log.init();
    dns::check(&args)?;
    let (progress, crew) = (Progress::start(), Crew::new());
    let outcome = tokio::select! {
        started = start(&args, &progress, &crew) => started.map(Some),
        ended = crew.ended() => ended.map(|()| None),
    };
    let (outcome, machine) = match outcome {
        Ok(Some((machine, mut cluster))) => {
            cluster.announce(&progress);
            (crew.ended().await, machine)
        }
        Ok(None) => (Ok(()), None),
        Err(error) => (Err(error), None),
    };
    crew.nodes.clone().stop().await;
    if let Some(containerd) = machine.and_then(|machine| machine.containerd) {
        containerd.stop().await.context("containerd does not stop")?;
    }
    crew.stop().await;
    outcome
}

async fn start(
    args: &Up,
    progress: &Progress,
    crew: &Crew,
) -> anyhow::Result<(Option<Machine>, ControlPlane)> {
    let (machine, cluster) = if args.nodes_only {
        let cluster = ControlPlane::reach(args, progress, crew).await?;
        let ranges = cluster.pod_ranges(&node_name(args)).await?;
        (Machine::start(args, &ranges, progress, &crew.nodes).await?, cluster)
    } else {
        // That this machine cannot run containers is known before anything listens.
        let machine = Machine::start(args, &PodRanges::default(), progress, &crew.nodes).await?;
        (machine, ControlPlane::reach(args, progress, crew).await?)
    };
    let bridge = machine.as_ref().and_then(|machine| machine.bridge);
    let cluster_dns = dns::start(args, bridge, &cluster, progress, crew).await?;
    if let Some(machine) = &machine {
        machine.join(args, &cluster, cluster_dns, crew).await?;
        ready(&cluster.client, machine.nodes, crew).await?;
        progress.done(&format!("{} Ready", count(machine.nodes)));
    }
    Ok((machine, cluster))
}

async fn ready(client: &Client, wanted: u32, crew: &Crew) -> anyhow::Result<()> {
    let watching = crew.all.child();
    let nodes = Informers::new(client.clone(), watching.clone(), crew.clock.clone()).of::<Node>();
    let all = nodes.until_within(NODES_READY, |nodes| {
        nodes.all().iter().filter(|node| is_ready(node)).count() >= wanted as usize
    });
    let in_time = all.await;
    watching.stop().await;
    if !in_time {
        bail!("{} not Ready within {} s; the log says why", count(wanted), NODES_READY.as_secs());
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn count(nodes: u32) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}
