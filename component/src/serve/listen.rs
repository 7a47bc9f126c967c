//! Listens for health and metrics requests.
//!
//! Promise: a bounded number of connections, each with a limit for its request headers; all are closed when the
//! tasks stop.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::{Endpoints, Health, roots};
use crate::access::{Caller, FrontProxy, Holder, Proxy};
use crate::metrics::Registry;
use crate::tasks::Tasks;

/// Connections served at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;

/// How long a client may take for the TLS handshake, and for its request headers.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The reason given by the operating system.
        source: std::io::Error,
    },

    /// A certificate or key file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },

    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Certificate(#[source] rustls::Error),

    /// The CA of the clients is of no use.
    #[error("the client CA cannot be used: {0}")]
    ClientCa(String),

    /// No certificate could be made.
    #[error("cannot make a self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
}

/// The certificate that the server shows, and those of clients that it takes.
#[derive(Clone)]
pub struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    clients: Option<Authority>,
    proxies: Option<Proxies>,
    config: Arc<ServerConfig>,
}

/// [`Tls`] as of now: it may change while the port is served.
#[derive(Clone, Debug)]
pub struct LiveTls(watch::Receiver<Tls>);

impl LiveTls {
    /// Whatever was sent last.
    #[must_use]
    pub fn following(tls: watch::Receiver<Tls>) -> Self {
        Self(tls)
    }

    fn now(&self) -> Tls {
        self.0.borrow().clone()
    }
}

impl From<Tls> for LiveTls {
    /// It stays as it is.
    fn from(tls: Tls) -> Self {
        Self(watch::channel(tls).1)
    }
}

/// The certificates that the other end of a connection has shown, of which the handshake has checked that they are of
/// one of the CAs of then.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    tls: LiveTls,
    chain: Arc<[CertificateDer<'static>]>,
}

impl Presented {
    /// What they prove now.
    pub(super) fn holder(&self) -> Holder {
        self.tls.now().holder(&self.chain)
    }
}

/// The CA of proxies, and what is trusted of them.
#[derive(Clone)]
struct Proxies {
    authority: Authority,
    front: Arc<FrontProxy>,
}

/// A CA, and what checks certificates by it.
#[derive(Clone)]
struct Authority {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// A certificate and key in PEM files (`--tls-cert-file`, `--tls-private-key-file`).
    ///
    /// # Errors
    ///
    /// Unreadable files, or a key that does not fit.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, ListenError> {
        let read = |path: &Path, source| ListenError::Read { path: path.to_owned(), source };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| read(certificate, source))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| read(key, source))?;
        Self::new(chain, Arc::new(private), None, None)
    }

    /// A certificate made for this run, as upstream's components do without files.
    ///
    /// # Errors
    ///
    /// When the key cannot be made.
    pub fn self_signed(names: &[&str]) -> Result<Self, ListenError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(ListenError::SelfSigned)?;
        Self::new(vec![made.cert.der().clone()], Arc::new(made.signing_key.into()), None, None)
    }

    /// The same, asking clients for a certificate of this CA (PEM). They may come without; one of another CA is refused.
    ///
    /// # Errors
    ///
    /// When there is no certificate in it.
    pub fn checking_clients(self, authority: &[u8]) -> Result<Self, ListenError> {
        let clients = Authority::read(authority)?;
        Self::new(self.chain, self.key, Some(clients), self.proxies)
    }

    /// The same, also taking certificates of the CA of proxies in front of the port.
    ///
    /// # Errors
    ///
    /// When there is no certificate in it.
    pub fn trusting_proxies(self, front: FrontProxy) -> Result<Self, ListenError> {
        let proxies = Proxies { authority: Authority::read(&front.authority)?, front: Arc::new(front) };
        Self::new(self.chain, self.key, self.clients, Some(proxies))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: Arc<PrivateKeyDer<'static>>,
        clients: Option<Authority>,
        proxies: Option<Proxies>,
    ) -> Result<Self, ListenError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(ListenError::Certificate)?;
        let mut roots = RootCertStore::empty();
        for authority in clients.iter().chain(proxies.as_ref().map(|proxies| &proxies.authority)) {
            roots.extend(authority.roots.roots.iter().cloned());
        }
        let builder = match roots.is_empty() {
            true => builder.with_no_client_auth(),
            false => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| ListenError::ClientCa(error.to_string()))?,
            ),
        };
        let config = builder.with_single_cert(chain.clone(), key.clone_key());
        let mut config = config.map_err(ListenError::Certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { chain, key, clients, proxies, config: Arc::new(config) })
    }

    /// What the certificates that a client has shown prove.
    fn holder(&self, shown: &[CertificateDer<'_>]) -> Holder {
        let [first, rest @ ..] = shown else { return Holder::default() };
        let signed = |by: &Authority| by.verifier.verify_client_cert(first, rest, UnixTime::now()).is_ok();
        let proxies = self.proxies.as_ref().filter(|proxies| signed(&proxies.authority));
        Holder {
            user: self.clients.as_ref().filter(|by| signed(by)).and_then(|_| Caller::from_certificate(first)),
            proxy: proxies
                .map(|proxies| Proxy { name: Caller::common_name(first), front: proxies.front.clone() }),
        }
    }
}

impl Authority {
    fn read(pem: &[u8]) -> Result<Self, ListenError> {
        let roots = roots(pem).map_err(|error| ListenError::ClientCa(error.to_string()))?;
        let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build();
        let verifier = verifier.map_err(|error| ListenError::ClientCa(error.to_string()))?;
        Ok(Self { roots, verifier })
    }
}

/// Serves health and metrics on an address until the tasks stop. Answers the address with the port that was taken,
/// which is useful for port 0.
///
/// # Errors
///
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    tls: Option<Tls>,
    health: Health,
    metrics: Registry,
    tasks: &Tasks,
) -> Result<SocketAddr, ListenError> {
    serve_pages(address, tls.map(LiveTls::from), Endpoints::new(health, metrics), tasks).await
}

/// [`serve`] with whatever the endpoints have.
///
/// # Errors
///
/// When the address cannot be bound.
pub async fn serve_pages(
    address: SocketAddr,
    tls: Option<LiveTls>,
    endpoints: Endpoints,
    tasks: &Tasks,
) -> Result<SocketAddr, ListenError> {
    let bind = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let local = listener.local_addr().map_err(bind)?;
    let connections = tasks.clone();
    tasks.spawn_until_stopped("health-server", async move {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, tls.clone(), endpoints.clone(), slot);
                    connections.spawn_until_stopped("health-connection", connection);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: a pause lets others finish.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(local)
}

async fn connection(
    stream: tokio::net::TcpStream,
    tls: Option<LiveTls>,
    endpoints: Endpoints,
    _slot: OwnedSemaphorePermit,
) {
    let Some(tls) = tls else { return answer(stream, endpoints).await };
    let handshake = TlsAcceptor::from(tls.now().config).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
        answer(stream, endpoints.for_presented(Presented { tls, chain })).await;
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, endpoints: Endpoints) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_LIMIT);
    builder.http2().timer(TokioTimer::new());
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(endpoints));
    if let Err(error) = served.await {
        tracing::debug!(%error, "health connection failed");
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("checks_clients", &self.clients.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::ready::Readiness;

    #[tokio::test]
    async fn listens_and_answers() {
        let tasks = Tasks::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let health = Health::new(Readiness::new());
        let local = serve(address, None, health.clone(), Registry::new(), &tasks).await.unwrap();
        let mut stream = tokio::net::TcpStream::connect(local).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");

        let taken = serve(local, None, health, Registry::new(), &tasks).await.unwrap_err();
        assert_eq!(taken.to_string(), format!("cannot listen on {local}"));
        assert!(tasks.stop().await.is_empty());
    }

    #[test]
    fn a_certificate_proves_what_its_authority_is_for() {
        let authority = || {
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            (rcgen::Issuer::new(params, key), pem)
        };
        let signed = |by: &rcgen::Issuer<'_, rcgen::KeyPair>, name: &str| {
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let key = rcgen::KeyPair::generate().unwrap();
            params.signed_by(&key, by).unwrap().der().clone()
        };
        let ((users, user_ca), (proxies, proxy_ca), (others, _)) = (authority(), authority(), authority());
        let own = Tls::self_signed(&["localhost"]).unwrap();
        let only_users = own.clone().checking_clients(user_ca.as_bytes()).unwrap();
        let front = FrontProxy { authority: proxy_ca.into_bytes(), ..FrontProxy::default() };
        let only_proxies = own.trusting_proxies(front.clone()).unwrap();
        let both = only_users.clone().trusting_proxies(front).unwrap();
        let (ann, front, eve) = (signed(&users, "ann"), signed(&proxies, "front"), signed(&others, "eve"));
        for (name, tls, shown, user, proxy) in [
            ("a user", &both, Some(&ann), Some("ann"), None),
            ("a proxy", &both, Some(&front), None, Some("front")),
            ("somebody else", &both, Some(&eve), None, None),
            ("nobody", &both, None, None, None),
            ("a proxy, where none is trusted", &only_users, Some(&front), None, None),
            ("a user, where only proxies are", &only_proxies, Some(&ann), None, None),
            ("a proxy, where only proxies are", &only_proxies, Some(&front), None, Some("front")),
        ] {
            let holder = tls.holder(shown.map_or(&[], std::slice::from_ref));
            assert_eq!(holder.user.map(|user| user.name).as_deref(), user, "{name}");
            assert_eq!(holder.proxy.map(|proxy| proxy.name).as_deref(), proxy, "{name}");
        }
    }

    #[test]
    fn a_certificate_can_be_made() {
        Tls::self_signed(&["localhost"]).unwrap();
        let missing = Tls::from_files(Path::new("/none.crt"), Path::new("/none.key")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /none.crt");
        let empty = Tls::self_signed(&["localhost"]).unwrap().checking_clients(b"").unwrap_err();
        assert_eq!(empty.to_string(), "the client CA cannot be used: there is no certificate in it");
    }
}
