//! `/metrics/resources` of the scheduler that leads, shown by the real API server as in an all-in-one.

use component::informers::Informers;
use harness::cluster::TestCluster;
use http::Request;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use scheduler::metrics::resources;
use scheduler::{Config, Surroundings, run_in};
use serde_json::json;

const OF_POD: &str = "kube_pod_resource_request{namespace=\"default\",pod=\"a\",node=\"n\",\
    scheduler=\"default-scheduler\",priority=\"0\",resource=\"cpu\",unit=\"cores\"} 0.25";
const LIMIT: &str = "resource=\"memory\",unit=\"bytes\"} 1073741824.0";

#[tokio::test(start_paused = true)]
async fn the_scheduler_that_leads_tells_what_pods_ask_for() {
    let cluster = TestCluster::apiserver().await;
    let TestCluster { client, clock, tasks, apiserver } = &cluster;
    let text = async || {
        let request = Request::get("/metrics/resources").body(Vec::new()).unwrap();
        client.request_text(request).await.unwrap()
    };
    cluster.create::<ServiceAccount>(json!({"metadata": {"name": "default"}})).await;
    let nodes = Api::<Node>::all(client.clone());
    let room = json!({"cpu": "1", "memory": "8Gi", "pods": "110"});
    let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": room, "capacity": room}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let untainted = Patch::Merge(json!({"spec": {"taints": []}}));
    nodes.patch("n", &PatchParams::default(), &untainted).await.unwrap();
    let resources_of = json!({"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}});
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources_of}]}});
    cluster.create::<Pod>(pod).await;

    let informers = Informers::new(client.clone(), tasks.clone(), clock.clone());
    let surroundings = Surroundings::new(client.clone(), informers.clone(), clock.clone());
    resources::show(apiserver.pages(), &informers, &surroundings.desk);
    assert!(!text().await.contains("pod=\"a\""), "nobody leads");
    let run = run_in(Config::default(), surroundings, tasks.clone());
    tasks.spawn("scheduler", async { run.await.expect("nobody else leads") });
    cluster
        .eventually("the pod is told of on its node", async || {
            let text = text().await;
            if text.contains(OF_POD) && text.contains(LIMIT) { Ok(()) } else { Err(text) }
        })
        .await;

    // One that has ended asks for nothing any more.
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    cluster.api::<Pod>().patch_status("a", &PatchParams::default(), &ended).await.unwrap();
    cluster
        .eventually("the pod is no longer told of", async || {
            let text = text().await;
            if text.contains("pod=\"a\"") { Err(text) } else { Ok(()) }
        })
        .await;
    cluster.stop().await;
}
