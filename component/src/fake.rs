//! A small API server for this crate's tests: objects of any kind in memory, list, watch, get, create, replace and
//! merge patch, with the failures a test asks for. The real one is tested against the same code in
//! `tests/conformance`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::BoxError;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

#[derive(Clone, Default)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    revision: u64,
    /// By path, e.g. `/api/v1/namespaces/a/configmaps/b`.
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, &'static str, Value, String)>,
    watchers: Vec<(String, mpsc::UnboundedSender<Value>)>,
    /// Watches from before this revision are refused with 410.
    oldest: u64,
    requests: Vec<String>,
    /// The next requests whose line contains the text are refused with the status.
    refuse: Vec<(String, u16)>,
}

impl Fake {
    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        crate::client::from_service(tower::service_fn(move |request| {
            let fake = fake.clone();
            async move { Ok::<_, BoxError>(fake.answer(request).await) }
        }))
    }

    /// Puts an object at its path, as another client would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.world.lock().write(path, object);
    }

    pub(crate) fn delete(&self, path: &str) {
        self.world.lock().delete(path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.world.lock().objects.get(path).cloned()
    }

    /// Ends all watches in order.
    pub(crate) fn close_watches(&self) {
        self.world.lock().watchers.clear();
    }

    /// Ends all watches and forgets what happened so far.
    pub(crate) fn compact(&self) {
        let mut world = self.world.lock();
        world.watchers.clear();
        world.oldest = world.revision;
    }

    /// Sends a bookmark at a new revision to all watches.
    pub(crate) fn bookmark(&self) -> u64 {
        let mut world = self.world.lock();
        world.revision += 1;
        let revision = world.revision;
        let object =
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"resourceVersion": revision.to_string()}});
        let event = json!({"type": "BOOKMARK", "object": object});
        world.watchers.retain(|(_, watcher)| watcher.send(event.clone()).is_ok());
        revision
    }

    pub(crate) fn refuse(&self, line: &str, status: u16) {
        self.world.lock().refuse.push((line.to_owned(), status));
    }

    /// The requests so far whose line contains a text.
    pub(crate) fn requests(&self, containing: &str) -> Vec<String> {
        self.world.lock().requests.iter().filter(|line| line.contains(containing)).cloned().collect()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        let line = format!("{} {}", parts.method, parts.uri);
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };

        let mut world = self.world.lock();
        world.requests.push(line.clone());
        if let Some(at) = world.refuse.iter().position(|(text, _)| line.contains(text.as_str())) {
            return failure(world.refuse.remove(at).1);
        }
        if parameter("watch").is_some() {
            let from = parameter("resourceVersion").and_then(|from| from.parse().ok()).unwrap_or_default();
            return world.watch(path, from);
        }
        let is_collection = path.rsplit('/').next().is_some_and(|last| last.ends_with('s'));
        match parts.method {
            Method::GET if is_collection => {
                let number = |name| parameter(name).and_then(|number| number.parse().ok());
                world.list(path, number("limit"), number("continue").unwrap_or_default())
            }
            Method::GET => world.objects.get(path).map_or_else(|| failure(404), |object| found(200, object)),
            Method::POST => {
                let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap_or_default());
                if world.objects.contains_key(&path) {
                    taken()
                } else {
                    found(201, &world.write(&path, sent))
                }
            }
            Method::PUT => match world.objects.get(path) {
                None => failure(404),
                Some(old) if old["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] => {
                    failure(409)
                }
                Some(_) => found(200, &world.write(path, sent)),
            },
            Method::PATCH => match world.objects.get(path).cloned() {
                None => failure(404),
                Some(mut object) => {
                    merge(&mut object, &sent);
                    found(200, &world.write(path, object))
                }
            },
            _ => failure(405),
        }
    }
}

impl World {
    fn write(&mut self, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        let old = self.objects.get(path);
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.revision.to_string());
        if metadata["uid"].is_null() {
            let uid = old.map_or_else(
                || format!("uid-{}", self.revision).into(),
                |old| old["metadata"]["uid"].clone(),
            );
            metadata["uid"] = uid;
        }
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.insert(path.to_owned(), object.clone());
        self.log(kind, path, &object);
        object
    }

    fn delete(&mut self, path: &str) {
        self.revision += 1;
        let mut object = self.objects.remove(path).expect("a test deletes what is there");
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.log("DELETED", path, &object);
    }

    fn log(&mut self, kind: &'static str, path: &str, object: &Value) {
        self.log.push((self.revision, kind, object.clone(), path.to_owned()));
        let event = json!({"type": kind, "object": object});
        self.watchers.retain(|(of, watcher)| !is_in(path, of) || watcher.send(event.clone()).is_ok());
    }

    fn list(&self, path: &str, limit: Option<usize>, skip: usize) -> Answer {
        let inside = self.objects.iter().filter(|(key, _)| is_in(key, path));
        let rest: Vec<_> = inside.skip(skip).map(|(_, object)| object).collect();
        let items = &rest[..rest.len().min(limit.unwrap_or(usize::MAX))];
        let next = (items.len() < rest.len()).then(|| (skip + items.len()).to_string());
        let metadata = json!({"resourceVersion": self.revision.to_string(), "continue": next});
        found(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(&mut self, path: &str, from: u64) -> Answer {
        if from < self.oldest {
            return failure(410);
        }
        let (sender, events) = mpsc::unbounded_channel();
        for (revision, kind, object, at) in &self.log {
            if *revision > from && is_in(at, path) {
                let _ = sender.send(json!({"type": kind, "object": object}));
            }
        }
        self.watchers.push((path.to_owned(), sender));
        let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(events)
            .map(|event| Ok::<_, BoxError>(hyper::body::Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// Whether an object's path lies in a collection, of one or of all namespaces.
fn is_in(object: &str, collection: &str) -> bool {
    let (parent, _) = object.rsplit_once('/').expect("paths have parts");
    let (root, plural) = collection.rsplit_once('/').expect("paths have parts");
    parent == collection || (parent.starts_with(root) && parent.ends_with(&format!("/{plural}")))
}

fn merge(object: &mut Value, patch: &Value) {
    let (Some(fields), Some(patch)) = (object.as_object_mut(), patch.as_object()) else {
        *object = patch.clone();
        return;
    };
    for (name, value) in patch {
        merge(fields.entry(name.clone()).or_insert(Value::Null), value);
    }
}

fn found(status: u16, object: &Value) -> Answer {
    let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).expect("a test gives a status");
    answer
}

fn taken() -> Answer {
    refusal(409, "AlreadyExists")
}

fn failure(status: u16) -> Answer {
    let reason = match status {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "InternalError",
    };
    refusal(status, reason)
}

fn refusal(status: u16, reason: &str) -> Answer {
    found(
        status,
        &json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
            "reason": reason, "message": format!("refused with {status}"),
        }),
    )
}
