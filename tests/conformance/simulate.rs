//! `simulate` over the real API server: answers as the scheduler then decides, and writes nothing.

use harness::cluster::TestCluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use scheduler::simulate::report::{Origin, Report};
use scheduler::simulate::{Args, answer};
use scheduler::world::Reader;
use serde_json::{Value, json};

fn deployment(name: &str, replicas: u32, cpu: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}}},
    })
}

async fn ask(cluster: &TestCluster, args: Args) -> Report {
    let reader = Reader::new(cluster.client.clone());
    answer(&args, Some(&reader), &cluster.clock).await.unwrap()
}

/// The newest revision of the store: every write raises it.
async fn revision(cluster: &TestCluster) -> u64 {
    let list: Value = Reader::new(cluster.client.clone()).get("/api/v1/pods").await.unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// How many pods of a report find a node.
fn placed(report: &Report) -> usize {
    report.pods.iter().filter(|pod| pod.node.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn says_what_would_happen() {
    let (cluster, nodes) = TestCluster::with_nodes(&["a", "b", "c"]).await;
    cluster.create::<Deployment>(deployment("web", 6, "500m")).await;
    let running = async || {
        let pods = cluster.all::<Pod>().await;
        let on = pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        if on.count() == 6 { Ok(()) } else { Err(pods.len()) }
    };
    cluster.eventually("web runs", running).await;

    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("more.yaml");
    std::fs::write(&manifest, serde_yaml_ng::to_string(&deployment("more", 4, "250m")).unwrap()).unwrap();
    let applied = ask(&cluster, Args { apply: vec![manifest], ..Args::default() }).await;
    assert_eq!((applied.pods.len(), placed(&applied)), (4, 4), "{applied:?}");
    assert_eq!(applied.after.total[0].requested - applied.before.total[0].requested, 1000);

    let drained = ask(&cluster, Args { drain: vec!["a".to_owned()], ..Args::default() }).await;
    let on_a = cluster.all::<Pod>().await;
    let on_a =
        on_a.iter().filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("a"));
    let on_a = on_a.count();
    assert_eq!((drained.pods.len(), placed(&drained)), (on_a, on_a), "{drained:?}");
    assert!(
        drained.pods.iter().all(|pod| pod.origin == Origin::Displaced && pod.node.as_deref() != Some("a")),
        "{drained:?}"
    );

    let lost =
        ask(&cluster, Args { lose: ["a", "b", "c"].map(str::to_owned).into(), ..Args::default() }).await;
    assert_eq!((lost.pods.len(), placed(&lost)), (6, 0));
    let message = lost.pods[0].message.as_deref();
    assert_eq!(message, Some("no nodes available to schedule pods"));

    let grown = ask(&cluster, Args { add_like: Some("a".to_owned()), count: 2, ..Args::default() }).await;
    assert_eq!((grown.before.nodes.len(), grown.after.nodes.len()), (3, 5));

    drop(nodes);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reads_only() {
    // Without controllers and scheduler: whoever writes now is the simulation.
    let cluster = TestCluster::apiserver().await;
    let nodes = Api::<Node>::all(cluster.client.clone());
    let resources = json!({"cpu": "2", "memory": "8Gi", "pods": "110"});
    let node =
        json!({"metadata": {"name": "a"}, "status": {"allocatable": resources, "capacity": resources}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    cluster.create::<Deployment>(deployment("web", 3, "500m")).await;
    let before = revision(&cluster).await;

    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("more.json");
    std::fs::write(&manifest, deployment("more", 2, "250m").to_string()).unwrap();
    let everything = Args {
        apply: vec![manifest],
        drain: vec!["a".to_owned()],
        add: vec![("b".to_owned(), "a".to_owned())],
        ..Args::default()
    };
    let report = ask(&cluster, everything).await;
    assert_eq!(report.pods.len(), 2, "{report:?}");
    assert_eq!(revision(&cluster).await, before, "nothing was written");
    cluster.stop().await;
}
