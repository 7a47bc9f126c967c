//! EndpointSlices follow the pods that a Service selects.

use std::collections::BTreeMap;

use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    })
}

/// The ready addresses by pod, once the slices show just these pods.
async fn endpoints(cluster: &TestCluster, expected: &[&str]) -> Vec<EndpointSlice> {
    cluster
        .eventually("the slices show these pods", || async {
            let slices: Vec<EndpointSlice> = cluster.all().await;
            let slices: Vec<_> = slices
                .into_iter()
                .filter(|slice| {
                    slice.labels().get("kubernetes.io/service-name").is_some_and(|name| name == "web")
                })
                .collect();
            let ready: BTreeMap<String, String> = slices
                .iter()
                .flat_map(|slice| slice.endpoints.iter().flatten())
                .filter(|endpoint| endpoint.conditions.as_ref().and_then(|found| found.ready) == Some(true))
                .map(|endpoint| {
                    let target = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
                    (target.unwrap_or_default(), endpoint.addresses.join(","))
                })
                .collect();
            if !slices.is_empty() && ready.keys().eq(expected) { Ok(slices) } else { Err(slices) }
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn slices_follow_the_pods() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    cluster
        .create::<Service>(json!({
            "metadata": {"name": "web", "labels": {"team": "a"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }))
        .await;
    let empty = endpoints(&cluster, &[]).await;
    assert_eq!(empty.len(), 1);
    assert_eq!(empty[0].labels()["team"], "a");
    assert!(empty[0].name_any().starts_with("web-"));
    cluster.create::<Pod>(pod("one")).await;
    cluster.create::<Pod>(pod("two")).await;
    let full = endpoints(&cluster, &["one", "two"]).await;
    assert_eq!(full.len(), 1);
    assert_eq!(full[0].metadata.uid, empty[0].metadata.uid, "the empty slice is used");
    let ports = full[0].ports.clone().unwrap();
    assert_eq!((ports[0].port, ports[0].protocol.as_deref()), (Some(8080), Some("TCP")));
    assert_eq!(full[0].endpoints.as_ref().unwrap()[0].node_name.as_deref(), Some("a"));

    cluster.change::<Pod>("two", json!({"metadata": {"labels": {"app": "other"}}})).await;
    endpoints(&cluster, &["one"]).await;
    cluster.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
    endpoints(&cluster, &[]).await;
    cluster.api::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    cluster
        .eventually("the slices go with the Service", || async {
            let slices: Vec<EndpointSlice> = cluster.all().await;
            let left: Vec<_> =
                slices.into_iter().filter(|slice| slice.name_any().starts_with("web-")).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    cluster.stop().await;
}
