//! The proxy as a process of its own.
//!
//! Promise: programs what the file of the wish says, and writes beside it what it has programmed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Key;
use node_agent::netlink::{Protocol, Socket, conntrack};
use node_agent::proxy::ipvs::Options;
use node_agent::proxy::model::{Changes, DataPlane, EndpointSlice, Service, plan_service};
use node_agent::proxy::{Backend, Mode, Report, Switching};
use serde_json::json;
use tokio::time::Instant;

use super::pods::PODS;
use super::{SERVICE, WISH};
use crate::cases::settings;
use crate::table::node;

/// Becomes the proxy, if this process was started as one.
pub(super) fn begin() {
    if let Some(wish) = std::env::var_os(WISH) {
        proxy(Path::new(&wish));
    }
}

/// Programs each wish as it comes, until it is killed.
fn proxy(path: &Path) -> ! {
    let mut plane = DataPlane::new(settings());
    let mut changes = Changes::everything();
    let first = std::fs::read_to_string(path).expect("the wish");
    let mode = if first.starts_with("ipvs") { Mode::Ipvs } else { Mode::Nftables };
    let options = Options { grace: Duration::from_secs(600), ..Options::default() };
    let mut backend = Switching::open(mode, &options, &Clock::start()).expect("the back end works here");
    assert!(first.starts_with(backend.name()), "the back end is {}", backend.name());
    let mut conntrack = Socket::open(Protocol::Netfilter).expect("a socket");
    let (mut last, mut again_at) = (String::new(), None);
    loop {
        let wish = std::fs::read_to_string(path).expect("the wish");
        let is_due = again_at.is_some_and(|at| at <= Instant::now());
        if wish == last && !is_due {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let pods: Vec<&str> = wish.split(' ').skip(1).collect();
        plane.set(&Key::new("default", "s"), plan(&pods), &mut changes);
        let report = backend.sync(&plane, &changes).expect("the kernel takes it");
        changes = Changes::default();
        delete_stale(&mut conntrack, &report);
        again_at = report.again_in.map(|after| Instant::now() + after);
        std::fs::write(path.with_file_name("done"), &wish).expect("say that it is done");
        last = wish;
    }
}

fn delete_stale(socket: &mut Socket, report: &Report) {
    if report.stale.is_empty() {
        return;
    }
    let is_stale = |flow: &conntrack::Flow| {
        report.stale.iter().any(|stale| {
            let to = (flow.original.destination, flow.original.destination_port);
            let answers = (flow.reply.source, flow.reply.source_port);
            to == (stale.frontend.address, stale.frontend.port) && stale.endpoint.unwrap_or(to) == answers
        })
    };
    let mut flows = conntrack::flows(socket, false, 17).expect("read flows");
    flows.retain(is_stale);
    conntrack::delete(socket, &flows).expect("delete flows");
}

fn plan(pods: &[&str]) -> node_agent::proxy::model::ServicePlan {
    let address = SERVICE.split(':').next().expect("an address");
    let ports = json!([{"name": "t", "port": 7000, "protocol": "TCP"}, {"name": "u", "port": 7000, "protocol": "UDP"}]);
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports},
    }))
    .expect("a service");
    let endpoints: Vec<_> = PODS
        .iter()
        .filter(|(pod, _)| pods.contains(pod))
        .map(|(pod, address)| {
            let node = if *pod == "far" { "other" } else { "node" };
            json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}})
        })
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    }))
    .expect("a slice");
    plan_service(&service, &[Arc::new(slice)], &node(), &settings())
}
