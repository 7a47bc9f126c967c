//! What only a device can break: restarts, locks, other formats, damaged files, long histories.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::super::*;
use super::{POD, PODS, delete, extract, object, put};

/// Small limits, so that memory forgets before the disk does and both forget within a test.
fn config(directory: &Path) -> StoreConfig {
    StoreConfig {
        engine: EngineChoice::Disk(directory.into()),
        memory_history: HistoryLimits { events: 10, bytes: usize::MAX },
        disk_history: HistoryLimits { events: 2000, bytes: usize::MAX },
    }
}

fn open(directory: &TempDir) -> Store {
    Store::open(config(directory.path()), extract).unwrap()
}

async fn write(store: &Store, specs: std::ops::RangeInclusive<u64>) {
    // In pieces that are polled in order, so that specs and revisions go together.
    for piece in specs.collect::<Vec<_>>().chunks(25) {
        let writes = piece.iter().map(|spec| store.commit(put(POD, Expect::Any, *spec)));
        futures::future::try_join_all(writes).await.unwrap();
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    {
        let store = open(&directory);
        store.commit(put(POD, Expect::Absent, 1)).await.unwrap();
        store.commit(put(&format!("{PODS}default/gone"), Expect::Absent, 2)).await.unwrap();
        store.commit(put(POD, Expect::Revision(Revision(1)), 3)).await.unwrap();
        store.commit(delete(&format!("{PODS}default/gone"), Expect::Any)).await.unwrap();
    }
    let store = open(&directory);
    assert_eq!(store.revision(), Revision(4));
    let pod = store.get(POD).unwrap();
    assert_eq!((pod.revision, pod.created, pod.header.name()), (Revision(3), Revision(1), "web"));
    assert_eq!(object(&pod)["spec"], 3);
    assert_eq!(store.snapshot().range(PODS, None).count(), 1);
    let mut cursor = store.watch(PODS, Revision(1)).unwrap();
    let mut seen = Vec::new();
    for _ in 2..=4 {
        let event = cursor.next().await.unwrap();
        seen.push((
            event.revision.0,
            event.kind,
            event.previous.as_ref().map(|previous| previous.revision.0),
        ));
    }
    assert_eq!(
        seen,
        [(2, EventKind::Added, None), (3, EventKind::Modified, Some(1)), (4, EventKind::Deleted, Some(2))]
    );
    assert_eq!(object(store.snapshot_at(Revision(2)).unwrap().get(POD).unwrap())["spec"], 1);
    assert_eq!(store.commit(put(POD, Expect::Any, 5)).await.unwrap().revision, Revision(5));
}

#[tokio::test]
async fn writes_of_one_key_in_one_batch_see_each_other() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let creates = (0..50).map(|spec| store.commit(put(POD, Expect::Absent, spec)));
    let outcomes = futures::future::join_all(creates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(store.revision(), Revision(1));
    let updates = (0..50).map(|spec| store.commit(put(POD, Expect::Revision(Revision(1)), spec)));
    let outcomes = futures::future::join_all(updates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(store.revision(), Revision(2));
}

#[tokio::test]
async fn a_slow_watch_catches_up_from_the_disk() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let mut slow = store.watch(PODS, Revision::ZERO).unwrap();
    write(&store, 1..=1500).await;
    for revision in 1..=1500 {
        let event = slow.next().await.unwrap();
        assert_eq!(event.revision, Revision(revision));
        assert_eq!(object(&event.record)["spec"], revision);
        assert_eq!(event.previous.as_ref().map_or(0, |previous| previous.revision.0), revision - 1);
    }
    assert!(slow.ready().await.unwrap().is_none());
    drop((slow, store));
    let store = open(&directory);
    let mut resumed = store.watch(POD, Revision(3)).unwrap();
    assert_eq!(resumed.next().await.unwrap().revision, Revision(4));
}

#[tokio::test]
async fn old_history_goes_and_state_stays() {
    let directory = TempDir::new().unwrap();
    let quiet = "/registry/core/nodes/quiet";
    {
        let store = open(&directory);
        store.commit(put(quiet, Expect::Absent, 7)).await.unwrap();
        store.commit(put(&format!("{PODS}default/gone"), Expect::Absent, 0)).await.unwrap();
        store.commit(delete(&format!("{PODS}default/gone"), Expect::Any)).await.unwrap();
        write(&store, 1..=4000).await;
        assert!(matches!(store.watch(PODS, Revision(5)), Err(WatchError::Expired { .. })));
        assert!(store.watch(PODS, Revision(3000)).is_ok());
    }
    let store = open(&directory);
    assert_eq!(store.revision(), Revision(4003));
    assert_eq!(object(&store.get(quiet).unwrap())["spec"], 7);
    assert_eq!(store.snapshot().objects.len(), 2);
    let expired = store.watch(PODS, Revision(5)).unwrap_err();
    assert!(
        matches!(expired, WatchError::Expired { from: Revision(5), oldest } if oldest > Revision(1000)),
        "{expired}"
    );
    let mut cursor = store.watch(PODS, Revision(3000)).unwrap();
    for revision in 3001..=4003 {
        assert_eq!(cursor.next().await.unwrap().revision, Revision(revision));
    }
}

#[tokio::test]
async fn one_directory_one_process() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let error = Store::open(config(directory.path()), extract).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"));
    drop(store);
    open(&directory);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    let path = directory.path().join("format");
    fs::write(&path, "2\n").unwrap();
    let error = Store::open(config(directory.path()), extract).unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 2, supported: FORMAT, .. }), "{error}");
    assert!(error.to_string().contains("has format 2, this version reads format 1"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    fs::write(&path, "what?").unwrap();
    assert!(matches!(Store::open(config(directory.path()), extract), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(config(&file.join("store")), extract).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_or_harmless_but_never_other_data() {
    let directory = TempDir::new().unwrap();
    {
        let store = open(&directory);
        for name in 0..100 {
            store.commit(put(&format!("{PODS}default/pod-{name}"), Expect::Absent, name)).await.unwrap();
        }
        // Some of the pods end up before the history, some within.
        write(&store, 1..=2200).await;
    }
    let path = directory.path().join("log.redb");
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for round in 0..60 {
        let mut damaged = whole.clone();
        let at = (round * 7919 + 13) * 257 % damaged.len();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        match Store::open(config(directory.path()), extract) {
            Ok(store) => {
                assert_eq!(
                    (store.revision(), store.snapshot().objects.len()),
                    (Revision(2300), 101),
                    "byte {at}"
                );
                for name in 0..100 {
                    let pod = store.get(&format!("{PODS}default/pod-{name}")).unwrap();
                    assert_eq!(object(&pod)["spec"], json!(name), "byte {at}");
                }
            }
            Err(OpenError::Corrupt { .. } | OpenError::Engine(_)) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused > 2, "damage was noticed {refused} times in 60");
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_an_error() {
    let directory = TempDir::new().unwrap();
    {
        let store = open(&directory);
        write(&store, 1..=300).await;
    }
    let path = directory.path().join("log.redb");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    let error = Store::open(config(directory.path()), extract).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. } | OpenError::Engine(_)), "{error}");
}
