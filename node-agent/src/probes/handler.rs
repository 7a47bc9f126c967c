//! One probe or hook: run a program, ask over HTTP, connect, or ask over gRPC.
//!
//! Promise: ends within the probe's timeout. Texts of failures are upstream's (`pkg/probe`), they end up in events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::pods::Node;
use crate::runtime::RuntimeError;

/// What is shown of a program's or server's answer, in bytes. Upstream's limit.
const SHOWN_BYTES: usize = 10 << 10;

/// Longest time of a hook that has no limit of its own.
const HOOK_LIMIT: Duration = Duration::from_secs(3600);

/// Redirects that an HTTP probe follows, on the same host.
const REDIRECTS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeError {
    /// The container said no.
    Failed(String),
    /// The probe itself could not be run.
    Errored(String),
}

/// The container that is probed.
#[derive(Clone, Debug)]
pub(super) struct Target {
    id: String,
    address: Option<IpAddr>,
    ports: BTreeMap<String, i32>,
}

impl Target {
    pub(super) fn new(id: &str, pod: &core::Pod, container: &core::Container, addresses: &[IpAddr]) -> Self {
        let host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        // With the host's network a container listens on the node.
        let address = if host { Some(IpAddr::from([127, 0, 0, 1])) } else { addresses.first().copied() };
        Self { id: id.to_owned(), address, ports: named_ports(container) }
    }

    pub(super) fn container(&self) -> &str {
        &self.id
    }

    pub(super) async fn probe(&self, node: &Node, probe: &core::Probe) -> Result<(), ProbeError> {
        let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1) as u64);
        if let Some(exec) = &probe.exec {
            return exec_probe(node, &self.id, exec, limit).await;
        }
        let run = async {
            if let Some(get) = &probe.http_get {
                return http_get(get, self.address, &self.ports).await;
            }
            if let Some(tcp) = &probe.tcp_socket {
                let address = self.host_and_port(tcp.host.as_deref(), &tcp.port)?;
                return match TcpStream::connect(&address).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(ProbeError::Failed(format!("dial tcp {address}: {}", go_text(&error)))),
                };
            }
            if let Some(grpc) = &probe.grpc {
                let address = self.host_and_port(None, &IntOrString::Int(grpc.port))?;
                return super::handler::grpc_health(&address, grpc.service.as_deref().unwrap_or_default())
                    .await;
            }
            Err(ProbeError::Errored("missing probe handler".to_owned()))
        };
        match tokio::time::timeout(limit, run).await {
            Ok(result) => result,
            Err(_) => Err(ProbeError::Failed(format!(
                "context deadline exceeded: no answer within {}s",
                limit.as_secs()
            ))),
        }
    }

    fn host_and_port(&self, host: Option<&str>, port: &IntOrString) -> Result<String, ProbeError> {
        host_and_port(host, port, self.address, &self.ports)
    }
}

/// Runs a lifecycle hook of a container.
pub(crate) async fn hook(
    node: &Node,
    id: &str,
    container: &core::Container,
    hook: &core::LifecycleHandler,
    addresses: &[IpAddr],
) -> Result<(), String> {
    let text = |error| match error {
        ProbeError::Failed(text) | ProbeError::Errored(text) => text,
    };
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output =
            node.runtime.exec_sync(id, &command, HOOK_LIMIT).await.map_err(|error| error.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                command.join(" "),
                shown(&[output.stdout, output.stderr].concat())
            )),
        };
    }
    if let Some(get) = &hook.http_get {
        let ports = named_ports(container);
        return http_get(get, addresses.first().copied(), &ports).await.map_err(text);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64)).await;
    }
    Ok(())
}

async fn exec_probe(
    node: &Node,
    id: &str,
    exec: &core::ExecAction,
    limit: Duration,
) -> Result<(), ProbeError> {
    let command = exec.command.clone().unwrap_or_default();
    match node.runtime.exec_sync(id, &command, limit).await {
        Ok(output) if output.exit_code == 0 => Ok(()),
        Ok(output) => Err(ProbeError::Failed(shown(&[output.stdout, output.stderr].concat()))),
        Err(RuntimeError::Refused(text)) if text.contains("DeadlineExceeded") => Err(ProbeError::Failed(
            format!("command timed out: \"{}\" timed out after {}s", command.join(" "), limit.as_secs()),
        )),
        Err(error) => Err(ProbeError::Errored(error.to_string())),
    }
}

async fn http_get(
    get: &core::HTTPGetAction,
    address: Option<IpAddr>,
    ports: &BTreeMap<String, i32>,
) -> Result<(), ProbeError> {
    let host = host_and_port(get.host.as_deref(), &get.port, address, ports)?;
    let path = get.path.as_deref().unwrap_or("/");
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let secure = get.scheme.as_deref() == Some("HTTPS");
    for _ in 0..REDIRECTS {
        let (status, body, location) = one_get(&host, &path, secure, get).await?;
        match (status, location) {
            (300..=399, Some(location)) => match same_host(&location, &host) {
                Some(next) => path = next,
                // Upstream takes a redirect to elsewhere as success with a warning.
                None => return Ok(()),
            },
            (200..=399, _) => return Ok(()),
            (status, _) => {
                let text = format!("HTTP probe failed with statuscode: {status}");
                tracing::debug!(host, path, status, body, "probe answer");
                return Err(ProbeError::Failed(text));
            }
        }
    }
    Err(ProbeError::Failed(format!("stopped after {REDIRECTS} redirects")))
}

async fn one_get(
    host: &str,
    path: &str,
    secure: bool,
    get: &core::HTTPGetAction,
) -> Result<(u16, String, Option<String>), ProbeError> {
    let scheme = if secure { "https" } else { "http" };
    let failed = |text: String| ProbeError::Failed(format!("Get \"{scheme}://{host}{path}\": {text}"));
    let stream = TcpStream::connect(host)
        .await
        .map_err(|error| failed(format!("dial tcp {host}: {}", go_text(&error))))?;
    let mut request = http::Request::builder()
        .uri(path)
        .header("User-Agent", concat!("kube-probe/", env!("CARGO_PKG_VERSION")))
        .header("Accept", "*/*");
    let mut has_host = false;
    for header in get.http_headers.iter().flatten() {
        has_host |= header.name.eq_ignore_ascii_case("host");
        request = request.header(&header.name, &header.value);
    }
    if !has_host {
        request = request.header("Host", host);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| ProbeError::Errored(error.to_string()))?;
    if secure {
        let stream = crate::serve::tls::connect_unverified(stream, host).await.map_err(failed)?;
        exchange(stream, request).await.map_err(failed)
    } else {
        exchange(stream, request).await.map_err(failed)
    }
}

async fn exchange<IO>(
    io: IO,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, String, Option<String>), String>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|error| error.to_string())?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let location =
            answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        let mut answer = answer.into_body();
        while let Some(Ok(frame)) = answer.frame().await {
            body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if body.len() > SHOWN_BYTES {
                break;
            }
        }
        Ok((status, shown(&body), location))
    };
    let talk = std::pin::pin!(talk);
    let connection = std::pin::pin!(connection);
    match futures::future::select(talk, connection).await {
        futures::future::Either::Left((result, _)) => result,
        futures::future::Either::Right((_, talk)) => talk.await,
    }
}

/// grpc.health.v1.Health/Check.
pub(super) async fn grpc_health(address: &str, service: &str) -> Result<(), ProbeError> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Question {
        #[prost(string, tag = "1")]
        service: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Answer {
        #[prost(int32, tag = "1")]
        status: i32,
    }
    const SERVING: i32 = 1;
    let failed = |text: String| ProbeError::Failed(format!("error: {text}"));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| ProbeError::Errored(error.to_string()))?;
    let channel = endpoint.connect().await.map_err(|_| {
        ProbeError::Failed(format!("timeout: failed to connect service \"{address}\" within 1s"))
    })?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| failed(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let question = tonic::Request::new(Question { service: service.to_owned() });
    let codec = tonic_prost::ProstCodec::<Question, Answer>::default();
    let answer = grpc.unary(question, path, codec).await.map_err(|status| {
        failed(format!(
            "health rpc probe failed: rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        ))
    })?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        other => {
            let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
                .get(other as usize)
                .unwrap_or(&"UNKNOWN");
            Err(ProbeError::Failed(format!("service unhealthy (responded with \"{name}\")")))
        }
    }
}

fn host_and_port(
    host: Option<&str>,
    port: &IntOrString,
    address: Option<IpAddr>,
    ports: &BTreeMap<String, i32>,
) -> Result<String, ProbeError> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match ports.get(name).copied().or_else(|| name.parse().ok()) {
            Some(number) => number,
            None => return Err(ProbeError::Errored(format!("couldn't find port: {name}"))),
        },
    };
    if !(1..=65535).contains(&number) {
        return Err(ProbeError::Errored(format!("invalid port number: {number}")));
    }
    let host = match (host.filter(|host| !host.is_empty()), address) {
        (Some(host), _) => host.to_owned(),
        (None, Some(IpAddr::V6(address))) => format!("[{address}]"),
        (None, Some(address)) => address.to_string(),
        (None, None) => return Err(ProbeError::Errored("the pod has no address".to_owned())),
    };
    Ok(format!("{host}:{number}"))
}

fn named_ports(container: &core::Container) -> BTreeMap<String, i32> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| Some((port.name.clone()?, port.container_port))).collect()
}

/// The path of a redirect to the same host.
fn same_host(location: &str, host: &str) -> Option<String> {
    if location.starts_with('/') {
        return Some(location.to_owned());
    }
    let uri: http::Uri = location.parse().ok()?;
    let name =
        |text: &str| text.rsplit_once(':').map_or_else(|| text.to_owned(), |(name, _)| name.to_owned());
    (uri.authority()?.host() == name(host))
        .then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
}

/// A connection error in Go's words, which people search for.
fn go_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names_and_numbers() {
        let ports = [("http".to_owned(), 8080)].into();
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        let of = |port| host_and_port(None, &port, address, &ports);
        assert_eq!(of(IntOrString::String("http".into())).unwrap(), "10.0.0.1:8080");
        assert_eq!(of(IntOrString::Int(80)).unwrap(), "10.0.0.1:80");
        assert!(of(IntOrString::String("none".into())).is_err());
        assert!(of(IntOrString::Int(0)).is_err());
    }

    #[test]
    fn redirects_stay_on_the_host() {
        assert_eq!(same_host("/x?y", "h:1"), Some("/x?y".into()));
        assert_eq!(same_host("http://h:2/z", "h:1"), Some("/z".into()));
        assert_eq!(same_host("http://other/z", "h:1"), None);
    }
}
