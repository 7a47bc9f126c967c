//! The HTTPS listener: one port, HTTP/1.1 and HTTP/2, identities from client certificates.
//!
//! Promise: a connection without a certificate is served as anonymous (or by its token), one with a certificate
//! that this CA did not sign is refused by TLS. When the tasks stop, open requests end gracefully.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::tasks::Tasks;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::authn::certificate;
use crate::http::handle;
use crate::pki::Identity;
use crate::service::Apiserver;

/// Time for a TLS handshake, and for a request's head on HTTP/1.1.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection (apiserver `http2-max-streams-per-connection`).
const STREAMS: u32 = 1000;
/// Time between pings on an idle HTTP/2 connection.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: is another server running there?")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The certificates do not make a server.
    #[error("the serving certificate cannot be used")]
    Tls(#[source] rustls::Error),
    /// The CA's certificate does not verify clients.
    #[error("the client CA cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

/// What the listener shows and whom it trusts.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    /// The serving certificate.
    pub serving: Identity,
    /// Certificates, in PEM, of the CAs whose client certificates are identities.
    pub client_ca: String,
}

/// Listens and serves until the tasks stop; tells where.
pub async fn listen(
    apiserver: Apiserver,
    tls: &TlsSetup,
    address: SocketAddr,
    tasks: &Tasks,
) -> Result<SocketAddr, ListenError> {
    let listener = bind(address).await?;
    let address = listener.local_addr().map_err(|source| ListenError::Bind { address, source })?;
    serve_on(listener, apiserver, tls, tasks)?;
    Ok(address)
}

/// Takes an address to listen on.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
}

/// Serves on a listener, in tasks of its own.
pub fn serve_on(
    listener: TcpListener,
    apiserver: Apiserver,
    tls: &TlsSetup,
    tasks: &Tasks,
) -> Result<(), ListenError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls_config(tls)?));
    let inner = tasks.clone();
    tasks.spawn("apiserver-listener", async move {
        let stopping = inner.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let (apiserver, acceptor, tasks) = (apiserver.clone(), acceptor.clone(), inner.clone());
                        inner.spawn("apiserver-connection", async move {
                            serve(apiserver, acceptor, stream, peer, tasks).await;
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    });
    Ok(())
}

async fn serve(
    apiserver: Apiserver,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    tasks: Tasks,
) {
    // Watches send small frames that must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%peer, %error, "no TLS"),
        Err(_) => return debug!(%peer, "TLS takes too long"),
    };
    let user = stream.get_ref().1.peer_certificates().and_then(|chain| certificate::user(chain.first()?));
    let server = apiserver.inner();
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(user) = &user {
            request.extensions_mut().insert(user.clone());
        }
        let server = server.clone();
        async move {
            let request = request.map(|body| {
                body.map_frame(|frame| frame.map_data(Bytes::from)).map_err(Into::into).boxed_unsync()
            });
            Ok::<_, std::convert::Infallible>(handle(server, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_EVERY)
        .adaptive_window(true);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%peer, %error, "connection ended");
    }
}

fn tls_config(tls: &TlsSetup) -> Result<ServerConfig, ListenError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(tls.client_ca.as_bytes()).flatten() {
        roots.add(ca).map_err(ListenError::Tls)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(ListenError::ClientCa)?;
    let key =
        tls.serving.private_key().ok_or(ListenError::Tls(rustls::Error::General("no private key".into())))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ListenError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(tls.serving.chain(), key)
        .map_err(ListenError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
