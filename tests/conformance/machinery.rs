//! What `component` promises its users, over the real API server: informers, work queue, events, elections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::{Recorder, Type, reference};
use component::informers::{Change, Informer, Informers, Key, Selection};
use component::leader::{LeaderConfig, elect};
use component::work::{Action, Queue, Writes, run};
use harness::cluster::TestCluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use objects::owner;
use serde_json::json;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn informers(cluster: &TestCluster) -> Informers {
    Informers::new(cluster.client.clone(), cluster.tasks.clone(), cluster.clock.clone())
}

fn maps(cluster: &TestCluster) -> Api<ConfigMap> {
    Api::default_namespaced(cluster.client.clone())
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"name": name}}})).unwrap()
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> ConfigMap {
    maps.create(&PostParams::default(), &map(name)).await.unwrap()
}

fn names(informer: &Informer<ConfigMap>) -> Vec<String> {
    informer.in_namespace("default").iter().map(|map| map.name_any()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_informer_follows_for_an_hour() {
    let cluster = TestCluster::apiserver().await;
    let (maps, informer) = (maps(&cluster), informers(&cluster).of::<ConfigMap>());
    informer.synced().await;
    let mut changes = informer.changes();
    for minute in 0..60 {
        let name = format!("m{minute:02}");
        let made = create(&maps, &name).await;
        informer.reached(component::informers::revision(made.resource_version().as_deref())).await;
        assert_eq!(names(&informer), std::slice::from_ref(&name));
        maps.delete(&name, &DeleteParams::default()).await.unwrap();
        assert!(informer.until_within(HOUR, |informer| names(informer).is_empty()).await);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    // Read late: additions were merged away, the end of each is told.
    let mut gone = Vec::new();
    while let Some(change) = changes.try_next() {
        if let Change::Deleted(last) = change {
            gone.push(last.name_any());
        }
    }
    gone.retain(|name| name.starts_with('m'));
    assert_eq!(gone.len(), 60);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_watermark_of_a_kind_that_rests_moves_by_bookmarks() {
    let cluster = TestCluster::apiserver().await;
    let informers = informers(&cluster);
    let leases = informers.of::<Lease>();
    leases.synced().await;
    let made = create(&maps(&cluster), "elsewhere").await;
    let revision = component::informers::revision(made.resource_version().as_deref());
    assert!(leases.watermark() < revision);
    tokio::time::timeout(HOUR, leases.reached(revision)).await.expect("a bookmark within an hour");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_selection_sees_objects_enter_and_leave() {
    let cluster = TestCluster::apiserver().await;
    let maps = maps(&cluster);
    let selection = Selection {
        labels: Some("name=a".to_owned()),
        namespace: Some("default".to_owned()),
        ..Selection::default()
    };
    let informer = informers(&cluster).selected::<ConfigMap>(selection);
    informer.synced().await;
    create(&maps, "a").await;
    create(&maps, "b").await;
    assert!(informer.until_within(HOUR, |informer| names(informer) == ["a"]).await);
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"name": value}}}));
    maps.patch("a", &PatchParams::default(), &label("x")).await.unwrap();
    maps.patch("b", &PatchParams::default(), &label("a")).await.unwrap();
    assert!(informer.until_within(HOUR, |informer| names(informer) == ["b"]).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn metadata_of_a_kind_known_at_run_time() {
    let cluster = TestCluster::apiserver().await;
    create(&maps(&cluster), "a").await;
    let informer = informers(&cluster).metadata(&ApiResource::erase::<ConfigMap>(&()));
    informer.synced().await;
    let found = informer.get(&Key::new("default", "a")).expect("is in the first list");
    assert_eq!(found.metadata.labels, map("a").metadata.labels);
    cluster.stop().await;
}

struct Ctx {
    api: Api<ConfigMap>,
    maps: Informer<ConfigMap>,
    writes: Writes,
}

/// Sees to it that each parent has three children. It has no other memory than the informer.
async fn three_children(parent: Arc<ConfigMap>, ctx: Arc<Ctx>) -> Result<Action, kube::Error> {
    if owner::controller_of(&parent.metadata).is_some() || parent.namespace().as_deref() != Some("default") {
        return Ok(Action::await_change());
    }
    let have = ctx.maps.owned_by(parent.uid().as_deref().unwrap_or_default()).len();
    for _ in have..3 {
        let mut child = ConfigMap::default();
        child.metadata.generate_name = Some(format!("{}-", parent.name_any()));
        child.metadata.owner_references = Some(vec![owner::reference(&*parent)]);
        let made = ctx.api.create(&PostParams::default(), &child).await?;
        ctx.writes.wrote(&Key::of(&*parent), &ctx.maps, &made);
    }
    Ok(Action::await_change())
}

/// Runs the controller above; answers the names of all children by parent, with the random parts in order.
async fn settle(parents: usize) -> BTreeMap<String, usize> {
    let cluster = TestCluster::apiserver().await;
    let (informer, queue) = (informers(&cluster).of::<ConfigMap>(), Queue::new("children"));
    queue.follow(&informer);
    queue.follow_owners(&informer, "ConfigMap");
    let ctx = Arc::new(Ctx { api: maps(&cluster), maps: informer.clone(), writes: queue.writes() });
    let work =
        run("children", informer.clone(), queue.clone(), ctx, 8, three_children, cluster.tasks.clone());
    cluster.tasks.spawn("children", work);
    for parent in 0..parents {
        create(&maps(&cluster), &format!("p{parent:02}")).await;
    }
    let complete = |informer: &Informer<ConfigMap>| informer.in_namespace("default").len() >= parents * 4;
    assert!(informer.until_within(HOUR, complete).await, "has {}", informer.len());
    tokio::time::sleep(HOUR).await;
    assert!(queue.is_idle(), "{queue:?}");

    let mut children = BTreeMap::new();
    for map in maps(&cluster).list(&ListParams::default()).await.unwrap() {
        if let Some(owner) = owner::controller_of(&map.metadata) {
            *children.entry(owner.name.clone()).or_default() += 1;
        }
    }
    cluster.stop().await;
    children
}

#[tokio::test(start_paused = true)]
async fn a_reconciler_reads_its_own_writes() {
    let children = settle(30).await;
    assert_eq!(children.len(), 30);
    assert!(children.values().all(|count| *count == 3), "{children:?}");
}

#[tokio::test(start_paused = true)]
async fn events_are_counted_on_the_server() {
    let cluster = TestCluster::apiserver().await;
    let about = reference(&create(&maps(&cluster), "a").await);
    let recorder =
        Recorder::new(cluster.client.clone(), "test-controller", cluster.clock.clone(), &cluster.tasks);
    for _ in 0..3 {
        recorder.event(&about, Type::Warning, "Failed", "it did not work");
    }
    recorder.action(&about, Type::Normal, "Scheduled", "Binding", "it is bound");
    let events = Api::<Event>::default_namespaced(cluster.client.clone());
    let found = cluster
        .eventually("two events, one counted", async || {
            let found = events.list(&ListParams::default()).await.unwrap().items;
            let counted = found.iter().any(|event| event.count == Some(3));
            if found.len() == 2 && counted { Ok(found) } else { Err(found) }
        })
        .await;
    assert!(found.iter().all(|event| event.involved_object.uid == about.uid), "{found:?}");
    assert_eq!(recorder.dropped(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_on_when_its_holder_leaves_or_dies() {
    let cluster = TestCluster::apiserver().await;
    let join = |identity: &str| {
        let tasks = cluster.tasks.child();
        let config = LeaderConfig::new("test", "kube-system", identity);
        (elect(cluster.client.clone(), config, cluster.clock.clone(), &tasks), tasks)
    };
    let (first, _) = join("first");
    first.acquired().await;
    let (second, second_tasks) = join("second");
    tokio::time::sleep(HOUR).await;
    assert!(first.is_leading() && !second.is_leading());

    let start = Instant::now();
    first.release().await;
    second.acquired().await;
    assert!(start.elapsed() <= Duration::from_secs(3), "{:?}", start.elapsed());

    // Dies without a word: its task is dropped where it stands.
    let (third, _) = join("third");
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(second_tasks.stop_within(Duration::ZERO).await);
    let start = Instant::now();
    third.acquired().await;
    let waited = start.elapsed().as_secs();
    assert!((10..=20).contains(&waited), "{waited} s");
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), "kube-system");
    let lease = leases.get("test").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("third"));
    cluster.stop().await;
}
