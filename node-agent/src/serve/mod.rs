//! The agent's HTTPS API: logs, exec, attach, port-forward, pods, stats, health, metrics.
//!
//! Promise: paths and parameters are the kubelet's, so that any API server and `kubectl` work with it. Nobody without
//! a client certificate or token gets more than health; who may do what is decided in `access`. One listener
//! serves all nodes of a process.

mod access;
pub(crate) mod logs;
mod portforward;
mod query;
mod remote;
pub(crate) mod session;
pub(crate) mod spdy;
mod stats;
pub(crate) mod tls;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::tasks::Tasks;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use crate::config::Config;
use crate::pods::{AssignedPod, Pods};
use access::Access;
use component::access::{Caller, bearer};
use query::Query;

/// Time for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A body that may be a stream.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the serving certificate or its key cannot be used: {0}")]
    Certificate(String),
    #[error("the client CA cannot be used: {0}")]
    ClientCa(String),
}

/// What all connections share.
#[derive(Clone)]
struct Server {
    nodes: Arc<Vec<Pods>>,
    access: Arc<Access>,
    tasks: Tasks,
}

/// Starts to serve; gives the port.
pub(crate) async fn listen(
    config: &Config,
    nodes: Vec<Pods>,
    client: &Client,
    tasks: &Tasks,
) -> Result<u16, ServeError> {
    let serving = &config.serving;
    let names: Vec<String> =
        nodes.iter().flat_map(|pods| pods.node().addresses.iter().map(ToString::to_string)).collect();
    let tls = tls::acceptor(serving, &config.node_name, &names)?;
    let address = SocketAddr::new(serving.address, serving.port);
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let access = Access::new(client.clone(), serving.trusted_names.clone());
    let server = Server { nodes: Arc::new(nodes), access: Arc::new(access), tasks: tasks.clone() };
    tasks.spawn_until_stopped("node-api", async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => server.connection(stream, tls.clone()),
                Err(error) => {
                    // Out of file descriptors: others may be freed soon.
                    debug!(error = %error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(port)
}

impl Server {
    fn connection(&self, stream: TcpStream, tls: tokio_rustls::TlsAcceptor) {
        let server = self.clone();
        self.tasks.spawn_until_stopped("node-api-connection", async move {
            // Failure is only slower typing.
            let _ = stream.set_nodelay(true);
            let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return debug!(error = %error, "TLS handshake failed"),
                Err(_) => return,
            };
            let peer = Arc::new(Caller::shown_by(stream.get_ref().1.peer_certificates()));
            let service = service_fn(move |request| {
                let (server, peer) = (server.clone(), Arc::clone(&peer));
                async move { Ok::<_, Infallible>(server.answer(request, &peer).await) }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.with_upgrades().await {
                debug!(error = %error, "connection ended");
            }
        });
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Option<Caller>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if let ["healthz" | "livez" | "readyz", ..] = parts[..] {
            return text(StatusCode::OK, "ok");
        }
        let verb = if request.method() == Method::GET { "get" } else { "create" };
        if let Err((status, why)) =
            self.access.check(peer.as_ref(), bearer(request.headers()), verb, self.nodes[0].node()).await
        {
            return text(status, why);
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        match parts[..] {
            ["pods"] => self.pod_list(),
            ["runningpods"] => self.pod_list(),
            ["metrics"] => stats::metrics(&self.nodes).await,
            ["stats", "summary"] => stats::summary(&self.nodes).await,
            ["containerLogs", namespace, pod, container] => match self.find(namespace, pod) {
                Ok((pods, pod)) => logs::answer(&pods, &pod, container, &query, &self.tasks).await,
                Err(answer) => *answer,
            },
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                self.remote(request, namespace, pod, container, &query, true).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                self.remote(request, namespace, pod, container, &query, false).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                match self.find(namespace, pod) {
                    Ok((pods, pod)) => portforward::answer(request, pods, &pod, &self.tasks).await,
                    Err(answer) => *answer,
                }
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    async fn remote(
        &self,
        request: Request<Incoming>,
        namespace: &str,
        pod: &str,
        container: &str,
        query: &Query,
        exec: bool,
    ) -> Response<Body> {
        let (pods, pod) = match self.find(namespace, pod) {
            Ok(found) => found,
            Err(answer) => return *answer,
        };
        let id = match running_container(&pods, &pod, container).await {
            Ok(id) => id,
            Err((status, why)) => return text(status, why),
        };
        let command = exec.then(|| query.all("command"));
        remote::answer(request, Arc::clone(&pods.node().runtime), id, command, query, &self.tasks).await
    }

    fn find(&self, namespace: &str, name: &str) -> Result<(Pods, Arc<AssignedPod>), Box<Response<Body>>> {
        let found = self.nodes.iter().find_map(|pods| Some((pods.clone(), pods.find(namespace, name)?)));
        found.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found"))))
    }

    fn pod_list(&self) -> Response<Body> {
        let pods = self.nodes.iter().flat_map(Pods::all).filter_map(|record| record.decode().ok());
        let items: Vec<_> = pods.collect();
        json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }
}

/// The id of a container that runs now.
async fn running_container(
    pods: &Pods,
    pod: &AssignedPod,
    name: &str,
) -> Result<String, (StatusCode, String)> {
    let listing = pods.node().runtime.list(Some(pod.uid())).await;
    let listing = listing.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let found = listing.containers.into_iter().find(|container| container.name == name);
    match found {
        Some(container) if container.state == crate::runtime::RunState::Running => Ok(container.id),
        Some(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("container not running ({name})"))),
        None => {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            Err((StatusCode::NOT_FOUND, format!("container not found (\"{name}\" in pod \"{pod}\")")))
        }
    }
}

pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}
