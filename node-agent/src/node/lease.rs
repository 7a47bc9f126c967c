//! The Lease in `kube-node-lease`: the node's heartbeat.
//!
//! Promise: renewed each `PERIOD`, made when it is missing; owned by the Node so that it goes with it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use tracing::warn;

use crate::pods::Node;

const NAMESPACE: &str = "kube-node-lease";

/// After this long without renewal the node counts as lost. Upstream's default.
const DURATION: Duration = Duration::from_secs(40);

/// A quarter of the duration, as upstream.
const PERIOD: Duration = Duration::from_secs(10);

/// Pause after a failed renewal.
const RETRY: Duration = Duration::from_secs(1);

/// Renews until it is dropped. `delay` spreads the nodes of one process over the period.
pub(crate) async fn renew(node: Arc<Node>, node_uid: String, delay: Duration) {
    let api: Api<Lease> = Api::namespaced(node.client.clone(), NAMESPACE);
    let mut failures = 0u32;
    let mut first = true;
    loop {
        match beat(&api, &node, &node_uid).await {
            Ok(()) => {
                failures = 0;
                tokio::time::sleep(if first { PERIOD.saturating_sub(delay) } else { PERIOD }).await;
                first = false;
            }
            Err(error) => {
                failures += 1;
                // The first failure is usual while the cluster comes up.
                if failures > 3 {
                    warn!(node = node.name, error = %error, "cannot renew node lease");
                }
                tokio::time::sleep((RETRY * failures).min(PERIOD)).await;
            }
        }
    }
}

async fn beat(api: &Api<Lease>, node: &Node, node_uid: &str) -> Result<(), kube::Error> {
    let now = MicroTime(node.clock.now());
    let patch = serde_json::json!({"spec": {
        "holderIdentity": node.name, "leaseDurationSeconds": DURATION.as_secs(), "renewTime": now,
    }});
    match api.patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node.name.clone(),
                uid: node_uid.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.name.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            renew_time: Some(now),
            ..Default::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
