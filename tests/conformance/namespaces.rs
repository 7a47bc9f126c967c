//! What every namespace gets, and how it goes.

use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

async fn namespace(cluster: &TestCluster, name: &str) -> Api<Namespace> {
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    let made = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &made).await.unwrap();
    namespaces
}

#[tokio::test(start_paused = true)]
async fn each_gets_an_account_and_the_root_certificate_and_keeps_them() {
    let (cluster, _nodes) = TestCluster::with_nodes(&[]).await;
    namespace(&cluster, "team").await;
    let accounts = &Api::<ServiceAccount>::namespaced(cluster.client.clone(), "team");
    let maps = &Api::<ConfigMap>::namespaced(cluster.client.clone(), "team");
    let complete = || {
        cluster.eventually("account and certificate are there", move || async move {
            let account = accounts.get_opt("default").await.unwrap();
            let map = maps.get_opt("kube-root-ca.crt").await.unwrap().and_then(|map| map.data);
            let certificate = map.and_then(|data| data.get("ca.crt").cloned());
            match (account, certificate.as_deref()) {
                (Some(_), Some("test CA")) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
    };
    complete().await;
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    let edit = Patch::Merge(json!({"data": {"ca.crt": "forged"}}));
    maps.patch("kube-root-ca.crt", &PatchParams::default(), &edit).await.unwrap();
    complete().await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deletion_empties_it_pods_first() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    let namespaces = &namespace(&cluster, "team").await;
    let client = &cluster.client;
    let pods = &Api::<Pod>::namespaced(client.clone(), "team");
    let maps = &Api::<ConfigMap>::namespaced(client.clone(), "team");
    let account = Api::<ServiceAccount>::namespaced(client.clone(), "team");
    cluster.eventually("the account is there", || async { account.get("default").await.map(|_| ()) }).await;
    let pod = json!({
        "metadata": {"name": "slow"},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "web:1"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(held).unwrap()).await.unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), "team");
    let secret = serde_json::from_value(json!({"metadata": {"name": "s"}})).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();

    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let refused = secrets.create(&PostParams::default(), &secret).await.unwrap_err();
    assert!(refused.to_string().contains("because it is being terminated"), "{refused}");
    cluster
        .eventually("the namespace says what holds it", || async {
            if pods.get_opt("slow").await.unwrap().is_some() {
                assert!(secrets.get_opt("s").await.unwrap().is_some(), "something went before the pods");
            }
            let status = namespaces.get("team").await.unwrap().status.unwrap();
            let holds = |message: &str| message.contains("example.com/hold in 1 resource instances");
            let conditions = status.conditions.iter().flatten();
            let told = conditions.into_iter().any(|condition| {
                condition.type_ == "NamespaceFinalizersRemaining"
                    && condition.message.as_deref().is_some_and(holds)
            });
            if told { Ok(()) } else { Err(status) }
        })
        .await;
    assert!(secrets.get_opt("s").await.unwrap().is_none());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    cluster
        .eventually("the namespace is gone", || async {
            match namespaces.get_opt("team").await.unwrap() {
                None => Ok(()),
                Some(namespace) => Err(namespace),
            }
        })
        .await;
    cluster.stop().await;
}
