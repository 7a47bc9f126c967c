//! A lean HTTPS client, one connection a client: for load, where a full client would be most of what is measured.
//!
//! Reads address and identity from the kubeconfig that the server wrote. HTTP/1.1, as kube-rs speaks it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a server is and who we are to it.
#[derive(Clone)]
pub struct Wire {
    connector: TlsConnector,
    address: String,
    name: ServerName<'static>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Wire {
    /// Reads a kubeconfig with embedded certificates.
    ///
    /// # Errors
    /// When it is not one.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(kubeconfig).context("kubeconfig")?;
        let config: Value = serde_yaml_ng::from_str(&text).context("kubeconfig")?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let pem = |from: &Value, name: &str| {
            let text = from[name].as_str().with_context(|| format!("no {name}"))?;
            STANDARD.decode(text).with_context(|| format!("{name} is not base64"))
        };
        let authority = pem(cluster, "certificate-authority-data")?;
        let certificate = pem(user, "client-certificate-data")?;
        let key = pem(user, "client-key-data")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority)?)?;
        let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>()?;
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
        let server = cluster["server"].as_str().context("no server")?;
        let address = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Self { connector: Arc::new(tls).into(), address, name })
    }

    /// Opens a connection. Its work runs on the current runtime until the connection ends.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let (sender, work) = http1::handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
        tokio::spawn(work);
        Ok(Connection { sender, host: self.address.clone() })
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Sends a request and returns the body as it comes. A JSON body.
    ///
    /// # Errors
    /// When the connection ends or the answer is not a success.
    pub async fn stream(&mut self, method: Method, path: &str, body: Bytes) -> Result<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let text = answer.into_body().collect().await?.to_bytes();
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&text))
    }

    /// Sends a request and returns the whole body.
    ///
    /// # Errors
    /// When the connection ends or the answer is not a success.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        Ok(self.stream(method, path, body).await?.collect().await?.to_bytes())
    }
}

/// Gives pods of the namespace `default` the service account that admission asks for. Where no controllers run, nobody
/// else makes it.
///
/// # Errors
/// When the server refuses it.
pub async fn create_service_account(connection: &mut Connection) -> Result<()> {
    let account =
        Bytes::from_static(br#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#);
    connection.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", account).await?;
    Ok(())
}
