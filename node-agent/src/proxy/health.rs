//! What the proxy tells over HTTP: its own health and mode, and for load balancers whether a service has endpoints here.
//!
//! Promise: paths, codes and bodies are kube-proxy's. A port that is taken is told of in the log, and tried again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::clock::Clock;
use component::informers::Key;
use component::metrics::{self, Registry};
use component::tasks::Tasks;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::model::HealthCheck;

/// Connections at a time on one port; more wait.
const CONNECTIONS: usize = 64;
/// How long a client may take for its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Until a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// Upstream calls a proxy unhealthy that has had work for so long and has not done it.
const OVERDUE: Duration = Duration::from_secs(60);

/// What the servers tell. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct State {
    clock: Clock,
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// When the rules were last in step.
    updated: Timestamp,
    /// Since when a change has been waiting.
    waiting: Option<Timestamp>,
    /// A node that goes away should get no connections from load balancers.
    eligible: bool,
    checks: BTreeMap<Key, HealthCheck>,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        let updated = clock.now();
        let inner = Inner { updated, waiting: None, eligible: true, checks: BTreeMap::new() };
        Self { clock, inner: Arc::new(RwLock::new(inner)) }
    }

    /// A change waits for a sync.
    pub(super) fn queued(&self) {
        let now = self.clock.now();
        self.inner.write().waiting.get_or_insert(now);
    }

    pub(super) fn updated(&self) {
        let now = self.clock.now();
        let mut inner = self.inner.write();
        (inner.updated, inner.waiting) = (now, None);
    }

    pub(super) fn set_eligible(&self, eligible: bool) {
        self.inner.write().eligible = eligible;
    }

    fn is_healthy(&self) -> bool {
        let waiting = self.inner.read().waiting;
        waiting.is_none_or(|since| self.clock.since(since) < OVERDUE)
    }

    /// The answer of `/healthz` (which also asks whether the node is eligible) and of `/livez`.
    fn own(&self, and_eligible: bool) -> Response<Full<Bytes>> {
        let healthy = self.is_healthy();
        let (now, inner) = (self.clock.now(), self.inner.read());
        let good = healthy && (inner.eligible || !and_eligible);
        // Upstream gives the current time as the last update of a healthy proxy: it would have updated had there been
        // anything to do.
        let updated = if healthy { now } else { inner.updated };
        let mut body =
            serde_json::json!({"lastUpdated": updated.to_string(), "currentTime": now.to_string()});
        if and_eligible {
            body["nodeEligible"] = inner.eligible.into();
        }
        answer(
            if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
            "application/json",
            body.to_string(),
        )
    }

    /// The answer of a service's health check port.
    fn of_service(&self, key: &Key) -> Response<Full<Bytes>> {
        let healthy = self.is_healthy();
        let local = self.inner.read().checks.get(key).map_or(0, |check| check.local_endpoints);
        let good = healthy && local > 0;
        let body = serde_json::json!({"service": {"namespace": key.namespace, "name": key.name},
            "localEndpoints": local, "serviceProxyHealthy": healthy});
        let mut response = answer(
            if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
            "application/json",
            body.to_string(),
        );
        let weight = http::HeaderValue::from(local);
        response.headers_mut().insert("x-load-balancing-endpoint-weight", weight);
        response
    }
}

/// Serves `/healthz` and `/livez`.
pub(super) fn serve_health(address: SocketAddr, state: State, tasks: &Tasks) {
    serve(address, "proxy-healthz", tasks, move |path| match path {
        "/healthz" => state.own(true),
        "/livez" => state.own(false),
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".to_owned()),
    });
}

/// Serves `/metrics`, `/healthz` and `/proxyMode`.
pub(super) fn serve_metrics(address: SocketAddr, mode: &'static str, registry: Registry, tasks: &Tasks) {
    serve(address, "proxy-metrics", tasks, move |path| match path {
        "/metrics" => answer(StatusCode::OK, metrics::CONTENT_TYPE, registry.encode()),
        "/proxyMode" => answer(StatusCode::OK, "text/plain", mode.to_owned()),
        "/healthz" => answer(StatusCode::OK, "text/plain", "ok".to_owned()),
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".to_owned()),
    });
}

/// The servers of health check node ports.
#[derive(Debug)]
pub(super) struct HealthChecks {
    state: State,
    tasks: Tasks,
    running: BTreeMap<Key, (u16, Tasks)>,
}

impl HealthChecks {
    pub(super) fn new(state: State, tasks: Tasks) -> Self {
        Self { state, tasks, running: BTreeMap::new() }
    }

    /// Serves these and no others.
    pub(super) fn set(&mut self, checks: &BTreeMap<Key, HealthCheck>) {
        if self.state.inner.read().checks == *checks {
            return;
        }
        self.state.inner.write().checks.clone_from(checks);
        self.running.retain(|key, (port, tasks)| {
            let stays = checks.get(key).is_some_and(|check| check.port == *port);
            if !stays {
                tasks.tell_to_stop();
            }
            stays
        });
        for (key, check) in checks {
            if self.running.contains_key(key) {
                continue;
            }
            let (tasks, state, of) = (self.tasks.child(), self.state.clone(), key.clone());
            let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), check.port);
            info!(namespace = key.namespace, name = key.name, port = check.port, "health check port opens");
            serve(address, "proxy-health-check", &tasks, move |_| state.of_service(&of));
            self.running.insert(key.clone(), (check.port, tasks));
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}

/// Listens until the tasks stop; plain HTTP, by path.
fn serve(
    address: SocketAddr,
    name: &'static str,
    tasks: &Tasks,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
) {
    let connections = tasks.clone();
    tasks.spawn_until_stopped(name, async move {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => warn!(server = name, %address, %error, "cannot listen, will try again"),
            }
            tokio::time::sleep(RETRY).await;
        };
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: a pause lets others finish.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let answer = answer.clone();
            connections.spawn_until_stopped("proxy-connection", async move {
                let respond = service_fn(move |request: Request<hyper::body::Incoming>| {
                    ready(Ok::<_, Infallible>(answer(request.uri().path())))
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(REQUEST_LIMIT);
                let _ = http.serve_connection(TokioIo::new(stream), respond).await;
                drop(slot);
            });
        }
    });
}
