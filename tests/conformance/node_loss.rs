//! A node falls silent: it is noticed, tainted, and after their toleration its pods start elsewhere.

use harness::cluster::TestCluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use serde_json::json;

fn on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

fn has_condition(pod: &Pod, kind: &str, status: &str) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == kind && condition.status == status)
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
}

fn ready(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|condition| condition.status.clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_lost_node_start_elsewhere() {
    let (cluster, mut nodes) = TestCluster::with_nodes(&["a", "b"]).await;
    let api = &Api::<Node>::all(cluster.client.clone());
    cluster
        .create::<Deployment>(json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
            },
        }))
        .await;
    cluster
        .eventually("two pods run on each node", || async {
            let pods: Vec<Pod> = cluster.all().await;
            let running = pods.iter().filter(|pod| has_condition(pod, "Ready", "True"));
            let count = |node| running.clone().filter(|pod| on(pod, node)).count();
            if (count("a"), count("b")) == (2, 2) { Ok(()) } else { Err((count("a"), count("b"))) }
        })
        .await;

    let lost = cluster.clock.now();
    nodes.remove(0).fall_silent().await;
    cluster
        .eventually("the node is given up", || async {
            let node = api.get("a").await.unwrap();
            let expected =
                ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
            let found = taints(&node);
            let given_up =
                ready(&node) == "Unknown" && expected.iter().all(|taint| found.iter().any(|t| t == taint));
            if given_up { Ok(()) } else { Err((ready(&node), found)) }
        })
        .await;
    let noticed = cluster.clock.now().duration_since(lost).as_secs();
    // Grace is 50 s, a look is taken every 5 s; the last renewal may have been 10 s before or the first look after.
    assert!((40..=75).contains(&noticed), "noticed after {noticed} s");
    let marked: Vec<Pod> = cluster.all().await;
    assert!(marked.iter().filter(|pod| on(pod, "a")).all(|pod| has_condition(pod, "Ready", "False")));

    cluster
        .eventually("four pods run on the other node", || async {
            let pods: Vec<Pod> = cluster.all().await;
            let moved = pods.iter().filter(|pod| on(pod, "b") && has_condition(pod, "Ready", "True")).count();
            let evicted: Vec<&Pod> = pods.iter().filter(|pod| on(pod, "a")).collect();
            let told = evicted.iter().all(|pod| {
                pod.metadata.deletion_timestamp.is_some() && has_condition(pod, "DisruptionTarget", "True")
            });
            if moved == 4 && told { Ok(()) } else { Err((moved, evicted.len(), told)) }
        })
        .await;
    let moved = cluster.clock.now().duration_since(lost).as_secs();
    assert!((340..=400).contains(&moved), "moved after {moved} s, the toleration is 300 s");

    // The machine is taken away for good: its pods go with it.
    api.delete("a", &kube::api::DeleteParams::default()).await.unwrap();
    cluster
        .eventually("the pods of the lost node are gone", || async {
            let pods: Vec<Pod> = cluster.all().await;
            let left = pods.iter().filter(|pod| on(pod, "a")).count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let (cluster, nodes) = TestCluster::with_nodes(&["a", "b"]).await;
    let api = &Api::<Node>::all(cluster.client.clone());
    cluster
        .create::<Pod>(json!({
            "metadata": {"name": "stays"},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}, "containers": [{"name": "c", "image": "web:1"}]},
        }))
        .await;
    cluster
        .eventually("the pod runs", || async {
            let pod = cluster.api::<Pod>().get("stays").await.unwrap();
            if has_condition(&pod, "Ready", "True") { Ok(()) } else { Err(pod) }
        })
        .await;
    let mut nodes = nodes.into_iter();
    let silent = nodes.next().unwrap();
    let name = silent.name.clone();
    silent.fall_silent().await;
    let is_tainted = |wanted: bool| {
        cluster.eventually("the NoExecute taint is as expected", move || async move {
            let found = taints(&api.get("a").await.unwrap());
            let tainted = found.iter().any(|taint| taint == "node.kubernetes.io/unreachable:NoExecute");
            if tainted == wanted { Ok(()) } else { Err(found) }
        })
    };
    is_tainted(true).await;
    let back = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": cluster.clock.now_seconds(), "lastTransitionTime": cluster.clock.now_seconds()}]}});
    let _keeps_renewing =
        harness::nodes::TestNode::renewing(&cluster.client, &cluster.clock, &cluster.tasks, &name);
    api.patch_status("a", &kube::api::PatchParams::default(), &kube::api::Patch::Strategic(back))
        .await
        .unwrap();
    is_tainted(false).await;
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    let pod = cluster.api::<Pod>().get("stays").await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
    cluster.stop().await;
}
