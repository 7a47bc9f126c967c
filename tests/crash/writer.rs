//! A client that writes its own objects, and knows of each write whether it was acknowledged.
//!
//! Each object has one writer, so after a crash it must be exactly what was acknowledged last, or what the one write
//! without an answer would have made of it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

/// Objects a writer has.
const OBJECTS: usize = 4;
/// One write in so many deletes.
const DELETES: u32 = 6;

/// A write that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The object got this value at this revision.
    Put { revision: u64, value: u64 },
    /// The object with this value was deleted.
    Deleted { value: u64 },
}

/// What the writer knows of one object.
#[derive(Debug)]
struct Object {
    name: String,
    /// Revision and value; `None` if it is not there.
    now: Option<(u64, u64)>,
    /// What the write without an answer would have made of it.
    maybe: Option<Option<u64>>,
    done: Vec<Operation>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Writer {
    maps: Api<ConfigMap>,
    /// Counts what the server acknowledged, to all writers.
    acknowledged: watch::Sender<usize>,
    objects: Vec<Object>,
    random: StdRng,
    next_value: u64,
    newest: u64,
}

impl Writer {
    pub(crate) fn new(
        number: usize,
        maps: Api<ConfigMap>,
        acknowledged: watch::Sender<usize>,
        random: StdRng,
    ) -> Self {
        let object =
            |at| Object { name: format!("writer-{number}-{at}"), now: None, maybe: None, done: Vec::new() };
        let objects = (0..OBJECTS).map(object).collect();
        Self { maps, acknowledged, objects, random, next_value: 0, newest: 0 }
    }

    /// The highest revision that was acknowledged to this writer.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Checks what a restart left, then writes until the server is killed. `before` is the highest revision that
    /// anybody got before this server was started: all new ones must be higher.
    pub(crate) async fn run(mut self, before: u64, mut killed: watch::Receiver<bool>) -> Self {
        if self.settle(before).await.is_err() {
            return self;
        }
        loop {
            let at = self.random.random_range(0..OBJECTS);
            if self.write(at, before).await.is_err() {
                // Nobody answers any more: that must be our kill, not a failure.
                let _ = killed.wait_for(|killed| *killed).await;
                return self;
            }
        }
    }

    /// Checks everything once more and hands over what took effect.
    pub(crate) async fn finish(mut self, before: u64) -> Vec<(String, Vec<Operation>)> {
        self.settle(before).await.expect("the last server answers");
        self.objects.into_iter().map(|object| (object.name, object.done)).collect()
    }

    /// Compares what is there with what was acknowledged; learns how the write without an answer went.
    async fn settle(&mut self, before: u64) -> kube::Result<()> {
        for object in &mut self.objects {
            let found = patiently(|| self.maps.get_opt(&object.name)).await?.map(|map| facts(&map));
            match object.maybe.take() {
                Some(maybe) if found.map(|(_, value)| value) == maybe && found != object.now => {
                    object.done.push(match found {
                        Some((revision, value)) => Operation::Put { revision, value },
                        None => Operation::Deleted { value: object.now.expect("it was there").1 },
                    });
                    // Durable but not acknowledged: revisions of this and later servers are above it all the same.
                    self.newest = self.newest.max(found.map_or(0, |(revision, _)| revision));
                }
                _ => assert_eq!(found, object.now, "{} is not as it was acknowledged", object.name),
            }
            object.now = found;
            if let Some((revision, _)) = found {
                assert!(revision <= before.max(self.newest), "{} has a revision nobody wrote", object.name);
            }
        }
        Ok(())
    }

    async fn write(&mut self, at: usize, before: u64) -> kube::Result<()> {
        let object = &mut self.objects[at];
        self.next_value += 1;
        let value = self.next_value;
        let deletes = self.random.random_range(0..DELETES) == 0;
        let outcome = match object.now {
            None => {
                object.maybe = Some(Some(value));
                self.maps.create(&PostParams::default(), &map(object, value)).await.map(Some)
            }
            Some((revision, _)) if deletes => {
                object.maybe = Some(None);
                let preconditions = Preconditions { resource_version: Some(revision.to_string()), uid: None };
                let parameters =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                self.maps.delete(&object.name, &parameters).await.map(|_| None)
            }
            Some(_) => {
                object.maybe = Some(Some(value));
                self.maps.replace(&object.name, &PostParams::default(), &map(object, value)).await.map(Some)
            }
        };
        match outcome {
            Ok(written) => {
                self.acknowledged.send_modify(|count| *count += 1);
                object.maybe = None;
                let was = object.now;
                object.now = written.as_ref().map(facts);
                object.done.push(match object.now {
                    Some((revision, value)) => Operation::Put { revision, value },
                    None => Operation::Deleted { value: was.expect("only what is there is deleted").1 },
                });
                if let Some((revision, got)) = object.now {
                    assert_eq!(got, value, "{} holds what was not written", object.name);
                    assert!(revision > before, "revision {revision} after {before}: it went back");
                    self.newest = self.newest.max(revision);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) => panic!("{}: refused: {status:?}", object.name),
            Err(gone) => Err(gone),
        }
    }
}

/// Value and revision of an object.
pub(crate) fn facts(map: &ConfigMap) -> (u64, u64) {
    let revision = map.metadata.resource_version.as_deref().expect("a revision");
    let value = &map.data.as_ref().expect("data")["value"];
    (revision.parse().expect("a number"), value.parse().expect("a number"))
}

fn map(object: &Object, value: u64) -> ConfigMap {
    let resource_version = object.now.map(|(revision, _)| revision.to_string());
    let metadata = ObjectMeta { name: Some(object.name.clone()), resource_version, ..ObjectMeta::default() };
    ConfigMap {
        metadata,
        data: Some([("value".to_owned(), value.to_string())].into()),
        ..ConfigMap::default()
    }
}

/// Reads that meet a connection of the last server try again: reading twice is no harm.
async fn patiently<T, F: Future<Output = kube::Result<T>>>(mut read: impl FnMut() -> F) -> kube::Result<T> {
    for _ in 0..20 {
        match read().await {
            Err(error) if !matches!(error, kube::Error::Api(_)) => sleep(Duration::from_millis(5)).await,
            answered => return answered,
        }
    }
    read().await
}
