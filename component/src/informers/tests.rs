//! Informers over a small server that breaks watches, forgets its history and fails.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::{Change, Informer, Informers, Key, Selection};
use crate::clock::Clock;
use crate::fake::Fake;
use crate::metrics::Registry;
use crate::ready::Readiness;
use crate::serve::Health;
use crate::tasks::Tasks;
use crate::work::Queue;

const LIMIT: Duration = Duration::from_secs(60);

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/a/configmaps/{name}")
}

fn map(name: &str, value: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "a", "managedFields": [{"manager": "m"}]},
        "data": {"value": value},
    })
}

fn owned(name: &str, uid: &str) -> Value {
    let mut object = map(name, "");
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Owner", "name": "o", "uid": uid, "controller": true}]);
    object
}

fn start(fake: &Fake) -> (Informers, Tasks) {
    let tasks = Tasks::new();
    (Informers::new(fake.client(), tasks.clone(), Clock::start()), tasks)
}

fn names(objects: &[Arc<ConfigMap>]) -> Vec<&str> {
    objects.iter().map(|object| object.metadata.name.as_deref().unwrap()).collect()
}

fn value(object: &ConfigMap) -> &str {
    &object.data.as_ref().unwrap()["value"]
}

async fn has_names(informer: &Informer<ConfigMap>, expected: &[&str]) {
    assert!(
        informer.until_within(LIMIT, |informer| names(&informer.all()) == expected).await,
        "expected {expected:?}, has {:?}",
        names(&informer.all())
    );
}

#[tokio::test(start_paused = true)]
async fn lists_then_follows() {
    let fake = Fake::default();
    fake.put(&path("b"), map("b", "1"));
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    let health = Health::new(Readiness::new());
    health.informers(&informers);
    assert_eq!(informers.unsynced(), ["/api/v1/configmaps"]);
    assert!(!health.is_ready());
    informers.synced().await;
    assert!(health.is_ready());
    assert_eq!(maps.watermark(), 1);
    fake.put(&path("a"), map("a", "1"));
    has_names(&maps, &["a", "b"]).await;
    fake.put(&path("b"), map("b", "2"));
    maps.reached(3).await;
    let b = maps.get(&Key::new("a", "b")).unwrap();
    assert_eq!(value(&b), "2");
    assert!(b.metadata.managed_fields.is_none());
    fake.delete(&path("b"));
    has_names(&maps, &["a"]).await;
    assert_eq!((maps.len(), maps.watermark(), maps.in_namespace("b").len()), (1, 4, 0));
    assert_eq!(fake.requests("limit=").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_served_holds_nothing_up() {
    let fake = Fake::default();
    fake.refuse("GET /api/v1/configmaps", 404);
    let (informers, _tasks) = start(&fake);
    let maps = informers.optional::<ConfigMap>();
    maps.synced().await;
    assert!(maps.is_empty() && informers.unsynced().is_empty());
    // Served after all: found when it is asked for again, not before.
    fake.put(&path("a"), map("a", "1"));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(maps.is_empty());
    tokio::time::sleep(Duration::from_secs(200)).await;
    has_names(&maps, &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_watch_a_kind_and_selection() {
    let fake = Fake::default();
    let (informers, _tasks) = start(&fake);
    let (first, second) = (informers.of::<ConfigMap>(), informers.of::<ConfigMap>());
    let selection = Selection { fields: Some("metadata.name=x".to_owned()), ..Selection::default() };
    let third = informers.selected::<ConfigMap>(selection);
    first.synced().await;
    second.synced().await;
    third.synced().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fake.requests("watch=true").len(), 2);
    assert_eq!(fake.requests("fieldSelector=metadata.name%3Dx").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_where_it_stopped() {
    let fake = Fake::default();
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    fake.put(&path("a"), map("a", "1"));
    has_names(&maps, &["a"]).await;
    fake.close_watches();
    fake.put(&path("b"), map("b", "1"));
    fake.delete(&path("a"));
    has_names(&maps, &["b"]).await;
    assert_eq!(fake.requests("limit=").len(), 1, "no second list");
    assert_eq!(fake.requests("watch=true").last().unwrap().matches("resourceVersion=1").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_after_lost_history_gives_deletes() {
    let fake = Fake::default();
    ["gone", "kept", "again"].into_iter().for_each(|name| fake.put(&path(name), map(name, "1")));
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    let mut changes = maps.changes();
    for _ in 0..3 {
        assert!(matches!(changes.next().await, Change::Added(_)));
    }

    fake.close_watches();
    fake.delete(&path("gone"));
    fake.delete(&path("again"));
    fake.put(&path("again"), map("again", "2"));
    fake.compact();

    let mut seen = Vec::new();
    for _ in 0..3 {
        let change = changes.next().await;
        let sign = match &change {
            Change::Added(_) => "+",
            Change::Updated { .. } => "~",
            Change::Deleted(_) => "-",
        };
        seen.push(format!("{sign}{} {}", change.key(), value(change.object())));
    }
    assert_eq!(seen, ["-a/gone 1", "-a/again 1", "+a/again 2"]);
    assert!(changes.try_next().is_none(), "what stayed the same is not told again");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_move_the_watermark() {
    let fake = Fake::default();
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    // The watch begins after the list was taken in.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let revision = fake.bookmark();
    tokio::time::timeout(LIMIT, maps.reached(revision)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_with_pauses() {
    let fake = Fake::default();
    (0..5).for_each(|_| fake.refuse("GET /api/v1/configmaps?&limit", 500));
    let started = tokio::time::Instant::now();
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    tokio::time::timeout(LIMIT, maps.synced()).await.unwrap();
    let waited = started.elapsed();
    assert!((Duration::from_secs(6)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn indexes_follow_the_objects() {
    let fake = Fake::default();
    fake.put(&path("a"), owned("a", "u1"));
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    maps.add_index("value", |map: &ConfigMap| vec![value(map).to_owned()]);
    assert_eq!(names(&maps.owned_by("u1")), ["a"]);
    fake.put(&path("b"), owned("b", "u1"));
    fake.put(&path("c"), map("c", "x"));
    has_names(&maps, &["a", "b", "c"]).await;
    assert_eq!(names(&maps.owned_by("u1")), ["a", "b"]);
    assert_eq!(names(&maps.by_index("value", "x")), ["c"]);
    fake.put(&path("a"), owned("a", "u2"));
    fake.delete(&path("b"));
    has_names(&maps, &["a", "c"]).await;
    assert!(maps.owned_by("u1").is_empty());
    assert_eq!(names(&maps.owned_by("u2")), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let fake = Fake::default();
    let expected: Vec<String> = (0..1203).map(|at| format!("m{at:04}")).collect();
    expected.iter().for_each(|name| fake.put(&path(name), map(name, "1")));
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    assert_eq!(names(&maps.all()), expected);
    assert_eq!(fake.requests("limit=500").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn kinds_known_at_run_time() {
    let fake = Fake::default();
    fake.put("/apis/x.io/v1/namespaces/a/things/t", json!({"metadata": {"name": "t", "namespace": "a"}}));
    let (informers, _tasks) = start(&fake);
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("x.io", "v1", "Thing"), "things");
    let things = informers.metadata(&kind);
    things.synced().await;
    assert!(things.get(&Key::new("a", "t")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_is_skipped() {
    let fake = Fake::default();
    let (informers, _tasks) = start(&fake);
    let maps = informers.of::<ConfigMap>();
    maps.synced().await;
    fake.put(&path("bad"), json!({"metadata": {"name": "bad", "namespace": "a"}, "data": 5}));
    fake.put(&path("good"), map("good", "1"));
    has_names(&maps, &["good"]).await;
}

#[tokio::test(start_paused = true)]
async fn queues_of_a_measured_set_are_counted() {
    let fake = Fake::default();
    ["a", "b"].into_iter().for_each(|name| fake.put(&path(name), map(name, "1")));
    let (informers, _tasks) = start(&fake);
    let registry = Registry::new();
    let (maps, queue) = (informers.measured(&registry).of::<ConfigMap>(), Queue::new("maps"));
    queue.follow(&maps);
    maps.synced().await;
    let key = queue.take().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    queue.done(&key);
    queue.retry(key);
    let text = registry.encode();
    for line in [
        "workqueue_depth{name=\"maps\"} 1",
        "workqueue_adds_total{name=\"maps\"} 2",
        "workqueue_retries_total{name=\"maps\"} 1",
        "workqueue_queue_duration_seconds_count{name=\"maps\"} 1",
        "workqueue_work_duration_seconds_sum{name=\"maps\"} 2.0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
