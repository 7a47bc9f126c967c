//! The shortest walk through the house.

use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, PostParams};
use kube::{Error, ResourceExt};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_fresh_cluster_has_its_namespaces_and_keeps_what_it_is_given() {
    let cluster = TestCluster::apiserver().await;
    let namespaces =
        Api::<Namespace>::all(cluster.client.clone()).list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = namespaces.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);

    let maps = Api::<ConfigMap>::default_namespaced(cluster.client.clone());
    let map = serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    assert_eq!(maps.get("a").await.unwrap(), made);
    match maps.create(&PostParams::default(), &map).await.unwrap_err() {
        Error::Api(status) => assert!(status.is_already_exists(), "{status:?}"),
        error => panic!("{error:?}"),
    }
    cluster.stop().await;
}
