//! Deletion of owners: in the background, in the foreground, and with dependents let go.

use harness::cluster::TestCluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

fn deployment(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

/// A cluster with a running Deployment of two pods.
async fn running() -> TestCluster {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    cluster.create::<Deployment>(deployment(2)).await;
    cluster
        .eventually("two pods are ready", || async {
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let ready = web.status.and_then(|status| status.ready_replicas);
            if ready == Some(2) { Ok(()) } else { Err(ready) }
        })
        .await;
    cluster
}

async fn delete(cluster: &TestCluster, policy: PropagationPolicy) {
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    cluster.api::<Deployment>().delete("web", &params).await.unwrap();
}

/// How many Deployments, ReplicaSets and pods there are.
async fn counts(cluster: &TestCluster) -> (usize, usize, usize) {
    let deployments = cluster.all::<Deployment>().await.len();
    (deployments, cluster.all::<ReplicaSet>().await.len(), cluster.all::<Pod>().await.len())
}

async fn until(cluster: &TestCluster, expected: (usize, usize, usize), look: impl Fn((usize, usize, usize))) {
    cluster
        .eventually("dependents are as expected", || async {
            let found = counts(cluster).await;
            look(found);
            if found == expected { Ok(()) } else { Err(found) }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn background_deletion_takes_the_dependents_later() {
    let cluster = running().await;
    delete(&cluster, PropagationPolicy::Background).await;
    assert_eq!(cluster.all::<Deployment>().await.len(), 0, "the owner goes first");
    until(&cluster, (0, 0, 0), |_| {}).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn foreground_deletion_takes_the_owner_last() {
    let cluster = running().await;
    delete(&cluster, PropagationPolicy::Foreground).await;
    let going = cluster.api::<Deployment>().get("web").await.unwrap();
    assert_eq!(going.finalizers(), ["foregroundDeletion"]);
    until(&cluster, (0, 0, 0), |(deployments, sets, pods)| {
        assert!(deployments >= sets && (sets > 0 || pods == 0), "{deployments} {sets} {pods}");
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn orphaning_lets_the_dependents_go() {
    let cluster = running().await;
    delete(&cluster, PropagationPolicy::Orphan).await;
    until(&cluster, (0, 1, 2), |(_, sets, pods)| assert_eq!((sets, pods), (1, 2))).await;
    let set = cluster.all::<ReplicaSet>().await.remove(0);
    assert!(set.owner_references().is_empty());
    // The same Deployment again takes the set back instead of making another.
    cluster.create::<Deployment>(deployment(2)).await;
    cluster
        .eventually("the set is adopted", || async {
            let sets: Vec<ReplicaSet> = cluster.all().await;
            let adopted = sets.len() == 1 && sets[0].owner_references().len() == 1;
            if adopted { Ok(()) } else { Err(sets) }
        })
        .await;
    assert_eq!(counts(&cluster).await, (1, 1, 2));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_loss_of_all_owners_is_deadly() {
    let (cluster, _nodes) = TestCluster::with_nodes(&[]).await;
    let mut owners = Vec::new();
    for name in ["one", "two"] {
        let map: ConfigMap = cluster.create(json!({"metadata": {"name": name}})).await;
        owners.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map.metadata.uid}));
    }
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "child", "ownerReferences": owners}})).await;
    let never = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "no-such-uid"}]);
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "stray", "ownerReferences": never}})).await;
    let maps = cluster.api::<ConfigMap>();
    let gone = |name: &'static str| {
        let (cluster, maps) = (&cluster, &maps);
        cluster.eventually("the map is gone", move || async move {
            match maps.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(map) => Err(map),
            }
        })
    };
    gone("stray").await;
    let reader = &maps;
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    cluster
        .eventually("the lost owner is no longer named", || async move {
            let child = reader.get("child").await.unwrap();
            if child.owner_references().len() == 1 { Ok(()) } else { Err(child) }
        })
        .await;
    maps.delete("two", &DeleteParams::default()).await.unwrap();
    gone("child").await;
    cluster.stop().await;
}
