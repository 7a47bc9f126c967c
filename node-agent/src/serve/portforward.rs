//! Port-forward: each connection of the client becomes one to a port inside of the pod.
//!
//! Promise: SPDY/3.1 (`portforward.k8s.io`), bare or inside of WebSocket (`SPDY/3.1+portforward.k8s.io`, what kubectl
//! speaks since 1.31). For each connection the client opens an error and a data stream with the same `requestid`. The
//! pod's loopback is reached from a thread that enters its network namespace. Errors go out as text.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use component::tasks::Tasks;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use super::remote::{is_spdy, offers, spdy_accept};
use super::spdy::{Connection, Role, Stream};
use super::{Body, text, websocket};
use crate::pods::{AssignedPod, Pods};

const PROTOCOL: &str = "portforward.k8s.io";
const TUNNELED: [&str; 1] = ["SPDY/3.1+portforward.k8s.io"];

/// Time for a connection inside of the pod.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connections that may wait for their second stream.
const HALF_OPEN: usize = 256;

const CHUNK: usize = 32 << 10;

pub(super) async fn answer(
    mut request: Request<Incoming>,
    pods: Pods,
    pod: &AssignedPod,
    tasks: &Tasks,
) -> Response<Body> {
    let runtime = Arc::clone(&pods.node().runtime);
    let sandbox = match runtime.list(Some(pod.uid())).await {
        Ok(listing) => listing.sandboxes.into_iter().find(|sandbox| sandbox.ready),
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let Some(sandbox) = sandbox else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "unable to forward port because pod is not running");
    };
    let namespace = match runtime.network_namespace(&sandbox.id).await {
        Ok(namespace) => namespace,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let to = Arc::new(Destination {
        namespace,
        uid: pod.uid().to_owned(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
    });
    let headers = request.headers().clone();
    let upgraded = hyper::upgrade::on(&mut request);
    let connections = tasks.clone();
    if websocket::is_websocket(&headers) {
        let Some(protocol) = websocket::choose(&headers, &TUNNELED) else {
            return text(StatusCode::BAD_REQUEST, "unable to upgrade: no sub-protocol is supported");
        };
        tasks.spawn_until_stopped("port-forward", async move {
            let Ok(upgraded) = upgraded.await else { return };
            let (io, pump) = websocket::tunnel(upgraded).await;
            tokio::join!(pump, serve(io, to, connections));
        });
        return websocket::accept(&headers, protocol);
    }
    if !is_spdy(&headers) || !offers(&headers, PROTOCOL) {
        return text(StatusCode::BAD_REQUEST, format!("unable to upgrade: expected SPDY/3.1 and {PROTOCOL}"));
    }
    tasks.spawn_until_stopped("port-forward", async move {
        let Ok(upgraded) = upgraded.await else { return };
        serve(TokioIo::new(upgraded), to, connections).await;
    });
    spdy_accept(PROTOCOL)
}

/// Where connections go.
#[derive(Debug)]
struct Destination {
    /// `None`: the node's own network.
    namespace: Option<PathBuf>,
    uid: String,
    pod: String,
}

async fn serve<IO>(io: IO, to: Arc<Destination>, tasks: Tasks)
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let (connection, mut opened, driver) = Connection::over(io, Role::Server);
    let accept = async {
        let mut waiting: HashMap<String, Stream> = HashMap::new();
        while let Some(stream) = opened.recv().await {
            // Old clients send no id; then the port is what joins the two.
            let key = stream
                .headers
                .get("requestid")
                .or_else(|| stream.headers.get("port"))
                .unwrap_or_default()
                .to_owned();
            let Some(first) = waiting.remove(&key) else {
                if waiting.len() < HALF_OPEN {
                    waiting.insert(key, stream);
                }
                continue;
            };
            let first_is_data = first.headers.get("streamtype") == Some("data");
            let (data, error) = if first_is_data { (first, stream) } else { (stream, first) };
            tasks.spawn_until_stopped("port-forward-connection", forward(data, error, Arc::clone(&to)));
        }
        drop(connection);
    };
    tokio::select! {
        () = accept => {}
        result = driver => if let Err(error) = result {
            debug!(error = %error, "port-forward broke");
        },
    }
}

async fn forward(data: Stream, mut error: Stream, to: Arc<Destination>) {
    let port = data.headers.get("port").and_then(|port| port.parse().ok());
    let result = match port {
        Some(port) => relay(data, &to, port).await,
        None => Err("the port is missing".to_owned()),
    };
    if let Err(why) = result {
        let port = port.unwrap_or(0);
        let text = format!("error forwarding port {port} to pod {}, uid {}: {why}", to.pod, to.uid);
        error.outgoing.send(text.into()).await;
    }
    error.outgoing.close().await;
}

async fn relay(data: Stream, to: &Destination, port: u16) -> Result<(), String> {
    let connected = tokio::time::timeout(CONNECT_LIMIT, connect(to.namespace.clone(), port)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(format!(
                "failed to connect to localhost:{port} inside namespace \"{}\": {error}",
                to.uid
            ));
        }
        Err(_) => return Err(format!("connecting to localhost:{port} timed out")),
    };
    let (mut reader, mut writer) = stream.into_split();
    let Stream { mut incoming, mut outgoing, .. } = data;
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // The other side may have closed already.
        let _ = writer.shutdown().await;
    };
    let outward = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count) = reader.read(&mut chunk).await {
            if count == 0 || !outgoing.send(bytes::Bytes::copy_from_slice(&chunk[..count])).await {
                break;
            }
        }
        outgoing.close().await;
    };
    // The answer's end ends the connection, as upstream does it.
    tokio::pin!(inward, outward);
    tokio::select! {
        () = &mut outward => {}
        () = &mut inward => outward.await,
    }
    Ok(())
}

/// Connects to the loopback of a network namespace.
async fn connect(namespace: Option<PathBuf>, port: u16) -> std::io::Result<TcpStream> {
    let Some(namespace) = namespace else {
        return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own: it ends in the other namespace.
    std::thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
        let connected = std::fs::File::open(&namespace).and_then(|file| {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            let connect = |address| std::net::TcpStream::connect_timeout(&address, CONNECT_LIMIT);
            let stream = connect(v4).or_else(|error| connect(v6).map_err(|_| error))?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        // Nobody waits any more after a timeout.
        let _ = sender.send(connected);
    })?;
    let stream = receiver.await.map_err(|_| std::io::Error::other("the connecting thread ended"))??;
    TcpStream::from_std(stream)
}
