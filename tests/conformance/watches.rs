//! Watches and paged lists: where they begin, what they show, when they end.

use harness::cluster::TestCluster;
use serde_json::{Value, json};

use crate::requests::Sender;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(sender: &Sender, name: &str, odd: &str) -> String {
    let object =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"odd": odd}}});
    let made = sender.json("POST", MAPS, object).await;
    assert_eq!(made.code, 201, "{made:?}");
    version(&made.body())
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn seen(frames: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    frames.iter().map(|frame| (text(&frame["type"]), text(&frame["object"]["metadata"]["name"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_and_selectors_make_objects_come_and_go() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let since = make(&sender, "a", "yes").await;
    make(&sender, "b", "no").await;
    sender.json("PATCH", &format!("{MAPS}/a"), json!({"metadata": {"labels": {"odd": "no"}}})).await;
    sender.json("PATCH", &format!("{MAPS}/b"), json!({"metadata": {"labels": {"odd": "yes"}}})).await;
    sender.json("DELETE", &format!("{MAPS}/b"), json!({})).await;
    let all = sender.get(&format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={since}")).await.frames();
    assert_eq!(seen(&all), pairs(&[("ADDED", "b"), ("MODIFIED", "a"), ("MODIFIED", "b"), ("DELETED", "b")]));
    let odd = format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={since}&labelSelector=odd%3Dyes");
    let odd = sender.get(&odd).await.frames();
    assert_eq!(seen(&odd), pairs(&[("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]));
    // An object that leaves is shown as it last matched, at the revision of the change.
    assert_eq!(odd[0]["object"]["metadata"]["labels"]["odd"], "yes");
    assert_eq!(version(&odd[0]["object"]), version(&all[1]["object"]));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_revision_begins_with_what_there_is() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    make(&sender, "a", "yes").await;
    make(&sender, "b", "no").await;
    for query in ["", "&resourceVersion=0"] {
        let frames = sender.get(&format!("{MAPS}?watch=1&timeoutSeconds=1{query}")).await.frames();
        assert_eq!(seen(&frames), pairs(&[("ADDED", "a"), ("ADDED", "b")]));
    }
    let one = sender.get(&format!("{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Db")).await;
    assert_eq!(seen(&one.frames()), pairs(&[("ADDED", "b")]));
    let old = sender.get("/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1").await;
    assert_eq!(old.frames().len(), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_at_the_end() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let since = make(&sender, "a", "yes").await;
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=150&allowWatchBookmarks=true&resourceVersion={since}");
    let frames = sender.get(&watch).await.frames();
    assert_eq!(seen(&frames), pairs(&[("BOOKMARK", ""), ("BOOKMARK", ""), ("BOOKMARK", "")]));
    assert!(frames.iter().all(|frame| frame["object"]["kind"] == "ConfigMap"));
    let without = sender.get(&format!("{MAPS}?watch=1&timeoutSeconds=150&resourceVersion={since}")).await;
    assert!(without.frames().is_empty());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_marks_its_end() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    make(&sender, "a", "yes").await;
    let watch = format!(
        "{MAPS}?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let frames = sender.get(&watch).await.frames();
    assert_eq!(seen(&frames[..2]), pairs(&[("ADDED", "a"), ("BOOKMARK", "")]));
    assert_eq!(frames[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn watches_have_the_shape_asked_for() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    make(&sender, "a", "yes").await;
    make(&sender, "b", "yes").await;
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = sender.get_as(&watch, accept).await.frames();
    assert_eq!(partial[0]["object"]["kind"], "PartialObjectMetadata");
    let tables = sender.get_as(&watch, "application/json;as=Table;v=v1;g=meta.k8s.io").await.frames();
    assert_eq!(tables[0]["object"]["kind"], "Table");
    assert_eq!(tables[0]["object"]["rows"][0]["cells"][0], "a");
    // Only the first names the columns.
    assert!(
        tables[0]["object"]["columnDefinitions"].is_array()
            && tables[1]["object"]["columnDefinitions"].is_null()
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision_or_say_that_they_cannot() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    for name in ["a", "b", "c"] {
        make(&sender, name, "yes").await;
    }
    let first = sender.get(&format!("{MAPS}?limit=2")).await.body();
    assert_eq!(
        (&first["metadata"]["remainingItemCount"], first["items"].as_array().unwrap().len()),
        (&json!(1), 2)
    );
    make(&sender, "bb", "yes").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = sender.get(&format!("{MAPS}?limit=2&continue={token}")).await.body();
    let names: Vec<_> =
        second["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["c"]);
    assert_eq!(version(&first), version(&second));
    let exact = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", version(&first));
    assert_eq!(sender.get(&exact).await.body()["items"].as_array().unwrap().len(), 3);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_object_in_two_groups() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let event = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "hello", "reason": "R", "type": "Normal",
        "action": "A", "reportingController": "c", "reportingInstance": "i", "eventTime": "2026-01-01T00:00:00.000000Z"});
    let (new, old) =
        ("/apis/events.k8s.io/v1/namespaces/default/events", "/api/v1/namespaces/default/events");
    let made = sender.json("POST", new, event).await;
    assert_eq!((made.code.as_u16(), &made.body()["note"]), (201, &json!("hello")), "{made:?}");
    let core = sender.get(&format!("{old}/e")).await.body();
    assert_eq!(
        (&core["apiVersion"], &core["message"], &core["involvedObject"]["name"]),
        (&json!("v1"), &json!("hello"), &json!("p"))
    );
    let patched = sender.json("PATCH", &format!("{new}/e"), json!({"note": "again"})).await;
    assert_eq!((patched.code.as_u16(), &patched.body()["note"]), (200, &json!("again")), "{patched:?}");
    for (path, selector, text) in
        [(new, "regarding.name%3Dp", "note"), (old, "involvedObject.name%3Dp", "message")]
    {
        let list = sender.get(&format!("{path}?fieldSelector={selector}")).await.body();
        assert_eq!(list["items"][0][text], "again", "{list}");
        let frames = sender.get(&format!("{path}?watch=1&timeoutSeconds=1")).await.frames();
        assert_eq!(frames[0]["object"][text], "again");
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reviews_answer_and_are_not_kept() {
    let cluster = TestCluster::apiserver().await;
    let sender = Sender::of(&cluster);
    let who = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let who = sender.json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", who).await;
    assert_eq!(
        (who.code.as_u16(), &who.body()["status"]["userInfo"]["username"]),
        (201, &json!("admin")),
        "{who:?}"
    );
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    for (user, allowed) in [("nobody", false), ("system:kube-scheduler", true)] {
        let question = json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "spec": {"user": user, "resourceAttributes": {"verb": "list", "resource": "pods"}}});
        let answer = sender.json("POST", reviews, question).await.body();
        assert_eq!(answer["status"]["allowed"], allowed, "{answer}");
    }
    assert_eq!(sender.get(reviews).await.code, 405);
    cluster.stop().await;
}
