//! The server as a `tower::Service`: what a listener serves and what clients in the same process call.
//!
//! Promise: cheap to clone; works under a paused clock without real I/O. A request counts as coming from the
//! `authn::User` in its extensions, which only the listener and code in this process can put there.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use component::clock::Clock;
use component::random::Random;
use component::ready::Readiness;
use component::tasks::Tasks;
use futures::future::try_join_all;
use http_body_util::BodyExt;
use rcgen::KeyPair;
use serde_json::Value;
use tower::Service;

use crate::authn::User;
use crate::authn::token::{KeyError, Tokens};
use crate::config::Config;
use crate::discovery::Documents;
use crate::http::body::Body;
use crate::http::{BodyError, handle};
use crate::kinds::Kinds;
use crate::kinds::allocate::Allocations;
use crate::kinds::bootstrap::{Setting, authentication, endpoints, objects};
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::pki::Identity;
use crate::server::Server;
use crate::store::{EngineChoice, Expect, Record, Store, StoreConfig, Write};
use crate::verbs::encode;
use crate::{object, store};

/// A running API server. Clones share it.
#[derive(Clone)]
pub struct Apiserver {
    server: Arc<Server>,
}

/// Why a server cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("the store cannot be opened")]
    Store(#[source] store::OpenError),
    /// The objects every cluster has could not be written.
    #[error("the first objects of the cluster cannot be written")]
    Bootstrap(#[source] store::CommitError),
}

impl Apiserver {
    /// Opens the store and writes what every cluster has. Blocks while the store loads.
    pub async fn open(config: Config, clock: Clock, tasks: &Tasks) -> Result<Self, OpenError> {
        let random = config.seed.map_or_else(Random::from_entropy, Random::from_seed);
        let engine = match &config.data_dir {
            Some(directory) => EngineChoice::Disk(directory.clone()),
            None => EngineChoice::Memory,
        };
        let setup = StoreConfig::new(engine);
        let store = Store::open(setup, encode::extract).map_err(OpenError::Store)?;
        let kinds = Kinds::builtin();
        let (first, last) = config.node_port_range;
        let allocations = Allocations::new(config.service_cidr, first..=last, random.clone());
        for service in store.snapshot().range("/registry/core/services/", None) {
            allocations.occupy(&encode::decoded(&service.bytes).unwrap_or_default());
        }
        let server = Arc::new(Server {
            discovery: Documents::new(&kinds),
            openapi: OpenApi::new(kinds.clone()),
            allocations,
            readiness: Readiness::new(),
            limits: Default::default(),
            roles: Default::default(),
            kubelet_client: OnceLock::new(),
            components_here: Default::default(),
            token_key: OnceLock::new(),
            metrics: Metrics::new(component::metrics::Registry::of_process()),
            pages: Default::default(),
            tasks: tasks.clone(),
            config,
            store,
            kinds,
            clock,
            random,
        });
        bootstrap(&server).await.map_err(OpenError::Bootstrap)?;
        Ok(Self { server })
    }

    /// A service in which every request comes from this user.
    #[must_use]
    pub fn as_user(&self, user: User) -> AsUser {
        AsUser { apiserver: self.clone(), user }
    }

    /// Component `name` (`scheduler`, `controller-manager`) runs in this process and ends it when it fails:
    /// ComponentStatus says so instead of asking its port.
    pub fn runs_here(&self, name: &'static str) {
        self.server.components_here.write().insert(name);
    }

    /// The certificate the server shows to node agents.
    pub fn use_kubelet_client(&self, identity: &Identity) {
        let _ = self.server.kubelet_client.set(identity.clone());
    }

    /// The key that signs service account tokens; without one a key is made that ends with the process.
    pub fn use_token_key(&self, pair: &KeyPair) -> Result<(), KeyError> {
        let _ = self.server.token_key.set(Tokens::new(pair)?);
        Ok(())
    }

    pub(crate) fn inner(&self) -> Arc<Server> {
        self.server.clone()
    }

    /// Where components of the same process add pages, for those who may read them (`nonResourceURLs`).
    pub fn pages(&self) -> &component::serve::Pages {
        &self.server.pages
    }

    /// What `/metrics` shows; other parts of the process may add theirs.
    pub fn registry(&self) -> component::metrics::Registry {
        self.server.metrics.registry().clone()
    }

    /// What must be ready before `/readyz` says so.
    pub fn readiness(&self) -> &Readiness {
        &self.server.readiness
    }
}

impl<B> Service<::http::Request<B>> for Apiserver
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<B>) -> Self::Future {
        let server = self.server.clone();
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(handle(server, request).await) })
    }
}

impl fmt::Debug for Apiserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apiserver").field("revision", &self.server.store.revision()).finish_non_exhaustive()
    }
}

/// The server as one user sees it: a client made from it is that user.
#[derive(Clone, Debug)]
pub struct AsUser {
    apiserver: Apiserver,
    user: User,
}

impl<B> Service<::http::Request<B>> for AsUser
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: ::http::Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.user.clone());
        self.apiserver.call(request)
    }
}

/// Writes the first objects where they are not there yet, and says anew where this server is and whom it knows.
async fn bootstrap(server: &Arc<Server>) -> Result<(), store::CommitError> {
    let setting = Setting {
        service_cidr: server.config.service_cidr.to_string(),
        service_ip: server.config.service_cidr.first(),
        endpoint: server.config.advertise,
        client_ca: server.config.client_ca.clone(),
        now: server.clock.now_seconds().to_string(),
    };
    let first = objects(&setting).into_iter().map(|object| write_first(server, object, false));
    let moved = server.config.advertise.map(endpoints).into_iter().flatten();
    let moved = moved
        .chain(setting.client_ca.as_deref().map(authentication))
        .map(|object| write_first(server, object, true));
    // All at once: the store makes them durable together, in this order.
    try_join_all(first).await?;
    try_join_all(moved).await?;
    Ok(())
}

async fn write_first(server: &Arc<Server>, object: Value, follow: bool) -> Result<(), store::CommitError> {
    let version = object::str_at(&object, &["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let Some(kind) = server.kinds.kind(group, version, object::str_at(&object, &["kind"])) else {
        return Ok(());
    };
    let key = kind.storage_key(object::namespace(&object), object::name(&object));
    let there = server.store.get(&key);
    let Ok(object) = first_state(server, object, there.as_deref(), follow) else { return Ok(()) };
    let expect = there.map_or(Expect::Absent, |record| Expect::Revision(record.revision));
    let write = Write { key: key.into(), expect, change: encode::put(kind, &object) };
    server.store.commit(write).await.map(|_| ())
}

/// What to write, or `Err` if nothing.
fn first_state(
    server: &Server,
    mut object: Value,
    there: Option<&Record>,
    follow: bool,
) -> Result<Value, ()> {
    let Some(there) = there else {
        object::set_at(&mut object, &["metadata", "uid"], server.random.uuid());
        object::set_at(
            &mut object,
            &["metadata", "creationTimestamp"],
            server.clock.now_seconds().to_string(),
        );
        return Ok(object);
    };
    let old = encode::decoded(&there.bytes).map_err(|_| ())?;
    let facts = ["subsets", "endpoints", "ports", "addressType", "data"];
    if !follow || facts.iter().all(|fact| object.get(fact) == old.get(fact)) {
        return Err(());
    }
    let mut new = old;
    for fact in facts {
        object::carry_over(&mut new, &object, fact);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::{Request, StatusCode};
    use http_body_util::Full;
    use serde_json::json;
    use tower::ServiceExt;

    async fn server() -> AsUser {
        let config = Config { seed: Some(1), ..Config::default() };
        let apiserver = Apiserver::open(config, Clock::start(), &Tasks::new()).await.unwrap();
        apiserver.as_user(User::system_masters("test"))
    }

    async fn send(server: &AsUser, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let answer = server.clone().oneshot(request.body(Full::new(bytes)).unwrap()).await.unwrap();
        let code = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_lives_its_life() {
        let server = server().await;
        let path = "/api/v1/namespaces/default/configmaps";
        let object =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1"}});
        let (code, made) = send(&server, "POST", path, Some(object.clone())).await;
        assert_eq!(code, 201, "{made}");
        assert_eq!(send(&server, "POST", path, Some(object)).await.0, 409);
        let one = format!("{path}/c");
        let (code, patched) = send(&server, "PATCH", &one, Some(json!({"data": {"b": "2"}}))).await;
        assert_eq!((code, &patched["data"]), (StatusCode::OK, &json!({"a": "1", "b": "2"})));
        let (_, list) = send(&server, "GET", &format!("{path}?limit=1"), None).await;
        assert_eq!(
            (list["kind"].as_str(), list["items"].as_array().map(Vec::len)),
            (Some("ConfigMapList"), Some(1))
        );
        assert!(list["items"][0].get("kind").is_none());
        let since = made["metadata"]["resourceVersion"].as_str().unwrap();
        let watch = format!("{path}?watch=1&timeoutSeconds=1&resourceVersion={since}");
        let (_, event) = send(&server, "GET", &watch, None).await;
        assert_eq!((event["type"].as_str(), &event["object"]), (Some("MODIFIED"), &patched));
        let (code, gone) = send(&server, "DELETE", &one, None).await;
        assert_eq!((code, gone["status"].as_str()), (StatusCode::OK, Some("Success")));
        assert_eq!(send(&server, "GET", &one, None).await.0, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_see_health_only() {
        let config = Config { seed: Some(1), ..Config::default() };
        let apiserver = Apiserver::open(config, Clock::start(), &Tasks::new()).await.unwrap();
        let nobody = apiserver.as_user(User::anonymous());
        assert_eq!(send(&nobody, "GET", "/readyz", None).await, (StatusCode::OK, json!("ok")));
        assert_eq!(send(&nobody, "GET", "/api/v1/namespaces", None).await.0, 403);
    }
}
