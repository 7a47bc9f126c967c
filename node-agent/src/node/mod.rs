//! The Node object and the Lease: what the cluster knows of this machine.
//!
//! Promise: the Node exists while the agent runs (made again if somebody deletes it), its status is computed each
//! `STATUS_PERIOD` and written when it changed or `REPORT_PERIOD` passed, the Lease is renewed each `LEASE_PERIOD`.
//! Writes the Node's status and the Lease; of the Node's rest, once it exists, only its own labels and an absent pod range. Upstream: `kubelet_node_status.go`.

mod facts;
mod lease;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::Type;
use component::informers::{Change, Informer, Informers, Selection};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Deserialize;
use tracing::{info, warn};

use crate::pods::Node;
pub(crate) use facts::{Capacity, Machine, disk, node_address, resolver};
pub(crate) use lease::renew;

/// How often the status is computed.
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// How often it is written although nothing changed.
const REPORT_PERIOD: Duration = Duration::from_secs(300);

/// First and longest pause between tries to register.
const REGISTER_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(7));

/// What the agent reads of Nodes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeView {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeViewSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct NodeViewSpec {
    #[serde(rename = "podCIDR", default)]
    pod_cidr: Option<String>,
}

objects::view_of!(NodeView, "Node", "v1", "nodes", ClusterResourceScope);

/// The watch of these nodes' objects: one for all of a process.
pub(crate) fn watch(informers: &Informers, nodes: &[String]) -> Informer<NodeView> {
    match nodes {
        [one] => {
            let fields = Some(format!("metadata.name={one}"));
            informers.selected(Selection { fields, ..Default::default() })
        }
        _ => informers.of(),
    }
}

/// Makes the Node exist; gives its uid. Tries until it works.
pub(crate) async fn register(node: &Node, machine: &Machine, port: u16) -> String {
    let mut pause = REGISTER_BACKOFF.0;
    loop {
        match try_register(node, machine, port).await {
            Ok(uid) => return uid,
            Err(error) => {
                warn!(node = node.name, error = %error, "cannot register node");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(REGISTER_BACKOFF.1);
            }
        }
    }
}

async fn try_register(node: &Node, machine: &Machine, port: u16) -> Result<String, kube::Error> {
    let api: Api<core::Node> = Api::all(node.client.clone());
    let wanted = core::Node {
        metadata: ObjectMeta {
            name: Some(node.name.clone()),
            labels: Some(labels(node)),
            annotations: Some(
                [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())]
                    .into(),
            ),
            ..Default::default()
        },
        spec: Some(core::NodeSpec {
            taints: Some(node.config.taints.clone()).filter(|taints| !taints.is_empty()),
            pod_cidr: node.config.pod_cidr.clone(),
            pod_cidrs: node.config.pod_cidr.clone().map(|range| vec![range]),
            ..Default::default()
        }),
        status: Some(status::status(node, machine, port, &[]).await),
    };
    let found = match api.create(&PostParams::default(), &wanted).await {
        Ok(made) => {
            info!(node = node.name, "node registered");
            made
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let found = api.get(&node.name).await?;
            bring_labels(node, &api, &found).await?;
            bring_pod_cidr(node, &api, &found).await?;
            found
        }
        Err(error) => return Err(error),
    };
    *node.labels.lock() = found.metadata.labels.clone().unwrap_or_default();
    Ok(found.metadata.uid.unwrap_or_default())
}

/// Labels that the agent owns are put right on a Node that exists already.
async fn bring_labels(node: &Node, api: &Api<core::Node>, found: &core::Node) -> Result<(), kube::Error> {
    let have = found.metadata.labels.clone().unwrap_or_default();
    let missing: BTreeMap<_, _> =
        labels(node).into_iter().filter(|(key, value)| have.get(key) != Some(value)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let patch = serde_json::json!({"metadata": {"labels": missing}});
    api.patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// A range is written once: upstream forbids to change one.
async fn bring_pod_cidr(node: &Node, api: &Api<core::Node>, found: &core::Node) -> Result<(), kube::Error> {
    let Some(own) = &node.config.pod_cidr else { return Ok(()) };
    match found.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()).filter(|has| !has.is_empty()) {
        Some(has) if has == own => Ok(()),
        Some(has) => {
            warn!(node = node.name, has, runtime = own, "the Node has another pod range than its runtime");
            Ok(())
        }
        None => {
            let patch = serde_json::json!({"spec": {"podCIDR": own, "podCIDRs": [own]}});
            api.patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
    }
}

fn labels(node: &Node) -> BTreeMap<String, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let own = [
        ("kubernetes.io/hostname", node.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.chain(node.config.labels.clone()).collect()
}

/// Keeps the Node's status true. Runs until it is dropped.
pub(crate) async fn keep_status(node: Arc<Node>, machine: Machine, port: u16, watch: Informer<NodeView>) {
    let about = node_reference(&node.name);
    node.recorder.event(&about, Type::Normal, "Starting", "Starting kubelet.");
    let mut changes = watch.changes();
    let mut posted: Option<(core::NodeStatus, tokio::time::Instant)> = None;
    let mut cidr = None;
    loop {
        if posted.as_ref().is_none_or(|(_, at)| at.elapsed() >= REPORT_PERIOD) {
            posted = None;
        }
        posted = match post(&node, &machine, port, posted.as_ref().map(|(status, _)| status)).await {
            Ok(Some(status)) => Some((status, tokio::time::Instant::now())),
            Ok(None) => posted,
            Err(error) => {
                warn!(node = node.name, error = %error, "cannot write node status");
                posted
            }
        };
        let mut next = std::pin::pin!(tokio::time::sleep(STATUS_PERIOD));
        loop {
            tokio::select! {
                () = &mut next => break,
                change = changes.next() => {
                    if change.object().metadata.name.as_deref() != Some(node.name.as_str()) {
                        continue;
                    }
                    if let Change::Deleted(_) = change {
                        register(&node, &machine, port).await;
                        posted = None;
                        break;
                    }
                    take_over(&node, change.object(), &mut cidr).await;
                }
            }
        }
    }
}

/// What the cluster decided about the node: labels, pod CIDR.
async fn take_over(node: &Node, view: &NodeView, cidr: &mut Option<String>) {
    *node.labels.lock() = view.metadata.labels.clone().unwrap_or_default();
    let assigned = view.spec.pod_cidr.as_ref().filter(|assigned| !assigned.is_empty());
    if let Some(assigned) = assigned
        && cidr.as_ref() != Some(assigned)
    {
        match node.runtime.set_pod_cidr(assigned).await {
            Ok(()) => *cidr = Some(assigned.clone()),
            Err(error) => warn!(node = node.name, cidr = assigned, error = %error, "cannot set pod CIDR"),
        }
    }
}

/// Writes the status if it differs from the one posted last; gives what was written.
async fn post(
    node: &Node,
    machine: &Machine,
    port: u16,
    posted: Option<&core::NodeStatus>,
) -> Result<Option<core::NodeStatus>, kube::Error> {
    let conditions = posted.and_then(|posted| posted.conditions.clone()).unwrap_or_default();
    let now = status::status(node, machine, port, &conditions).await;
    if posted.is_some_and(|posted| status::same(posted, &now)) {
        return Ok(None);
    }
    let api: Api<core::Node> = Api::all(node.client.clone());
    let current = match api.get(&node.name).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            try_register(node, machine, port).await?;
            api.get(&node.name).await?
        }
        other => other?,
    };
    let old = current.status.unwrap_or_default();
    let conditions = old.conditions.clone().unwrap_or_default();
    let new = status::status(node, machine, port, &conditions).await;
    tell_transitions(node, &conditions, new.conditions.as_deref().unwrap_or_default());
    let patch = serde_json::json!({ "status": new });
    api.patch_status(&node.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(Some(new))
}

fn tell_transitions(node: &Node, old: &[core::NodeCondition], new: &[core::NodeCondition]) {
    for condition in new {
        let before = old.iter().find(|old| old.type_ == condition.type_).map(|old| old.status.as_str());
        if before == Some(condition.status.as_str()) {
            continue;
        }
        let reason = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") => "NodeReady",
            ("Ready", _) => "NodeNotReady",
            ("MemoryPressure", "False") => "NodeHasSufficientMemory",
            ("MemoryPressure", _) => "NodeHasInsufficientMemory",
            ("DiskPressure", "False") => "NodeHasNoDiskPressure",
            ("DiskPressure", _) => "NodeHasDiskPressure",
            ("PIDPressure", "False") => "NodeHasSufficientPID",
            _ => "NodeHasInsufficientPID",
        };
        let text = format!("Node {} status is now: {reason}", node.name);
        node.recorder.event(&node_reference(&node.name), Type::Normal, reason, text);
    }
}

/// Upstream uses the name in the place of the uid: the events exist before the object does.
fn node_reference(name: &str) -> core::ObjectReference {
    core::ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..Default::default()
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
