//! The scheduler beside the API server: what it writes, what it says, what wakes it, and who may work.

use std::time::Duration;

use component::informers::Informers;
use component::leader::LeaderConfig;
use component::metrics::Registry;
use component::random::Random;
use harness::cluster::TestCluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scheduler::{Config, Surroundings};
use serde_json::{Value, json};

const SEED: u64 = 3;

/// A cluster with schedulers and hand-made nodes; no controller and no node agent.
pub(crate) struct Scene {
    pub(crate) cluster: TestCluster,
}

impl Scene {
    /// With one scheduler, `default-scheduler`.
    pub(crate) async fn new() -> Self {
        let scene = Self::without_scheduler().await;
        scene.scheduler(Config { seed: Some(SEED), ..Config::default() });
        scene
    }

    pub(crate) async fn without_scheduler() -> Self {
        let cluster = TestCluster::apiserver().await;
        // No controller is there to make it, and without it no pod is admitted.
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        let accounts = Api::<ServiceAccount>::default_namespaced(cluster.client.clone());
        accounts.create(&PostParams::default(), &account).await.unwrap();
        Self { cluster }
    }

    pub(crate) fn scheduler(&self, config: Config) -> component::tasks::Tasks {
        let (client, clock) = (self.cluster.client.clone(), self.cluster.clock.clone());
        let tasks = self.cluster.tasks.child();
        let own = tasks.clone();
        tasks.spawn("scheduler", async move {
            scheduler::run(config, client, clock, own).await.expect("keeps its lease");
        });
        tasks
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.cluster.client.clone())
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client.clone())
    }

    /// Makes a node; `spec` and labels as given, two cores.
    pub(crate) async fn node(&self, name: &str, labels: Value, spec: Value) {
        let resources = json!({"cpu": "2", "memory": "8Gi", "pods": "110"});
        let node = json!({
            "metadata": {"name": name, "labels": labels}, "spec": &spec,
            "status": {"capacity": resources, "allocatable": resources, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.nodes().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        // A new node is tainted until the node lifecycle controller finds it ready; here we are that controller.
        let taints = spec.get("taints").cloned().unwrap_or_default();
        self.patch_node(name, json!({"spec": {"taints": taints}})).await;
    }

    /// Makes a pod with one container that asks for `cpu`; `spec` is laid over it.
    pub(crate) async fn pod(&self, name: &str, cpu: &str, spec: Value) {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]},
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// The node a pod is bound to, once it is.
    pub(crate) async fn bound(&self, name: &str) -> String {
        let pods = self.pods();
        self.cluster
            .eventually(&format!("pod {name} is bound"), async || {
                let pod = pods.get(name).await.unwrap();
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or(pod.status)
            })
            .await
    }

    /// The reason and message of PodScheduled=False, once it is there.
    pub(crate) async fn refused(&self, name: &str) -> (String, String) {
        let pods = self.pods();
        self.cluster
            .eventually(&format!("pod {name} is refused"), async || {
                let status = pods.get(name).await.unwrap().status.unwrap();
                let conditions = status.conditions.iter().flatten();
                let refused = conditions
                    .into_iter()
                    .find(|known| known.type_ == "PodScheduled" && known.status == "False");
                let refused = refused.map(|known| (known.reason.clone(), known.message.clone()));
                match refused {
                    Some((Some(reason), Some(message))) => Ok((reason, message)),
                    _ => Err(status),
                }
            })
            .await
    }

    /// The message of an event about a pod, once it is there.
    pub(crate) async fn told(&self, pod: &str, reason: &str) -> Event {
        let events = Api::<Event>::default_namespaced(self.cluster.client.clone());
        self.cluster
            .eventually(&format!("event {reason} about {pod}"), async || {
                let all = events.list(&ListParams::default()).await.unwrap().items;
                let about = |event: &&Event| {
                    event.involved_object.name.as_deref() == Some(pod)
                        && event.reason.as_deref() == Some(reason)
                };
                all.iter().find(about).cloned().ok_or(all)
            })
            .await
    }

    async fn declare(&self, node: &str, features: &Value) {
        let patch = Patch::Merge(json!({"status": {"declaredFeatures": features}}));
        self.nodes().patch_status(node, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn patch_node(&self, name: &str, patch: Value) {
        self.nodes().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn binds_pods_and_says_so() {
    let scene = Scene::new().await;
    scene.node("n1", json!({}), json!({})).await;
    scene.node("n2", json!({}), json!({})).await;
    for name in ["a", "b", "c", "d"] {
        scene.pod(name, "900m", json!({})).await;
    }
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        nodes.push(scene.bound(name).await);
    }
    nodes.sort();
    assert_eq!(nodes, ["n1", "n1", "n2", "n2"], "two fit each node");

    let on = scene.bound("a").await;
    let event = scene.told("a", "Scheduled").await;
    assert_eq!(event.message, Some(format!("Successfully assigned default/a to {on}")));
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    assert_eq!(event.action.as_deref(), Some("Binding"));
    assert_eq!(event.reporting_component.as_deref(), Some("default-scheduler"));
    let conditions = scene.pods().get("a").await.unwrap().status.unwrap().conditions.unwrap();
    assert!(
        conditions.iter().any(|known| known.type_ == "PodScheduled" && known.status == "True"),
        "{conditions:?}"
    );
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn says_why_not_and_is_woken_by_what_helps() {
    let scene = Scene::new().await;
    scene.pod("early", "1", json!({})).await;
    let reason = |text: &str| ("Unschedulable".to_owned(), text.to_owned());
    assert_eq!(scene.refused("early").await, reason("no nodes available to schedule pods"));

    scene.node("small", json!({"disk": "ssd"}), json!({})).await;
    assert_eq!(scene.bound("early").await, "small");
    scene.node("tainted", json!({}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})).await;
    scene.node("cordoned", json!({}), json!({"unschedulable": true})).await;
    scene.pod("late", "1500m", json!({})).await;
    let text = "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
                1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/3 nodes are available: \
                1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.";
    assert_eq!(scene.refused("late").await, reason(text));
    let event = scene.told("late", "FailedScheduling").await;
    assert_eq!((event.message.as_deref(), event.type_.as_deref()), (Some(text), Some("Warning")));

    scene.patch_node("cordoned", json!({"spec": {"unschedulable": false}})).await;
    assert_eq!(scene.bound("late").await, "cordoned");

    scene.pod("tolerant", "2", json!({})).await;
    scene.refused("tolerant").await;
    scene.patch_node("tainted", json!({"spec": {"taints": null}})).await;
    assert_eq!(scene.bound("tolerant").await, "tainted");

    scene.pod("selective", "500m", json!({"nodeSelector": {"disk": "hdd"}})).await;
    let (_, message) = scene.refused("selective").await;
    assert!(
        message.starts_with("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. "),
        "{message}"
    );
    scene.patch_node("small", json!({"metadata": {"labels": {"disk": "hdd"}}})).await;
    assert_eq!(scene.bound("selective").await, "small");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_a_node_that_declares_what_it_needs() {
    let scene = Scene::new().await;
    scene.node("old", json!({}), json!({})).await;
    scene.declare("old", &json!(["ExtendWebSocketsToKubelet"])).await;
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]);
    let container = json!({"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules});
    scene.pod("picky", "100m", json!({"restartPolicy": "Never", "containers": [container]})).await;
    scene.pod("plain", "100m", json!({})).await;
    assert_eq!(scene.bound("plain").await, "old");
    let (_, message) = scene.refused("picky").await;
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's required features. \
               no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for \
               scheduling.";
    assert_eq!(message, why);

    let features = json!(["ExtendWebSocketsToKubelet", "RestartAllContainersOnContainerExits"]);
    scene.declare("old", &features).await;
    assert_eq!(scene.bound("picky").await, "old");
    let node = scene.nodes().get("old").await.unwrap();
    let declared = node.status.and_then(|status| status.declared_features).unwrap();
    assert_eq!(json!(declared), features, "what an agent declares is kept");
}

#[tokio::test(start_paused = true)]
async fn a_host_port_is_given_once_and_again_when_it_is_free() {
    let scene = Scene::new().await;
    scene.node("n", json!({}), json!({})).await;
    let port = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    scene.pod("first", "0", port.clone()).await;
    assert_eq!(scene.bound("first").await, "n");
    scene.pod("second", "0", port).await;
    let (_, message) = scene.refused("second").await;
    assert!(
        message.starts_with(
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. "
        ),
        "{message}"
    );
    scene.pods().delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(scene.bound("second").await, "n");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn gates_hold_a_pod_back() {
    let scene = Scene::new().await;
    scene.node("n", json!({}), json!({})).await;
    scene.pod("gated", "1", json!({"schedulingGates": [{"name": "example.com/wait"}]})).await;
    scene.pod("free", "1", json!({})).await;
    scene.bound("free").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.pods().get("gated").await.unwrap().spec.unwrap().node_name, None);
    let open = Patch::Merge(json!({"spec": {"schedulingGates": []}}));
    scene.pods().patch("gated", &PatchParams::default(), &open).await.unwrap();
    assert_eq!(scene.bound("gated").await, "n");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_scheduler_takes_the_pods_that_name_it() {
    let scene = Scene::new().await;
    scene.node("n", json!({}), json!({})).await;
    scene.pod("mine", "1", json!({"schedulerName": "mine"})).await;
    scene.pod("default", "500m", json!({})).await;
    scene.bound("default").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.pods().get("mine").await.unwrap().spec.unwrap().node_name, None, "nobody's pod waits");
    scene.scheduler(Config { seed: Some(SEED), ..Config::for_names(&["mine".to_owned()]).unwrap() });
    assert_eq!(scene.bound("mine").await, "n");
    let event = scene.told("mine", "Scheduled").await;
    assert_eq!(event.reporting_component.as_deref(), Some("mine"));
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn room_is_made_for_a_more_important_pod() {
    let scene = Scene::new().await;
    scene.node("n", json!({}), json!({})).await;
    scene.pod("cheap", "2", json!({})).await;
    scene.bound("cheap").await;
    let critical = json!({"priorityClassName": "system-cluster-critical", "priority": 2_000_000_000});
    scene.pod("important", "2", critical).await;
    let pods = scene.pods();
    // Nobody runs the node, so the victim stays as it is once it is told to go.
    let victim = scene
        .cluster
        .eventually("the victim is told to go", async || {
            let pod = pods.get("cheap").await.unwrap();
            if pod.metadata.deletion_timestamp.is_some() { Ok(pod) } else { Err(pod) }
        })
        .await;
    let conditions = victim.status.unwrap().conditions.unwrap();
    let disrupted = conditions.iter().find(|known| known.type_ == "DisruptionTarget").unwrap();
    assert_eq!(disrupted.reason.as_deref(), Some("PreemptionByScheduler"));
    let important = pods.get("important").await.unwrap();
    let told = scene.told("cheap", "Preempted").await;
    let preemptor = important.metadata.uid.unwrap();
    assert_eq!(told.message, Some(format!("Preempted by pod {preemptor} on node n")));
    assert_eq!(told.related.and_then(|related| related.uid), Some(preemptor));
    let instance = told.reporting_instance.unwrap();
    assert!(instance.starts_with("default-scheduler-") && instance.len() > 18, "{instance}");
    scene
        .cluster
        .eventually("the node is promised", async || {
            let status = pods.get("important").await.unwrap().status.unwrap();
            if status.nominated_node_name.as_deref() == Some("n") { Ok(()) } else { Err(status) }
        })
        .await;
    pods.delete("cheap", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(scene.bound("important").await, "n");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_copies_one_works_and_the_other_takes_over() {
    let scene = Scene::without_scheduler().await;
    scene.node("n", json!({}), json!({})).await;
    let copy = |identity: &str| {
        let leader = LeaderConfig::new("kube-scheduler", "kube-system", identity);
        Config { leader: Some(leader), seed: Some(SEED), ..Config::default() }
    };
    let first = scene.scheduler(copy("first"));
    scene.pod("a", "500m", json!({})).await;
    scene.bound("a").await;
    let second = scene.scheduler(copy("second"));
    let leases = Api::<Lease>::namespaced(scene.cluster.client.clone(), "kube-system");
    let holder = async || leases.get("kube-scheduler").await.unwrap().spec.unwrap().holder_identity;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(holder().await.as_deref(), Some("first"));

    assert!(first.stop().await.is_empty());
    scene.pod("b", "500m", json!({})).await;
    let start = tokio::time::Instant::now();
    assert_eq!(scene.bound("b").await, "n");
    assert_eq!(holder().await.as_deref(), Some("second"));
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "a clean exit releases the lease: {:?}",
        start.elapsed()
    );
    assert!(second.stop().await.is_empty());
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_among_pending_pods_loses_and_doubles_none() {
    const NODES: usize = 10;
    const PODS: usize = 300;
    let scene = Scene::without_scheduler().await;
    for node in 0..NODES {
        scene.node(&format!("n{node}"), json!({}), json!({})).await;
    }
    for pod in 0..PODS {
        scene.pod(&format!("p{pod}"), "60m", json!({})).await;
    }
    let bound = async || {
        let pods = scene.pods().list(&ListParams::default()).await.unwrap().items;
        pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect::<Vec<_>>()
    };
    // Stopped while binds are under way, and begun again, until all are bound.
    let mut seed = 0;
    while bound().await.len() < PODS {
        let before = bound().await.len();
        seed += 1;
        let scheduler = scene.scheduler(Config { seed: Some(seed), ..Config::default() });
        // Time stands still while there is work, so looking between two steps of it catches it in the middle.
        for look in 0.. {
            if bound().await.len() > before {
                break;
            }
            match look % 100 {
                99 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => tokio::task::yield_now().await,
            }
        }
        assert!(scheduler.stop().await.is_empty());
    }
    assert!(seed > 1, "it was stopped in the middle");
    // 300 pods of 60m on 10 nodes of 2000m: none may hold more than 33.
    let nodes = bound().await;
    for node in 0..NODES {
        let name = format!("n{node}");
        let on = nodes.iter().filter(|bound| **bound == name).count();
        assert!((1..=33).contains(&on), "{name} has {on}");
    }
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_that_race_for_the_same_pods_bind_each_once_and_evict_none() {
    const NODES: usize = 10;
    const PODS: usize = 200;
    let scene = Scene::without_scheduler().await;
    for node in 0..NODES {
        scene.node(&format!("n{node}"), json!({}), json!({})).await;
    }
    // Both take all of them, as two copies without an election would.
    let registries = [Registry::new(), Registry::new()];
    for (seed, registry) in (1..).zip(&registries) {
        let (client, clock) = (scene.cluster.client.clone(), scene.cluster.clock.clone());
        let (tasks, registry) = (scene.cluster.tasks.child(), registry.clone());
        scene.cluster.tasks.spawn("scheduler", async move {
            let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
            let random = Random::from_seed(seed);
            let measured = Surroundings::measured(client, informers, clock, registry);
            let surroundings = Surroundings { random, ..measured };
            scheduler::run_in(Config::default(), surroundings, tasks).await.expect("has no lease to lose");
        });
    }
    for pod in 0..PODS {
        scene.pod(&format!("p{pod}"), "60m", json!({})).await;
    }
    let all = async || scene.pods().list(&ListParams::default()).await.unwrap().items;
    let node = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
    let placed = scene.cluster.eventually("all are bound", async || {
        let pods = all().await;
        let bound = pods.iter().filter_map(node).count();
        if bound == PODS { Ok(pods) } else { Err(bound) }
    });
    let placed: Vec<_> = placed.await.iter().filter_map(node).collect();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let pods = all().await;
    assert_eq!(pods.iter().filter_map(node).collect::<Vec<_>>(), placed, "nothing moves afterwards");
    assert!(pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()), "none is evicted");
    let shown = registries.map(|registry| registry.encode());
    let overtaken = "scheduler_schedule_attempts_total{result=\"error\",profile=\"default-scheduler\"}";
    assert!(shown.iter().any(|text| text.contains(overtaken)), "neither was ever overtaken: {}", shown[0]);
    for text in &shown {
        assert!(
            text.contains("scheduler_cache_size{type=\"assumed_pods\"} 0"),
            "assumptions are left: {text}"
        );
        assert!(text.contains("scheduler_pending_pods{queue=\"backoff\"} 0"), "pods are left: {text}");
    }
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_keep_away_from_each_other_and_spread() {
    let scene = Scene::new().await;
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        scene.node(name, json!({"zone": zone, "kubernetes.io/hostname": name}), json!({})).await;
    }
    let own = json!({"matchLabels": {"app": "web"}});
    let pods = scene.pods();
    let create = async |name: &str, spec: Value| {
        let mut pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    };

    let alone = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"labelSelector": own, "topologyKey": "kubernetes.io/hostname"}]}}});
    let mut nodes = Vec::new();
    for name in ["x", "y", "z"] {
        create(name, alone.clone()).await;
        nodes.push(scene.bound(name).await);
    }
    nodes.sort();
    assert_eq!(nodes, ["a1", "a2", "b1"]);
    create("late", alone).await;
    let (_, message) = scene.refused("late").await;
    let text = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. ";
    assert!(message.starts_with(text), "{message}");
    pods.delete("y", &DeleteParams::default().grace_period(0)).await.unwrap();
    scene.bound("late").await;

    for name in ["x", "z", "late"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    let spread = json!({"topologySpreadConstraints":
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}]});
    let mut zones = Vec::new();
    for name in ["1", "2", "3", "4"] {
        create(name, spread.clone()).await;
        zones.push(scene.bound(name).await[..1].to_owned());
    }
    zones.sort();
    assert_eq!(zones, ["a", "a", "b", "b"]);
    scene.cluster.stop().await;
}
