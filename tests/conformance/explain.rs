//! `explain` against the real API server and scheduler: asked of the scheduler, and computed without it.

use std::sync::Arc;

use component::informers::Informers;
use component::random::Random;
use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use scheduler::explain::report::{By, Explanation, Outcome, Standing};
use scheduler::explain::{Args, Error, answer, show, text};
use scheduler::world::Reader;
use scheduler::{Config, Surroundings, run_in};
use serde_json::{Value, json};

/// An API server with hand-made nodes and pods.
struct Scene {
    cluster: TestCluster,
}

impl Scene {
    async fn new() -> Self {
        let cluster = TestCluster::apiserver().await;
        // No controller is there to make it, and without it no pod is admitted.
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        let accounts = Api::<ServiceAccount>::default_namespaced(cluster.client.clone());
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let scene = Self { cluster };
        scene.node("small", "1", json!({})).await;
        scene
            .node(
                "large",
                "4",
                json!({"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}),
            )
            .await;
        scene
    }

    /// The scheduler, which shows its page in the API server as in an all-in-one.
    fn scheduler(&self) {
        let TestCluster { client, clock, tasks, apiserver } = &self.cluster;
        let informers = Informers::new(client.clone(), tasks.clone(), clock.clone());
        let mut surroundings = Surroundings::new(client.clone(), informers, clock.clone());
        surroundings.random = Random::from_seed(3);
        show(apiserver.pages(), &surroundings.desk, clock);
        let run = run_in(Config::default(), surroundings, tasks.clone());
        tasks.spawn("scheduler", async { run.await.expect("nobody else leads") });
    }

    async fn node(&self, name: &str, cpu: &str, spec: Value) {
        let nodes = Api::<Node>::all(self.cluster.client.clone());
        let resources = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
        let status = json!({"allocatable": resources, "capacity": resources});
        let node = json!({"metadata": {"name": name}, "status": status});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        // A new node is tainted until the node lifecycle controller finds it ready; here we are that controller.
        let spec = if spec["taints"].is_null() { json!({"taints": []}) } else { spec };
        let patch = Patch::Merge(json!({ "spec": spec }));
        nodes.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn pod(&self, name: &str, cpu: &str) {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
        self.cluster.create::<Pod>(pod).await;
    }

    async fn explain(&self, pod: &str, node: Option<&str>) -> Result<Explanation, Error> {
        let args = Args {
            pod: pod.to_owned(),
            namespace: None,
            node: node.map(str::to_owned),
            scheduler_address: None,
            config: None,
            output: Default::default(),
            client: Default::default(),
        };
        let reader = Reader::new(self.cluster.client.clone());
        answer(&args, &reader, "default", &self.cluster.clock).await
    }

    /// The explanation, once it says what is asked for.
    async fn until(&self, pod: &str, node: Option<&str>, is: impl Fn(&Explanation) -> bool) -> Explanation {
        let is = Arc::new(is);
        self.cluster
            .eventually(&format!("explanation of {pod}"), || {
                let is = is.clone();
                async move {
                    let explanation = self.explain(pod, node).await.map_err(|error| format!("{error:?}"))?;
                    if is(&explanation) { Ok(explanation) } else { Err(format!("{explanation:?}")) }
                }
            })
            .await
    }

    /// The newest revision of the store: every write raises it.
    async fn revision(&self) -> String {
        let reader = Reader::new(self.cluster.client.clone());
        let list: Value = reader.get("/api/v1/pods").await.unwrap();
        list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_tells_its_records_and_what_would_help() {
    let scene = Scene::new().await;
    scene.scheduler();
    scene.pod("fits", "500m").await;
    let bound = |explanation: &Explanation| matches!(explanation.standing, Standing::Bound { .. });
    let fits = scene
        .until("pod/fits", None, |explanation| bound(explanation) && explanation.source.by == By::Scheduler)
        .await;
    let decision = fits.decision.clone().expect("a recorded decision");
    assert!(
        matches!(&decision.outcome, Outcome::Placed { node, feasible: 1, .. } if node == "small"),
        "{decision:?}"
    );
    assert_eq!(fits.outlook.ranking.nodes[0].node, "small", "as if it were not there yet");

    scene.pod("waits", "2").await;
    let refused = |explanation: &Explanation| matches!(&explanation.standing, Standing::Waiting { queue, .. } if queue == "unschedulable");
    let waits = scene.until("waits", Some("large"), refused).await;
    let Some(Outcome::Refused { nodes: 2, filters, .. }) = waits.decision.as_ref().map(|it| &it.outcome)
    else {
        panic!("{waits:?}")
    };
    let mut said: Vec<_> = filters.iter().map(|count| (&*count.reason, count.nodes)).collect();
    said.sort_unstable();
    assert_eq!(said, [("Insufficient cpu", 1), ("node(s) had untolerated taint(s)", 1)]);
    let node = waits.node.as_ref().expect("an answer about the node");
    let taint = node.filters.iter().find(|filter| !filter.fits).expect("a refusal");
    assert_eq!(taint.detail.as_deref(), Some("not tolerated: dedicated=gpu:NoSchedule"));
    assert_eq!(
        waits.fixes[0].text,
        "tolerate the taint dedicated=gpu:NoSchedule, or remove it from node large"
    );
    assert_eq!(waits.fixes[1].text, "request at most 0.5 cpu (asks 2)");
    let told = text(&waits);
    assert!(told.contains("WHAT WOULD HELP ON large") && told.contains("attempt 1: refused"), "{told}");

    // What it said helps, does.
    let nodes = Api::<Node>::all(scene.cluster.client.clone());
    let none = Patch::Merge(json!({"spec": {"taints": []}}));
    nodes.patch("large", &PatchParams::default(), &none).await.unwrap();
    let placed = scene.until("waits", None, bound).await;
    let woken: Vec<&str> = placed.history.iter().map(|line| &*line.what).collect();
    assert!(
        woken.iter().any(|line| line.starts_with("NodeUpdateNodeTaint (node large)")),
        "the history says what woke it: {woken:?}"
    );
    assert!(matches!(&placed.standing, Standing::Bound { node } if node == "large"));

    let reader = Reader::new(scene.cluster.client.clone());
    let listing: Value = reader.get("/debug/decisions/default").await.unwrap();
    let listed: Vec<&str> =
        listing["decisions"].as_array().unwrap().iter().map(|it| it["pod"].as_str().unwrap()).collect();
    assert_eq!(listed, ["default/waits", "default/waits", "default/fits"], "the newest first");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_scheduler_it_says_the_same_and_that_records_are_missing() {
    let scene = Scene::new().await;
    scene.pod("waits", "2").await;
    let before = scene.revision().await;
    let waits = scene.explain("waits", None).await.unwrap();
    assert_eq!((waits.source.by, &waits.standing), (By::Client, &Standing::Pending));
    let note = waits.source.note.as_deref().unwrap_or_default();
    assert!(
        note.starts_with("the scheduler could not be asked (lease kube-system/kube-scheduler: "),
        "{note}"
    );
    assert_eq!(
        waits.fixes[0].text,
        "tolerate the taint dedicated=gpu:NoSchedule, or remove it from node large"
    );
    assert!(waits.decision.is_none() && waits.history.is_empty());

    let told = async |pod: &str, node| scene.explain(pod, node).await.unwrap_err().to_string();
    assert_eq!(told("none", None).await, "there is no pod none in namespace default: check the name and -n");
    assert_eq!(told("deployment/x", None).await, "\"deployment/x\" is not a pod: write pod/NAME");
    assert_eq!(told("waits", Some("none")).await, "there is no node none: check --node");
    assert_eq!(scene.revision().await, before, "nothing was written");
    scene.cluster.stop().await;
}
