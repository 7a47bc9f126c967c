//! ComponentStatus: what `kubectl get componentstatuses` asks for.

use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::ComponentStatus;
use kube::api::{Api, ListParams};

#[tokio::test]
async fn components_of_this_process_are_well() {
    let cluster = TestCluster::apiserver().await;
    cluster.apiserver.runs_here("scheduler");
    cluster.apiserver.runs_here("controller-manager");
    let statuses = Api::<ComponentStatus>::all(cluster.client.clone());
    let all = statuses.list(&ListParams::default()).await.unwrap().items;
    let shown = all.iter().map(|one| {
        let condition = &one.conditions.as_deref().unwrap()[0];
        (one.metadata.name.as_deref().unwrap(), condition.type_.as_str(), condition.status.as_str())
    });
    let wanted = ["scheduler", "controller-manager", "etcd-0"].map(|name| (name, "Healthy", "True"));
    assert_eq!(shown.collect::<Vec<_>>(), wanted);
    let one = statuses.list(&ListParams::default().fields("metadata.name=etcd-0")).await.unwrap().items;
    assert_eq!(one.len(), 1);
    assert!(statuses.list(&ListParams::default().labels("a=b")).await.unwrap().items.is_empty());
    let missing = statuses.get("etcd-1").await.unwrap_err().to_string();
    assert!(missing.contains("componentstatuses \"etcd-1\" not found"), "{missing}");
    cluster.stop().await;
}
