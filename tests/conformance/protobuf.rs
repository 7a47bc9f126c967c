//! Clients that speak protobuf only, as upstream's own components and Helm do: every verb and subresource.

use apiserver::schema::{Registry, protobuf};
use harness::cluster::TestCluster;
use serde_json::{Value, json};

use crate::requests::{Answer, Sender};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Sends an object of that schema, by its name in the OpenAPI document.
async fn send(sender: &Sender, method: &str, path: &str, schema: &str, object: Value) -> Answer {
    let definition = Registry::builtin().definition(schema).expect("a schema");
    sender.raw(method, path, PROTOBUF, protobuf::encode(definition, &object)).await
}

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "localhost/x"}]}})
}

async fn make_pod(sender: &Sender, name: &str) -> Value {
    let made = send(sender, "POST", PODS, "io.k8s.api.core.v1.Pod", pod(name)).await;
    assert_eq!(made.code, 201, "{}", made.body());
    made.body()
}

/// An API server alone; pods need an account to be made under.
async fn setup() -> (TestCluster, Sender) {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let made = send(&sender, "POST", accounts, "io.k8s.api.core.v1.ServiceAccount", account).await;
    assert_eq!(made.code, 201, "{}", made.body());
    (cluster, sender)
}

fn options(api_version: &str, uid: &Value) -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": api_version, "propagationPolicy": "Background",
        "gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
}

#[tokio::test(start_paused = true)]
async fn objects_are_made_changed_bound_and_evicted() {
    let (cluster, sender) = setup().await;
    let mut made = make_pod(&sender, "a").await;
    let one = format!("{PODS}/a");
    made["metadata"]["labels"]["app"] = json!("b");
    let put = send(&sender, "PUT", &one, "io.k8s.api.core.v1.Pod", made.clone()).await;
    assert_eq!((put.code.as_u16(), &put.body()["metadata"]["labels"]["app"]), (200, &json!("b")));
    let mut status = put.body();
    status["status"]["message"] = json!("said");
    let put = send(&sender, "PUT", &format!("{one}/status"), "io.k8s.api.core.v1.Pod", status).await;
    assert_eq!((put.code.as_u16(), &put.body()["status"]["message"]), (200, &json!("said")));
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n"}});
    let bound = send(&sender, "POST", &format!("{one}/binding"), "io.k8s.api.core.v1.Binding", binding).await;
    assert_eq!(bound.code, 201, "{}", bound.body());
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "a"},
        "deleteOptions": {"gracePeriodSeconds": 7}});
    let evicted =
        send(&sender, "POST", &format!("{one}/eviction"), "io.k8s.api.policy.v1.Eviction", eviction).await;
    assert_eq!(evicted.code, 201, "{}", evicted.body());
    let going = sender.get(&one).await.body();
    assert_eq!(
        (&going["metadata"]["deletionGracePeriodSeconds"], &going["spec"]["nodeName"]),
        (&json!(7), &json!("n"))
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn objects_are_deleted_with_options() {
    let (cluster, sender) = setup().await;
    let uid = make_pod(&sender, "a").await["metadata"]["uid"].clone();
    let one = format!("{PODS}/a");
    let refused = send(&sender, "DELETE", &one, OPTIONS, options("v1", &json!("another"))).await;
    assert_eq!((refused.code.as_u16(), refused.body()["reason"].as_str()), (409, Some("Conflict")));
    let deleted = send(&sender, "DELETE", &one, OPTIONS, options("v1", &uid)).await;
    assert_eq!(deleted.code, 200, "{}", deleted.body());
    assert_eq!(sender.get(&one).await.code, 404);
    // Clients write the options in the version of the group that they talk to.
    let deployment = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": pod("a")["spec"]}}});
    let made = send(&sender, "POST", DEPLOYMENTS, "io.k8s.api.apps.v1.Deployment", deployment).await;
    assert_eq!(made.code, 201, "{}", made.body());
    let uid = made.body()["metadata"]["uid"].clone();
    let deleted =
        send(&sender, "DELETE", &format!("{DEPLOYMENTS}/d"), OPTIONS, options("apps/v1", &uid)).await;
    assert_eq!(deleted.code, 200, "{}", deleted.body());
    for name in ["b", "c"] {
        make_pod(&sender, name).await;
    }
    let all = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    let deleted = send(&sender, "DELETE", &format!("{PODS}?labelSelector=app%3Db"), OPTIONS, all).await;
    assert_eq!(deleted.code, 200, "{}", deleted.body());
    let left = sender.get(PODS).await.body();
    assert_eq!(
        (left["items"].as_array().unwrap().len(), &left["items"][0]["metadata"]["name"]),
        (1, &json!("c"))
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn options_of_another_type_are_refused() {
    let (cluster, sender) = setup().await;
    make_pod(&sender, "a").await;
    let one = format!("{PODS}/a");
    for body in [json!({"gracePeriodSeconds": "soon"}), json!({"preconditions": []}), json!([])] {
        let answer = sender.json("DELETE", &one, body.clone()).await;
        assert_eq!(
            (answer.code.as_u16(), answer.body()["reason"].as_str()),
            (400, Some("BadRequest")),
            "{body}"
        );
    }
    assert_eq!(sender.get(&one).await.code, 200);
    cluster.stop().await;
}
