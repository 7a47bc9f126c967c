//! Connections to node agents: where a pod's node is and how it is spoken to.
//!
//! Promise: the server shows its own client certificate; the node's serving certificate is not verified, as
//! upstream does without `--kubelet-certificate-authority`. A node that cannot be reached is an error that says so.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::object;
use crate::pki::Identity;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{encode, record};

/// Time to reach a node.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The port of a node that does not name one.
const DEFAULT_PORT: u16 = 10250;

/// Sends a request to the node agent of a node. The answer may be an upgrade.
pub(super) async fn send(
    server: &Arc<Server>,
    node: &str,
    request: Request<Full<Bytes>>,
) -> ApiResult<Response<Incoming>> {
    exchange(server, &address(server, node, None)?, Scheme::Https, request).await
}

/// How something behind the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Sends a request to `host:port` on a connection of its own.
pub(super) async fn exchange(
    server: &Arc<Server>,
    address: &str,
    scheme: Scheme,
    request: Request<Full<Bytes>>,
) -> ApiResult<Response<Incoming>> {
    ask(server, address, scheme, request).await.map_err(|error| {
        ApiError::internal(format!("error dialing backend: {}", dial_error(address, &error)))
    })
}

/// The same, failing with what the connection said.
pub(crate) async fn ask(
    server: &Arc<Server>,
    address: &str,
    scheme: Scheme,
    request: Request<Full<Bytes>>,
) -> io::Result<Response<Incoming>> {
    let dial = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match scheme {
            Scheme::Http => talk(server, stream, request).await,
            Scheme::Https => talk(server, secured(server, stream).await?, request).await,
        }
    };
    tokio::time::timeout(DIAL_TIMEOUT, dial).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Why an address could not be reached, in Go's words for the common reasons.
pub(crate) fn dial_error(address: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        io::ErrorKind::TimedOut => format!("dial tcp {address}: i/o timeout"),
        _ => format!("dial tcp {address}: {error}"),
    }
}

async fn talk(
    server: &Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    server.tasks.spawn("backend-connection", async move {
        // Its failure reaches the request that uses it.
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(io::Error::other)
}

/// `host:port` of a node's agent, as the node's status says.
pub(super) fn address(server: &Server, name: &str, port: Option<u16>) -> ApiResult<String> {
    let kind = server.kinds.kind("", "v1", "Node").ok_or_else(ApiError::no_such_resource)?;
    let node: Value = encode::decoded(&record(server, kind, "", name)?.bytes)?;
    let addresses = object::list_at(&node, &["status", "addresses"]);
    let of = |kind: &str| addresses.iter().find(|address| address["type"] == kind);
    let address = ["InternalIP", "Hostname", "ExternalIP"].into_iter().find_map(of);
    let host = address.map(|address| object::str_at(address, &["address"])).filter(|host| !host.is_empty());
    let host = host
        .ok_or_else(|| ApiError::internal(format!("no preferred addresses found; node {name:?} has none")))?;
    let own = object::int_at(&node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let own = own.filter(|port| *port > 0).and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
    Ok(host_port(host, port.unwrap_or(own)))
}

/// `host:port`, with brackets where the host has colons.
pub(super) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn secured(server: &Server, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let config = config(server.kubelet_client.get()).map_err(io::Error::other)?;
    // The name is not checked; an address always makes one.
    let name = ServerName::from(stream.peer_addr()?.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn config(identity: Option<&Identity>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyNode(provider)));
    match identity.and_then(|identity| Some((identity.chain(), identity.private_key()?))) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Trusts every certificate a node shows, but not broken signatures.
#[derive(Debug)]
struct AnyNode(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
