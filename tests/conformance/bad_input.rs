//! Everything a client can get wrong: each is a clear error, nothing is lost, nothing panics.

use apiserver::authn::User;
use apiserver::{Apiserver, Config};
use component::clock::Clock;
use component::tasks::Tasks;
use harness::cluster::TestCluster;
use serde_json::{Value, json};

use crate::requests::{Answer, Sender};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";

/// The answer must be this Status; nothing of it may be left behind.
fn refused(answer: &Answer, code: u16, reason: &str, text: &str) {
    let body = answer.body();
    assert_eq!(answer.code.as_u16(), code, "{body}");
    assert_eq!(body["kind"], "Status", "{body}");
    assert_eq!(
        (&body["code"], &body["reason"], &body["status"]),
        (&json!(code), &json!(reason), &json!("Failure")),
        "{body}"
    );
    assert!(answer.message().contains(text), "{text:?} is not in {:?}", answer.message());
}

async fn setup() -> (TestCluster, Sender) {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let made = sender.json("POST", MAPS, map("kept")).await;
    assert_eq!(made.code, 201, "{made:?}");
    (cluster, sender)
}

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// After all that was sent, the store has what it had and takes what it should.
async fn still_well(sender: &Sender) {
    let list = sender.get(MAPS).await.body();
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(sender.json("POST", MAPS, map("after")).await.code, 201);
    assert_eq!(sender.get("/readyz").await.body(), "ok");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_cannot_be_read() {
    let (cluster, sender) = setup().await;
    for broken in
        ["", "{", "[]", "7", "\"x\"", "{\"a\":}", "{}{}", "\u{1}", "{\"kind\":\"ConfigMap\"", "--- a\n- b"]
    {
        let answer = sender.raw("POST", MAPS, JSON, broken).await;
        refused(&answer, 400, "BadRequest", "");
    }
    let answer = sender.raw("POST", MAPS, JSON, &b"{\"kind\":\"ConfigMap\",\xff"[..]).await;
    refused(&answer, 400, "BadRequest", "");
    for broken in ["a: [", "\tx: 1", "a: b: c", "key: &anchor\n  - *unknown"] {
        let answer = sender.raw("POST", MAPS, "application/yaml", broken).await;
        refused(&answer, 400, "BadRequest", "");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(&sender.raw("POST", MAPS, JSON, deep.clone()).await, 400, "BadRequest", "");
    let inside = format!(
        "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"x\"}},\"data\":{deep}}}"
    );
    refused(&sender.raw("POST", MAPS, JSON, inside).await, 400, "BadRequest", "");
    for broken in [&b"k8s\0\xff\xff\xff\xff"[..], b"not protobuf", b"k8s\0\x0a\x7f\x01"] {
        let answer = sender.raw("POST", MAPS, "application/vnd.kubernetes.protobuf", broken.to_vec()).await;
        refused(&answer, 400, "BadRequest", "");
    }
    let answer = sender.raw("POST", MAPS, "text/plain", map("x").to_string()).await;
    refused(&answer, 415, "UnsupportedMediaType", "application/json, application/yaml");
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_too_large() {
    let (cluster, sender) = setup().await;
    let mut large = map("large");
    large["data"]["a"] = "x".repeat(4 * 1024 * 1024).into();
    let answer = sender.json("POST", MAPS, large.clone()).await;
    refused(&answer, 413, "RequestEntityTooLarge", "limit is 3145728");
    refused(
        &sender.json("PUT", &format!("{MAPS}/kept"), large.clone()).await,
        413,
        "RequestEntityTooLarge",
        "",
    );
    refused(&sender.json("PATCH", &format!("{MAPS}/kept"), large).await, 413, "RequestEntityTooLarge", "");
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_not_what_the_path_says() {
    let (cluster, sender) = setup().await;
    #[rustfmt::skip]
    let table = [
        (json!({"kind": "Pood", "apiVersion": "v1", "metadata": {"name": "x"}}), 400, "BadRequest", "no kind \"Pood\" is registered"),
        (json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}}), 400, "BadRequest", "cannot be handled as a ConfigMap"),
        (json!({"kind": "ConfigMap", "apiVersion": "v9", "metadata": {"name": "x"}}), 400, "BadRequest", "does not match the expected API version (v1)"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "other"}}), 400, "BadRequest", "does not match the namespace sent on the request"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}), 422, "Invalid", "name or generateName is required"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "Not OK"}}), 422, "Invalid", "RFC 1123 subdomain"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": "x"}), 400, "BadRequest", "cannot unmarshal string"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"a": 1}}), 400, "BadRequest", "cannot unmarshal number"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": []}), 400, "BadRequest", "cannot unmarshal array"),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "labels": {"a": {"b": "c"}}}}), 400, "BadRequest", "cannot unmarshal object"),
        (json!({"kind": 7, "apiVersion": "v1", "metadata": {"name": "x"}}), 400, "BadRequest", ""),
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "resourceVersion": "5"}}), 400, "BadRequest", "resourceVersion should not be set"),
    ];
    for (body, code, reason, text) in table {
        refused(&sender.json("POST", MAPS, body).await, code, reason, text);
    }
    refused(
        &sender.json("POST", MAPS, map("kept")).await,
        409,
        "AlreadyExists",
        "configmaps \"kept\" already exists",
    );
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    refused(
        &sender.json("POST", nowhere, map("x")).await,
        404,
        "NotFound",
        "namespaces \"nowhere\" not found",
    );
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn fields_that_do_not_exist() {
    let (cluster, sender) = setup().await;
    let mut odd = map("odd");
    odd["bogus"] = json!(1);
    let strict = format!("{MAPS}?fieldValidation=Strict");
    refused(
        &sender.json("POST", &strict, odd.clone()).await,
        400,
        "BadRequest",
        "strict decoding error: unknown field \"bogus\"",
    );
    let twice =
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"odd"},"data":{"a":"1","a":"2"}}"#;
    refused(&sender.raw("POST", &strict, JSON, twice).await, 400, "BadRequest", "duplicate field \"data.a\"");
    let warned = sender.json("POST", &format!("{MAPS}?dryRun=All"), odd.clone()).await;
    assert_eq!(
        (warned.code.as_u16(), warned.warnings.as_slice()),
        (201, &["299 - \"unknown field \\\"bogus\\\"\"".to_owned()][..])
    );
    assert!(warned.body().get("bogus").is_none());
    let ignored = sender.json("POST", &format!("{MAPS}?dryRun=All&fieldValidation=Ignore"), odd).await;
    assert_eq!((ignored.code.as_u16(), ignored.warnings.len()), (201, 0));
    for (query, text) in
        [("fieldValidation=Maybe", "supported values"), ("dryRun=Some", "supported values: \"All\"")]
    {
        refused(&sender.json("POST", &format!("{MAPS}?{query}"), map("x")).await, 422, "Invalid", text);
    }
    let manager = format!("{MAPS}?fieldManager={}", "m".repeat(129));
    refused(&sender.json("POST", &manager, map("x")).await, 422, "Invalid", "fieldManager");
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn paths_and_methods_that_do_not_exist() {
    let (cluster, sender) = setup().await;
    for path in [
        "/api/v1/nope",
        "/apis/apps/v9/deployments",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/pods/x/nope",
        "/api/v2",
        "/apis/apps/v9",
    ] {
        refused(&sender.get(path).await, 404, "NotFound", "could not find the requested resource");
    }
    for path in ["/nothing", "/apis/nope.io/v1", "/apis/nope.io/v1/things", "//", "/healthz/nope"] {
        let answer = sender.get(path).await;
        assert_eq!(answer.code, 404, "{path}: {answer:?}");
    }
    for (method, path) in [
        ("PATCH", PODS),
        ("PUT", PODS),
        ("POST", "/api/v1/namespaces/default/pods/x"),
        ("DELETE", "/api/v1/namespaces"),
        ("TRACE", PODS),
        ("POST", "/api/v1/pods"),
        ("DELETE", "/version"),
        ("POST", "/healthz"),
    ] {
        refused(
            &sender.json(method, path, json!({})).await,
            405,
            "MethodNotAllowed",
            "does not allow this method",
        );
    }
    for (method, body) in [("GET", json!({})), ("DELETE", json!({})), ("PATCH", json!({}))] {
        refused(
            &sender.json(method, &format!("{PODS}/none"), body).await,
            404,
            "NotFound",
            "pods \"none\" not found",
        );
    }
    refused(&sender.get_as(MAPS, "text/html").await, 406, "NotAcceptable", "application/json");
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn selectors_and_options_that_cannot_be_read() {
    let (cluster, sender) = setup().await;
    #[rustfmt::skip]
    let table = [
        ("labelSelector=a%3D%3D%3Db", 400, "found '=', expected: identifier"),
        ("labelSelector=-x", 400, "name part must consist of"),
        ("labelSelector=a%20in%20(", 400, ""),
        ("labelSelector=,", 400, ""),
        ("fieldSelector=bogus", 400, "can't understand 'bogus'"),
        ("fieldSelector=data.x%3D1", 400, "is not a known field selector"),
        ("limit=x", 400, "strconv.ParseInt"),
        ("timeoutSeconds=1.5", 400, "strconv.ParseInt"),
        ("continue=bogus", 400, "continue key is not valid"),
        ("continue=e30", 400, "continue key is not valid"),
        ("resourceVersion=abc", 400, "invalid resource version"),
        ("resourceVersion=-1", 400, "invalid resource version"),
        ("resourceVersion=99999999999999999999999", 400, "invalid resource version"),
        ("resourceVersionMatch=Exact", 422, "unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Sometimes", 422, "Unsupported value"),
        ("sendInitialEvents=true", 422, "forbidden for list"),
        ("watch=1&sendInitialEvents=true", 422, "requires setting resourceVersionMatch"),
        ("watch=1&resourceVersion=abc", 400, "invalid resource version"),
    ];
    for (query, code, text) in table {
        let answer = sender.get(&format!("{MAPS}?{query}")).await;
        let reason = if code == 400 { "BadRequest" } else { "Invalid" };
        refused(&answer, code, reason, text);
    }
    let answer = sender
        .get_as(&format!("{MAPS}?includeObject=All"), "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await;
    refused(&answer, 400, "BadRequest", "includeObject");
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn revisions_that_are_stale_or_not_yet() {
    let (cluster, sender) = setup().await;
    let one = format!("{MAPS}/kept");
    let mut stale = sender.get(&one).await.body();
    assert_eq!(sender.json("PATCH", &one, json!({"data": {"b": "2"}})).await.code, 200);
    stale["data"]["c"] = json!("3");
    refused(&sender.json("PUT", &one, stale.clone()).await, 409, "Conflict", "the object has been modified");
    let patch =
        json!({"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}, "data": {"c": "3"}});
    refused(&sender.json("PATCH", &one, patch).await, 409, "Conflict", "the object has been modified");
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}});
    refused(
        &sender.json("DELETE", &one, options).await,
        409,
        "Conflict",
        "ResourceVersion in the precondition (1)",
    );
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}});
    refused(&sender.json("DELETE", &one, options).await, 409, "Conflict", "UID in the precondition (x)");
    stale["metadata"]["resourceVersion"] = json!("");
    stale["metadata"]["uid"] = json!("other");
    refused(&sender.json("PUT", &one, stale).await, 409, "Conflict", "Precondition failed: UID");
    let ahead = sender.get(&format!("{MAPS}?resourceVersion=1000000")).await;
    refused(&ahead, 504, "Timeout", "Too large resource version: 1000000");
    assert_eq!(sender.get(&one).await.body()["data"], json!({"a": "1", "b": "2"}));
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn patches_that_cannot_be_used() {
    let (cluster, sender) = setup().await;
    let one = format!("{MAPS}/kept");
    #[rustfmt::skip]
    let table = [
        ("application/patch+carrier-pigeon", "{}", 415, "UnsupportedMediaType", "application/json-patch+json"),
        ("application/apply-patch+yaml", "{}", 415, "UnsupportedMediaType", "application/merge-patch+json"),
        ("application/json", "{}", 415, "UnsupportedMediaType", ""),
        ("application/merge-patch+json", "[]", 400, "BadRequest", "cannot unmarshal array"),
        ("application/merge-patch+json", "{", 400, "BadRequest", "error decoding patch"),
        ("application/json-patch+json", "{}", 400, "BadRequest", "error decoding patch"),
        ("application/json-patch+json", r#"[{"op":"test","path":"/data/a","value":"9"}]"#, 422, "Invalid", ""),
        ("application/json-patch+json", r#"[{"op":"remove","path":"/data/zz"}]"#, 422, "Invalid", ""),
        ("application/json-patch+json", r#"[{"op":"bogus","path":"/x"}]"#, 422, "Invalid", ""),
        ("application/json-patch+json", r#"[{"op":"add","path":"data/zz","value":1}]"#, 422, "Invalid", ""),
        ("application/merge-patch+json", r#"{"data":{"a":1}}"#, 422, "Invalid", "cannot unmarshal number"),
        ("application/merge-patch+json", r#"{"metadata":{"name":"other"}}"#, 400, "BadRequest", "does not match the name on the URL"),
        ("application/merge-patch+json", r#"{"metadata":null}"#, 400, "BadRequest", ""),
        ("application/strategic-merge-patch+json", r#"{"data":{"$patch":"explode"}}"#, 400, "BadRequest", ""),
    ];
    for (content_type, body, code, reason, text) in table {
        let answer = sender.raw("PATCH", &one, content_type, body).await;
        refused(&answer, code, reason, text);
    }
    assert_eq!(sender.get(&one).await.body()["data"], json!({"a": "1"}));
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deletes_that_may_not_be() {
    let (cluster, sender) = setup().await;
    let one = format!("{MAPS}/kept");
    let answer = sender.raw("DELETE", &format!("{one}?propagationPolicy=Sideways"), JSON, "").await;
    refused(&answer, 422, "Invalid", "Unsupported value: \"Sideways\"");
    let both = json!({"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": true, "propagationPolicy": "Orphan"});
    refused(&sender.json("DELETE", &one, both).await, 422, "Invalid", "cannot be both set");
    refused(&sender.raw("DELETE", &one, JSON, "{").await, 400, "BadRequest", "");
    refused(
        &sender.raw("DELETE", "/api/v1/namespaces/default", JSON, "").await,
        403,
        "Forbidden",
        "may not be deleted",
    );
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn subresources_used_wrongly() {
    let (cluster, sender) = setup().await;
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {
        "automountServiceAccountToken": false, "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}});
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    assert_eq!(sender.json("POST", "/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let made = sender.json("POST", PODS, pod).await;
    assert_eq!(made.code, 201, "{made:?}");
    let at = |rest: &str| format!("{PODS}/p/{rest}");
    refused(
        &sender.get(&at("log")).await,
        400,
        "BadRequest",
        "a container name must be specified for pod p, choose one of: [a b]",
    );
    refused(
        &sender.get(&at("log?container=z")).await,
        400,
        "BadRequest",
        "container z is not valid for pod p",
    );
    refused(
        &sender.get(&at("log?container=a&tailLines=-1")).await,
        422,
        "Invalid",
        "must be greater than or equal to 0",
    );
    assert_eq!(sender.get(&at("log?container=a")).await.code, 204);
    refused(
        &sender.get(&at("exec?container=a&stdout=1&command=ls")).await,
        400,
        "BadRequest",
        "does not have a host assigned",
    );
    refused(
        &sender.get(&at("exec?container=a&command=ls")).await,
        400,
        "BadRequest",
        "at least one of stdin, stdout, stderr",
    );
    let binding = |target: Value| json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": target});
    refused(
        &sender.json("POST", &at("binding"), binding(json!({"kind": "Node"}))).await,
        422,
        "Invalid",
        "target.name: Required value",
    );
    assert_eq!(
        sender.json("POST", &at("binding"), binding(json!({"kind": "Node", "name": "n"}))).await.code,
        201
    );
    refused(
        &sender.json("POST", &at("binding"), binding(json!({"kind": "Node", "name": "m"}))).await,
        409,
        "Conflict",
        "is already assigned to node \"n\"",
    );
    refused(&sender.get(&at("log?container=a")).await, 404, "NotFound", "nodes \"n\" not found");
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "q"}});
    refused(
        &sender.json("POST", &at("eviction"), eviction).await,
        400,
        "BadRequest",
        "does not match name in Eviction object",
    );
    still_well(&sender).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn strangers() {
    let cluster = TestCluster::apiserver().await;
    let nobody = Sender::new(cluster.apiserver.as_user(User::anonymous()));
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    for path in ["/", "/api", "/apis", "/metrics", "/openapi/v3", "/api/v1/namespaces", MAPS] {
        refused(&nobody.get(path).await, 403, "Forbidden", "User \"system:anonymous\" cannot");
    }
    let alice = Sender::new(cluster.apiserver.as_user(User::new("alice", ["dev"])));
    assert_eq!(alice.get("/api").await.code, 200);
    refused(
        &alice.json("POST", MAPS, map("x")).await,
        403,
        "Forbidden",
        "cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\"",
    );
    cluster.stop().await;
}

/// Opens a server on this directory; the error with all its reasons.
async fn cannot_open(folder: &std::path::Path) -> String {
    let config = Config { data_dir: Some(folder.to_owned()), seed: Some(1), ..Config::default() };
    let opened = Apiserver::open(config, Clock::start(), &Tasks::new()).await;
    format!("{:#}", anyhow::Error::from(opened.expect_err("it must not open")))
}

#[tokio::test]
async fn a_data_directory_in_use_or_of_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: Some(folder.path().to_owned()), seed: Some(1), ..Config::default() };
    let first = Apiserver::open(config, Clock::start(), &Tasks::new()).await.unwrap();
    let said = cannot_open(folder.path()).await;
    assert!(said.contains("is in use by another process"), "{said}");
    drop(first);
    let format = folder.path().join("format");
    std::fs::write(&format, "99\n").unwrap();
    let said = cannot_open(folder.path()).await;
    assert!(said.contains("has format 99") && said.contains(folder.path().to_str().unwrap()), "{said}");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "99\n");
    std::fs::write(&format, "not a number").unwrap();
    assert!(cannot_open(folder.path()).await.contains("should hold a number"));
}
