//! `preemptVerb`: extenders say on which nodes room may be made, and who goes.

use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::DeleteParams;

use super::*;

impl Scene {
    /// Every node is full: `a` and `b` have two of its four cores each.
    async fn full() -> Self {
        let scene = Self::new().await;
        let classes: Api<PriorityClass> = Api::all(scene.cluster.client.clone());
        let class = json!({"metadata": {"name": "high"}, "value": 1000});
        classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
        for node in ["n1", "n2", "n3"] {
            for name in ["a", "b"] {
                scene.pod_with(&format!("{node}-{name}"), "2", 0, json!({"nodeName": node})).await;
            }
        }
        scene
    }

    async fn important(&self, name: &str, gpus: u32) {
        self.pod_with(name, "2", gpus, json!({"priorityClassName": "high"})).await;
    }

    /// The pods that have to go.
    async fn going(&self) -> Vec<String> {
        let all = self.pods().list(&kube::api::ListParams::default()).await.unwrap();
        let going = all.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
        going.filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    async fn promised(&self, name: &str) -> String {
        self.cluster
            .eventually(&format!("pod {name} is promised a node"), async || {
                let status = self.pods().get(name).await.unwrap().status.unwrap();
                status.nominated_node_name.clone().ok_or(status)
            })
            .await
    }

    async fn uid(&self, name: &str) -> Value {
        json!(self.pods().get(name).await.unwrap().metadata.uid)
    }
}

#[tokio::test]
async fn an_extender_leaves_nodes_out_and_chooses_other_victims() {
    let scene = Scene::full().await;
    let (chosen, spared) = (scene.uid("n2-a").await, scene.uid("n2-b").await);
    let victim = chosen.clone();
    let mut server = Server::start(&scene.cluster.tasks, move |_, body| {
        // The one of the two that was not proposed.
        let proposed = body["NodeNameToMetaVictims"]["n2"]["Pods"][0]["UID"].clone();
        let other = if proposed == victim { &spared } else { &victim };
        (200, json!({"nodeNameToMetaVictims": {"n2": {"pods": [{"uid": other}], "numPDBViolations": 0}}}))
    })
    .await;
    scene.scheduler(&server.url, json!({"preemptVerb": "preempt", "nodeCacheCapable": true})).await;
    scene.important("gpu", 1).await;
    let (path, asked) = server.next().await;
    assert_eq!(path, "/extend/preempt");
    assert_eq!(
        (&asked["Pod"]["metadata"]["name"], &asked["NodeNameToVictims"]),
        (&json!("gpu"), &Value::Null)
    );
    let by_node = asked["NodeNameToMetaVictims"].as_object().unwrap();
    assert_eq!(by_node.keys().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
    for victims in by_node.values() {
        assert_eq!((victims["Pods"].as_array().unwrap().len(), &victims["NumPDBViolations"]), (1, &json!(0)));
    }
    assert_eq!(scene.promised("gpu").await, "n2");
    let proposed = by_node["n2"]["Pods"][0]["UID"] == chosen;
    let goes = if proposed { "n2-b" } else { "n2-a" };
    scene
        .cluster
        .eventually("the victim goes", async || {
            let going = scene.going().await;
            if going == [goes] { Ok(()) } else { Err(going) }
        })
        .await;
    scene.pods().delete(goes, &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(scene.bound("gpu").await, "n2");
    scene.cluster.stop().await;
}

#[tokio::test]
async fn an_extender_without_a_cache_is_sent_whole_pods() {
    let scene = Scene::full().await;
    let mut server = Server::start(&scene.cluster.tasks, |_, body| {
        let uid = &body["NodeNameToVictims"]["n3"]["Pods"][0]["metadata"]["uid"];
        (200, json!({"NodeNameToMetaVictims": {"n3": {"Pods": [{"UID": uid}], "NumPDBViolations": 0}}}))
    })
    .await;
    scene.scheduler(&server.url, json!({"preemptVerb": "preempt"})).await;
    // It has no say about a pod that does not ask for what it manages.
    scene.important("plain", 0).await;
    scene.promised("plain").await;
    assert!(server.asked().is_empty());
    scene.important("gpu", 1).await;
    let (_, asked) = server.next().await;
    assert_eq!(asked["NodeNameToMetaVictims"], Value::Null);
    let victim = &asked["NodeNameToVictims"]["n3"]["Pods"][0];
    assert_eq!(
        (&victim["spec"]["containers"][0]["image"], &victim["spec"]["nodeName"]),
        (&json!("i"), &json!("n3"))
    );
    assert_eq!(scene.promised("gpu").await, "n3");
    scene.cluster.stop().await;
}

#[tokio::test]
async fn an_extender_that_fails_prevents_evictions_unless_it_is_ignorable() {
    let no_victims = json!({"NodeNameToMetaVictims": {"n1": {"Pods": [], "NumPDBViolations": 0}}});
    let unknown = json!({"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "nobody"}]}}});
    for (status, answer, ignorable, want) in [
        (500, json!({}), false, Some("preemption: failed to preempt with extender at URL http://127.0.0.1:")),
        (500, json!({}), true, None),
        (200, json!({}), false, Some("preemption: no candidate node for preemption")),
        (200, no_victims.clone(), false, Some("preemption: expected at least one victim pod on node \"n1\"")),
        (200, no_victims, true, Some("preemption: no candidate node for preemption")),
        (
            200,
            unknown,
            false,
            Some("claims to preempt pod (UID: nobody) on node: n1, but the pod is not found"),
        ),
    ] {
        let scene = Scene::full().await;
        let body = answer.clone();
        let server = Server::start(&scene.cluster.tasks, move |_, _| (status, body.clone())).await;
        let extender = json!({"preemptVerb": "preempt", "nodeCacheCapable": true, "ignorable": ignorable});
        scene.scheduler(&server.url, extender).await;
        scene.important("gpu", 1).await;
        match want {
            None => _ = scene.promised("gpu").await,
            Some(want) => {
                let message = scene.refused("gpu").await;
                assert!(message.contains(want), "{message}");
                assert_eq!(scene.going().await, Vec::<String>::new(), "{answer}");
            }
        }
        scene.cluster.stop().await;
    }
}
