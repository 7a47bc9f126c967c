//! The scheduler with an extender: a real little HTTP server beside it, in real time.

mod asking;
mod preempting;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use component::informers::Informers;
use component::metrics::Registry;
use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use scheduler::Surroundings;
use scheduler::config::File;
use scheduler::extender::Extenders;
use serde_json::{Value, json};
use server::Server;

struct Scene {
    cluster: TestCluster,
}

impl Scene {
    async fn new() -> Self {
        let cluster = TestCluster::apiserver().await;
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client.clone());
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        for name in ["n1", "n2", "n3"] {
            let node = json!({"metadata": {"name": name}, "status": {"capacity": room, "allocatable": room}});
            nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
            let ready = kube::api::Patch::Merge(json!({"spec": {"taints": null}}));
            nodes.patch(name, &kube::api::PatchParams::default(), &ready).await.unwrap();
        }
        Self { cluster }
    }

    /// A scheduler with this extender, which manages `example.com/gpu`.
    async fn scheduler(&self, url: &str, extender: Value) {
        let mut extender = extender;
        extender["urlPrefix"] = json!(url);
        extender["managedResources"] = json!([{"name": "example.com/gpu", "ignoredByScheduler": true}]);
        let text = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": false}, "extenders": [extender],
        });
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), text.to_string()).unwrap();
        let file = File::read(path.path()).unwrap();
        let (client, clock) = (self.cluster.client.clone(), self.cluster.clock.clone());
        let tasks = self.cluster.tasks.child();
        let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
        let extenders = Extenders::connect(&file.extenders, &client, &informers).await.unwrap();
        let config = file.config("me").unwrap();
        let measured = Surroundings::measured(client, informers, clock, Registry::new());
        let surroundings = Surroundings { extenders, ..measured };
        self.cluster.tasks.spawn("scheduler", async move {
            scheduler::run_in(config, surroundings, tasks).await.expect("has no lease to lose");
        });
    }

    async fn pod(&self, name: &str, gpus: u32) {
        self.pod_with(name, "100m", gpus, json!({})).await;
    }

    async fn pod_with(&self, name: &str, cpu: &str, gpus: u32, spec: Value) {
        let mut resources = BTreeMap::from([("cpu", cpu.to_owned())]);
        if gpus > 0 {
            resources.insert("example.com/gpu", gpus.to_string());
        }
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": resources, "limits": resources}}]},
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client.clone())
    }

    async fn bound(&self, name: &str) -> String {
        self.cluster
            .eventually(&format!("pod {name} is bound"), async || {
                let pod = self.pods().get(name).await.unwrap();
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or(pod.status)
            })
            .await
    }

    async fn refused(&self, name: &str) -> String {
        self.cluster
            .eventually(&format!("pod {name} is refused"), async || {
                let status = self.pods().get(name).await.unwrap().status.unwrap();
                let mut known = status.conditions.iter().flatten();
                let refused = known.find(|known| known.type_ == "PodScheduled" && known.status == "False");
                refused.and_then(|known| known.message.clone()).ok_or(status)
            })
            .await
    }
}

fn names(nodes: &Value) -> Vec<&str> {
    nodes["Nodes"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_extender_filters_and_scores_while_other_pods_pass() {
    let scene = Scene::new().await;
    let mut server = Server::start(&scene.cluster.tasks, |path, body| match path {
        "/extend/filter" => {
            let kept: Vec<_> = body["Nodes"]["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|node| node["metadata"]["name"] != "n1")
                .collect();
            (200, json!({"Nodes": {"items": kept}, "FailedNodes": {"n1": "n1 is taken"}, "Error": ""}))
        }
        _ => (200, json!([{"Host": "n2", "Score": 1}, {"Host": "n3", "Score": 10}])),
    })
    .await;
    server.may_answer.forget_permits(1000);
    scene.scheduler(&server.url, json!({"filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 5, "httpTimeout": "60s"})).await;
    scene.pod("gpu", 1).await;
    let (path, asked) = server.next().await;
    assert_eq!(path, "/extend/filter");
    assert_eq!(asked["Pod"]["metadata"]["name"], "gpu", "the whole pod");
    assert_eq!(asked["Pod"]["spec"]["containers"][0]["image"], "i");
    let mut sent = names(&asked);
    sent.sort_unstable();
    assert_eq!(sent, ["n1", "n2", "n3"], "the resource is left to the extender");
    assert_eq!(asked["NodeNames"], Value::Null);

    // It takes its time. Others do not wait for it.
    scene.pod("plain", 0).await;
    scene.bound("plain").await;
    assert_eq!(scene.pods().get("gpu").await.unwrap().spec.unwrap().node_name, None);
    server.may_answer.add_permits(1000);
    let (path, asked) = server.next().await;
    assert_eq!((path.as_str(), names(&asked).contains(&"n1")), ("/extend/prioritize", false));
    assert_eq!(scene.bound("gpu").await, "n3");
    scene.cluster.stop().await;
}

#[tokio::test]
async fn what_an_extender_refuses_is_told_and_tried_again() {
    let scene = Scene::new().await;
    let free = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let shown = free.clone();
    let mut server = Server::start(&scene.cluster.tasks, move |_, body| {
        let names = if shown.load(std::sync::atomic::Ordering::SeqCst) {
            body["NodeNames"].clone()
        } else {
            json!([])
        };
        (
            200,
            json!({"nodenames": names, "failedNodes": {"n1": "no gpu is free", "n2": "no gpu is free"},
            "failedAndUnresolvableNodes": {"n3": "n3 has no gpu"}}),
        )
    })
    .await;
    scene.scheduler(&server.url, json!({"filterVerb": "filter", "nodeCacheCapable": true})).await;
    scene.pod("gpu", 1).await;
    let message = scene.refused("gpu").await;
    assert!(message.starts_with("0/3 nodes are available: 1 n3 has no gpu, 2 no gpu is free. "), "{message}");
    let (_, asked) = server.next().await;
    assert_eq!((asked["NodeNames"].as_array().unwrap().len(), &asked["Nodes"]), (3, &Value::Null));
    // Any change may have changed its mind.
    free.store(true, std::sync::atomic::Ordering::SeqCst);
    scene.pod("plain", 0).await;
    scene.bound("gpu").await;
    scene.cluster.stop().await;
}

#[tokio::test]
async fn an_extender_that_fails_fails_the_pod_unless_it_is_ignorable() {
    for ignorable in [false, true] {
        let scene = Scene::new().await;
        let server = Server::start(&scene.cluster.tasks, |_, _| (500, json!({"oops": true}))).await;
        scene.scheduler(&server.url, json!({"filterVerb": "filter", "ignorable": ignorable})).await;
        scene.pod("gpu", 1).await;
        if ignorable {
            scene.bound("gpu").await;
        } else {
            let message = scene.refused("gpu").await;
            assert!(
                message.starts_with("failed to filter with extender at URL http://127.0.0.1:"),
                "{message}"
            );
        }
        scene.cluster.stop().await;
    }
}

#[tokio::test]
async fn an_extender_binds() {
    let scene = Scene::new().await;
    let mut server = Server::start(&scene.cluster.tasks, |_, _| (200, json!({"Error": ""}))).await;
    scene.scheduler(&server.url, json!({"bindVerb": "bind"})).await;
    scene.pod("gpu", 1).await;
    let (path, asked) = server.next().await;
    let uid = scene.pods().get("gpu").await.unwrap().metadata.uid.unwrap();
    assert_eq!(path, "/extend/bind");
    assert_eq!(
        (&asked["PodName"], &asked["PodNamespace"], &asked["PodUID"]),
        (&json!("gpu"), &json!("default"), &json!(uid))
    );
    assert!(asked["Node"].as_str().unwrap().starts_with('n'));
    scene.pod("plain", 0).await;
    scene.bound("plain").await;
    assert_eq!(
        scene.pods().get("gpu").await.unwrap().spec.unwrap().node_name,
        None,
        "binding it was left to the extender"
    );
    scene.cluster.stop().await;
}
