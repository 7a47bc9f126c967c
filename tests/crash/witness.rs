//! A watch that never lists again: whatever happens to the server, it resumes from the last revision it saw.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep, timeout};

use crate::writer::{Operation, facts};

/// How long the last events may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// An object that is written when all others are done.
const END: &str = "the-end";

/// What the watch saw, by object, in the order it came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    objects: BTreeMap<String, Vec<(&'static str, u64, u64)>>,
    last: u64,
    events: usize,
}

/// The watch, running.
#[derive(Debug)]
pub(crate) struct Witness {
    maps: Api<ConfigMap>,
    watching: JoinHandle<Seen>,
}

impl Witness {
    pub(crate) async fn start(maps: Api<ConfigMap>) -> Self {
        let list = maps.list(&ListParams::default()).await.expect("a list");
        let from = list.metadata.resource_version.expect("a revision").parse().expect("a number");
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        let watching = tokio::spawn(watch(maps.clone(), from));
        Self { maps, watching }
    }

    /// Waits until everything that was written has been seen.
    pub(crate) async fn finish(self) -> Seen {
        let metadata = ObjectMeta { name: Some(END.to_owned()), ..ObjectMeta::default() };
        let data = Some([("value".to_owned(), "0".to_owned())].into());
        let end = ConfigMap { metadata, data, ..ConfigMap::default() };
        self.maps.create(&PostParams::default(), &end).await.expect("the last server answers");
        timeout(PATIENCE, self.watching)
            .await
            .expect("the watch catches up")
            .expect("the watch found nothing wrong")
    }
}

impl Seen {
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Compares the events of one object with the writes that took effect: the same, in the same order.
    pub(crate) fn compare(&self, name: &str, done: &[Operation]) {
        let seen = self.objects.get(name).map_or(&[][..], Vec::as_slice);
        let mut there = false;
        let expected = done.iter().map(|operation| match operation {
            Operation::Put { value, .. } => {
                let kind = if std::mem::replace(&mut there, true) { "MODIFIED" } else { "ADDED" };
                (kind, *value)
            }
            Operation::Deleted { value } => {
                there = false;
                ("DELETED", *value)
            }
        });
        let expected: Vec<_> = expected.collect();
        let kinds: Vec<_> = seen.iter().map(|(kind, _, value)| (*kind, *value)).collect();
        assert_eq!(kinds, expected, "{name}: what was seen (left) and what was written");
        for (operation, (_, revision, _)) in done.iter().zip(seen) {
            if let Operation::Put { revision: written, value } = operation {
                assert_eq!(revision, written, "{name}: value {value}");
            }
        }
    }

    fn event(&mut self, kind: &'static str, map: &ConfigMap) {
        let (revision, value) = facts(map);
        assert!(revision > self.last, "the watch went from {} to {revision}", self.last);
        self.last = revision;
        self.events += 1;
        let name = map.metadata.name.clone().expect("a name");
        self.objects.entry(name).or_default().push((kind, revision, value));
    }
}

async fn watch(maps: Api<ConfigMap>, from: u64) -> Seen {
    let mut seen = Seen { last: from, ..Seen::default() };
    while !seen.objects.contains_key(END) {
        let Ok(stream) = maps.watch(&WatchParams::default(), &seen.last.to_string()).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mut stream = stream.boxed();
        // An error here is the end of a connection; what follows it is the point of this test.
        while let Ok(Some(event)) = stream.try_next().await {
            match event {
                WatchEvent::Added(map) => seen.event("ADDED", &map),
                WatchEvent::Modified(map) => seen.event("MODIFIED", &map),
                WatchEvent::Deleted(map) => seen.event("DELETED", &map),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => panic!("the watch cannot resume: {status:?}"),
            }
            if seen.objects.contains_key(END) {
                break;
            }
        }
    }
    seen
}
