//! The store against a model that is too simple to be wrong: a list of everything that ever happened.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use super::{delete, extract, object, put};

const KEYS: [&str; 5] = [
    "/registry/core/pods/a/x",
    "/registry/core/pods/a/y",
    "/registry/core/pods/b/x",
    "/registry/core/nodes/n",
    "/registry/apps/deployments/a/x",
];
const PREFIXES: [&str; 5] = [
    "/registry/",
    "/registry/core/pods/",
    "/registry/core/pods/a/",
    "/registry/core/pods/a/x",
    "/registry/core/nodes/",
];

/// Events kept in memory and on disk: few, so that every case meets both edges.
const IN_MEMORY: usize = 6;
const ON_DISK: usize = 15;

#[derive(Clone, Copy, Debug)]
enum Guess {
    Absent,
    Newest,
    Wrong,
    Any,
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, Guess),
    Delete(usize, Guess),
    /// Several writes that may share a batch.
    Burst(Vec<(usize, Guess)>),
    Reopen,
}

/// One write that happened: key, state after it, revision that created the object.
#[derive(Clone, Debug)]
struct Happened {
    key: &'static str,
    spec: Option<u64>,
    created: u64,
    existed: bool,
}

#[derive(Default)]
struct Model {
    log: Vec<Happened>,
}

impl Model {
    fn state_at(&self, revision: usize) -> BTreeMap<&'static str, (u64, u64, u64)> {
        let mut state = BTreeMap::new();
        for (at, happened) in self.log[..revision].iter().enumerate() {
            match happened.spec {
                Some(spec) => state.insert(happened.key, (at as u64 + 1, happened.created, spec)),
                None => state.remove(happened.key),
            };
        }
        state
    }

    fn current(&self, key: &str) -> Option<(u64, u64)> {
        self.state_at(self.log.len()).get(key).map(|(revision, created, _)| (*revision, *created))
    }

    /// The write a step means, and whether it will go through.
    fn plan(&mut self, key: usize, guess: Guess, deletes: bool) -> (Write, bool) {
        let key = KEYS[key];
        let (revision, spec) = (self.log.len() as u64 + 1, self.log.len() as u64 + 1);
        let current = self.current(key);
        let expect = match guess {
            Guess::Absent => Expect::Absent,
            Guess::Newest => Expect::Revision(Revision(current.map_or(0, |(revision, _)| revision))),
            Guess::Wrong => Expect::Revision(Revision(revision + 7)),
            Guess::Any => Expect::Any,
        };
        let fits = match guess {
            Guess::Absent => current.is_none() && !deletes,
            Guess::Newest => current.is_some(),
            Guess::Wrong => false,
            Guess::Any => current.is_some() || !deletes,
        };
        if fits {
            let created = current.map_or(revision, |(_, created)| created);
            let spec = (!deletes).then_some(spec);
            self.log.push(Happened { key, spec, created, existed: current.is_some() });
        }
        (if deletes { delete(key, expect) } else { put(key, expect, spec) }, fits)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let guess = || prop_oneof![1 => Just(Guess::Absent), 1 => Just(Guess::Newest), 1 => Just(Guess::Wrong), 3 => Just(Guess::Any)];
    prop_oneof![
        6 => (0..KEYS.len(), guess()).prop_map(|(key, guess)| Step::Put(key, guess)),
        3 => (0..KEYS.len(), guess()).prop_map(|(key, guess)| Step::Delete(key, guess)),
        1 => prop::collection::vec((0..KEYS.len(), guess()), 1..6).prop_map(Step::Burst),
        1 => Just(Step::Reopen),
    ]
}

fn open(directory: Option<&TempDir>) -> Store {
    let engine =
        directory.map_or(EngineChoice::Memory, |directory| EngineChoice::Disk(directory.path().into()));
    let config = StoreConfig {
        engine,
        memory_history: HistoryLimits { events: IN_MEMORY, bytes: usize::MAX },
        disk_history: HistoryLimits { events: ON_DISK, bytes: usize::MAX },
    };
    Store::open(config, extract).unwrap()
}

async fn run(steps: Vec<Step>, directory: Option<TempDir>) {
    let mut store = open(directory.as_ref());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(key, guess) => {
                let (write, fits) = model.plan(key, guess, false);
                assert_eq!(store.commit(write).await.is_ok(), fits);
            }
            Step::Delete(key, guess) => {
                let (write, fits) = model.plan(key, guess, true);
                assert_eq!(store.commit(write).await.is_ok(), fits);
            }
            Step::Burst(writes) => {
                let planned: Vec<_> =
                    writes.into_iter().map(|(key, guess)| model.plan(key, guess, false)).collect();
                let (writes, fit): (Vec<_>, Vec<_>) = planned.into_iter().unzip();
                let outcomes =
                    futures::future::join_all(writes.into_iter().map(|write| store.commit(write))).await;
                assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), fit);
            }
            Step::Reopen if directory.is_some() => {
                drop(store);
                store = open(directory.as_ref());
            }
            Step::Reopen => {}
        }
        check_state(&store, &model);
    }
    check_history(&store, &model, directory.is_some()).await;
}

fn state_of(snapshot: &Snapshot) -> BTreeMap<&str, (u64, u64, u64)> {
    let facts = |record: &std::sync::Arc<Record>| {
        let object = object(record);
        assert_eq!(object["metadata"]["resourceVersion"], record.revision.to_string());
        (record.revision.0, record.created.0, object["spec"].as_u64().unwrap())
    };
    snapshot.range("/registry/", None).map(|record| (record.key.as_str(), facts(record))).collect()
}

fn check_state(store: &Store, model: &Model) {
    let snapshot = store.snapshot();
    assert_eq!(snapshot.revision().0, model.log.len() as u64);
    assert_eq!(state_of(&snapshot), model.state_at(model.log.len()));
}

async fn check_history(store: &Store, model: &Model, on_disk: bool) {
    let newest = model.log.len();
    for revision in newest.saturating_sub(IN_MEMORY)..=newest {
        let snapshot = store.snapshot_at(Revision(revision as u64)).unwrap();
        assert_eq!(state_of(&snapshot), model.state_at(revision), "at {revision}");
    }
    let kept = if on_disk { ON_DISK } else { IN_MEMORY };
    for prefix in PREFIXES {
        for from in 0..=newest {
            let seen = watch_all(store, prefix, from).await;
            let Some(seen) = seen else {
                assert!(from < newest.saturating_sub(kept), "{prefix} after {from} of {newest} is kept");
                continue;
            };
            let covered =
                |key: &str| if prefix.ends_with('/') { key.starts_with(prefix) } else { key == prefix };
            let expected: Vec<_> = (from..newest).filter(|at| covered(model.log[*at].key)).collect();
            assert_eq!(seen.iter().map(|event| event.revision.0 as usize - 1).collect::<Vec<_>>(), expected);
            for event in seen {
                check_event(&event, model);
            }
        }
    }
}

fn check_event(event: &Event, model: &Model) {
    let at = event.revision.0 as usize - 1;
    let happened = &model.log[at];
    let kind = match (happened.spec, happened.existed) {
        (None, _) => EventKind::Deleted,
        (Some(_), true) => EventKind::Modified,
        (Some(_), false) => EventKind::Added,
    };
    assert_eq!((event.kind, event.record.key.as_str()), (kind, happened.key));
    let before = model.state_at(at).get(happened.key).map(|(revision, ..)| *revision);
    assert_eq!(event.previous.as_ref().map(|previous| previous.revision.0), before);
}

/// Everything a watch delivers now; `None` if it has expired.
async fn watch_all(store: &Store, prefix: &str, from: usize) -> Option<Vec<std::sync::Arc<Event>>> {
    let mut cursor = store.watch(prefix, Revision(from as u64)).ok()?;
    let mut seen = Vec::new();
    while let Some(event) = cursor.ready().await.ok()? {
        seen.push(event);
    }
    assert_eq!(cursor.progress(), store.revision());
    Some(seen)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(steps in prop::collection::vec(step(), 1..60)) {
        runtime().block_on(run(steps, None));
    }

    #[test]
    fn on_disk(steps in prop::collection::vec(step(), 1..60)) {
        runtime().block_on(run(steps, Some(TempDir::new().unwrap())));
    }
}
