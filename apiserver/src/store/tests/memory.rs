//! What holds for every engine, shown on the one without a device.

use std::sync::Arc;

use serde_json::json;
use tokio::time::{Duration, advance, timeout};

use super::super::*;
use super::{POD, PODS, delete, extract, object, put};

#[tokio::test(start_paused = true)]
async fn a_write_gets_the_next_revision_and_is_seen() {
    let store = Store::in_memory();
    let one = store.commit(put(POD, Expect::Absent, 1)).await.unwrap();
    assert_eq!((one.revision, one.created), (Revision(1), Revision(1)));
    assert_eq!(object(&one)["metadata"]["resourceVersion"], "1");
    let two = store.commit(put(POD, Expect::Revision(Revision(1)), 2)).await.unwrap();
    assert_eq!((two.revision, two.created), (Revision(2), Revision(1)));
    assert_eq!(store.get(POD).unwrap().revision, Revision(2));
    assert_eq!(store.revision(), Revision(2));
}

#[tokio::test(start_paused = true)]
async fn writes_that_do_not_fit_are_refused_and_take_no_revision() {
    let store = Store::in_memory();
    let absent = store.commit(put(POD, Expect::Revision(Revision(1)), 1)).await;
    assert!(matches!(absent, Err(CommitError::Conflict(None))));
    assert!(matches!(store.commit(delete(POD, Expect::Any)).await, Err(CommitError::Conflict(None))));
    store.commit(put(POD, Expect::Any, 1)).await.unwrap();
    let exists = store.commit(put(POD, Expect::Absent, 2)).await;
    assert!(matches!(exists, Err(CommitError::Exists(there)) if there.revision == Revision(1)));
    let conflict = store.commit(put(POD, Expect::Revision(Revision(9)), 2)).await;
    assert!(matches!(conflict, Err(CommitError::Conflict(Some(there))) if there.revision == Revision(1)));
    assert_eq!(store.revision(), Revision(1));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_keeps_its_last_state_in_the_event() {
    let store = Store::in_memory();
    store.commit(put(POD, Expect::Absent, 1)).await.unwrap();
    let gone = store.commit(delete(POD, Expect::Revision(Revision(1)))).await.unwrap();
    assert_eq!(object(&gone)["metadata"]["resourceVersion"], "2");
    assert!(store.get(POD).is_none());
    let again = store.commit(put(POD, Expect::Absent, 3)).await.unwrap();
    assert_eq!(again.created, Revision(3), "a new life");
    let mut cursor = store.watch(PODS, Revision(1)).unwrap();
    let event = cursor.next().await.unwrap();
    assert_eq!((event.kind, event.previous.as_ref().unwrap().revision), (EventKind::Deleted, Revision(1)));
    assert_eq!(cursor.next().await.unwrap().kind, EventKind::Added);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_does_not_change_and_pages_by_key() {
    let store = Store::in_memory();
    for name in ["b", "a", "c"] {
        store.commit(put(&format!("{PODS}default/{name}"), Expect::Absent, 1)).await.unwrap();
    }
    store.commit(put("/registry/core/podtemplates/default/x", Expect::Absent, 1)).await.unwrap();
    let snapshot = store.snapshot();
    store.commit(delete(&format!("{PODS}default/a"), Expect::Any)).await.unwrap();
    let keys = |after| snapshot.range(PODS, after).map(|r| r.key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(None), ["a", "b", "c"].map(|n| format!("{PODS}default/{n}")));
    assert_eq!(keys(Some("/registry/core/pods/default/a")), ["b", "c"].map(|n| format!("{PODS}default/{n}")));
    assert_eq!(keys(Some("/")).len(), 3, "a start before the prefix begins at the prefix");
    assert_eq!(store.snapshot().range(PODS, None).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn old_revisions_can_be_listed_until_they_age() {
    let store = Store::in_memory();
    for spec in 1..=3 {
        store.commit(put(POD, Expect::Any, spec)).await.unwrap();
    }
    let spec_at =
        |revision| object(store.snapshot_at(Revision(revision)).unwrap().get(POD).unwrap())["spec"].clone();
    assert_eq!((spec_at(1), spec_at(2), spec_at(3)), (json!(1), json!(2), json!(3)));
    assert!(store.snapshot_at(Revision::ZERO).unwrap().get(POD).is_none());
    assert_eq!(store.snapshot_at(Revision(4)).unwrap_err(), NoSnapshot::Future { newest: Revision(3) });
    advance(Duration::from_secs(30)).await;
    store.commit(put(POD, Expect::Any, 4)).await.unwrap();
    advance(SNAPSHOT_AGE).await;
    store.commit(put(POD, Expect::Any, 5)).await.unwrap();
    assert_eq!(store.snapshot_at(Revision(3)).unwrap_err(), NoSnapshot::Expired { oldest: Revision(4) });
    assert!(store.snapshot_at(Revision(4)).is_ok());
    assert!(store.watch(PODS, Revision(1)).is_ok(), "a watch goes back as far as the log");
}

#[tokio::test(start_paused = true)]
async fn a_kept_snapshot_outlives_the_history() {
    let history = HistoryLimits { events: 2, bytes: usize::MAX };
    let config = StoreConfig { memory_history: history, ..StoreConfig::new(EngineChoice::Memory) };
    let store = Store::open(config, extract).unwrap();
    store.commit(put(POD, Expect::Any, 1)).await.unwrap();
    store.keep(&store.snapshot());
    for spec in 2..=9 {
        store.commit(put(POD, Expect::Any, spec)).await.unwrap();
    }
    assert_eq!(object(store.snapshot_at(Revision(1)).unwrap().get(POD).unwrap())["spec"], 1);
    assert_eq!(store.snapshot_at(Revision(2)).unwrap_err(), NoSnapshot::Expired { oldest: Revision(7) });
}

#[tokio::test(start_paused = true)]
async fn a_watch_waits_for_its_own_prefix_only() {
    let store = Store::in_memory();
    let mut pods = store.watch(PODS, Revision::ZERO).unwrap();
    let mut one = store.watch(POD, Revision::ZERO).unwrap();
    store.commit(put("/registry/coordination.k8s.io/leases/default/web", Expect::Any, 1)).await.unwrap();
    store.commit(put("/registry/core/pods/default/web-2", Expect::Any, 1)).await.unwrap();
    assert_eq!(pods.next().await.unwrap().revision, Revision(2));
    assert!(timeout(Duration::from_secs(1), one.next()).await.is_err());
    assert_eq!((pods.progress(), one.progress()), (Revision(2), Revision(2)));
    store.commit(put(POD, Expect::Any, 1)).await.unwrap();
    assert_eq!((pods.progress(), one.progress()), (Revision(2), Revision(2)), "not delivered yet");
    assert_eq!(one.next().await.unwrap().revision, Revision(3));
    assert_eq!(one.progress(), Revision(3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_sees_everything_or_is_told() {
    let history = HistoryLimits { events: 200, bytes: usize::MAX };
    let config = StoreConfig { memory_history: history, ..StoreConfig::new(EngineChoice::Memory) };
    let store = Store::open(config, extract).unwrap();
    let mut slow = store.watch(PODS, Revision::ZERO).unwrap();
    for spec in 1..=200 {
        store.commit(put(POD, Expect::Any, spec)).await.unwrap();
    }
    for revision in 1..=150 {
        assert_eq!(slow.next().await.unwrap().revision, Revision(revision));
    }
    for spec in 1..=200 {
        store.commit(put(POD, Expect::Any, spec)).await.unwrap();
    }
    let end = loop {
        match slow.next().await {
            Ok(event) => assert!(event.revision <= Revision(200)),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, WatchError::Expired { oldest: Revision(200), .. }), "{end}");
    assert!(matches!(store.watch(PODS, Revision(3)), Err(WatchError::Expired { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_the_future_waits_for_it() {
    let store = Store::in_memory();
    let mut cursor = store.watch(PODS, Revision(2)).unwrap();
    for spec in 1..=3 {
        store.commit(put(POD, Expect::Any, spec)).await.unwrap();
    }
    assert_eq!(cursor.next().await.unwrap().revision, Revision(3));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_when_it_is_visible() {
    let store = Store::in_memory();
    let waiting = {
        let store = store.clone();
        async move { store.reached(Revision(2)).await }
    };
    let writing = async {
        for spec in 1..=2 {
            store.commit(put(POD, Expect::Any, spec)).await.unwrap();
        }
    };
    futures::join!(waiting, writing);
}

#[tokio::test(start_paused = true)]
async fn states_of_an_object_share_one_key() {
    let store = Store::in_memory();
    let one = store.commit(put(POD, Expect::Any, 1)).await.unwrap();
    let two = store.commit(put(POD, Expect::Any, 2)).await.unwrap();
    assert!(std::ptr::eq(one.key.as_str(), two.key.as_str()));
    let held = store.get(POD).unwrap();
    assert!(Arc::ptr_eq(&held, &two));
    assert!(std::ptr::eq(held.key.as_str(), one.key.as_str()));
}
