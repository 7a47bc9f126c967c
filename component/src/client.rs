//! A client from a kubeconfig or from an API server in the same process.
//!
//! Promise: a request that creates something is sent once. kube's own retry layer sends POST again after a 504,
//! which can create an object with `generateName` twice; here only reads are sent again, and everybody else
//! learns of the failure and decides. A wrong kubeconfig gives one sentence that says what to check.

pub mod lean;
mod limit;

pub use limit::limited;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, Service};

/// Requests that may wait for the connection pool before callers are held back.
const QUEUED_REQUESTS: usize = 1024;

/// How often and with which pauses a refused read is sent again.
const READ_RETRIES: u32 = 3;
const READ_RETRY_MIN: Duration = Duration::from_millis(500);
const READ_RETRY_MAX: Duration = Duration::from_secs(5);

/// Why no client could be made. Each text names the file or address to check.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was named but cannot be read.
    #[error("cannot read kubeconfig {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason given by the operating system.
        source: std::io::Error,
    },

    /// The file is there but is not a usable kubeconfig.
    #[error("kubeconfig {} is not usable", path.display())]
    Kubeconfig {
        /// The file, or the list in `KUBECONFIG`.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<KubeconfigError>,
    },

    /// No flag, no `KUBECONFIG`, no `~/.kube/config`, and not inside a pod.
    #[error(
        "no kubeconfig: give --kubeconfig, set KUBECONFIG, write ~/.kube/config, or run inside a cluster"
    )]
    None,

    /// Inside a pod, but its service account cannot be used.
    #[error("the pod's service account is not usable")]
    InCluster(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// `--master` is not a URL.
    #[error("{master:?} is not the URL of an API server")]
    Master {
        /// What was given.
        master: String,
        /// Why it is refused.
        source: http::uri::InvalidUri,
    },

    /// The configuration was read but the TLS or proxy settings in it do not work.
    #[error("cannot set up a connection to {server}")]
    Connect {
        /// The API server's URL.
        server: String,
        /// What does not work.
        source: Box<kube::Error>,
    },
}

/// A client from the first of: the given file, the files in `KUBECONFIG`, `~/.kube/config`, the pod's service
/// account. Nothing is sent yet.
///
/// # Errors
///
/// When none is there, or the first that is there is not usable. Must be called inside a tokio runtime.
pub async fn from_kubeconfig(path: Option<&Path>) -> Result<Client, Error> {
    connect(config(path).await?)
}

/// [`from_kubeconfig`], with the API server's address replaced by `master` if given (`--master`).
///
/// # Errors
///
/// As [`from_kubeconfig`], and when `master` is not a URL.
pub async fn from_flags(path: Option<&Path>, master: Option<&str>) -> Result<Client, Error> {
    let Some(master) = master.filter(|master| !master.is_empty()) else { return from_kubeconfig(path).await };
    let url: http::Uri =
        master.parse().map_err(|source| Error::Master { master: master.to_owned(), source })?;
    let config = match config(path).await {
        Ok(mut config) => {
            config.cluster_url = url;
            config
        }
        Err(Error::None) => Config::new(url),
        Err(error) => return Err(error),
    };
    connect(config)
}

/// A client of an API server in this process: `service` answers every request, there is no port and no TLS.
pub fn from_service<S, B>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Client::new(service, "default")
}

/// The configuration that [`from_kubeconfig`] would use.
///
/// # Errors
///
/// As [`from_kubeconfig`].
pub async fn config(path: Option<&Path>) -> Result<Config, Error> {
    let named = path.filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = named {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| at(path.to_owned(), error))?;
        return resolve(path.to_owned(), kubeconfig).await;
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        let list = PathBuf::from(list);
        return match Kubeconfig::from_env().map_err(|error| at(list.clone(), error))? {
            Some(kubeconfig) => resolve(list, kubeconfig).await,
            None => Err(Error::None),
        };
    }
    let home = std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists());
    if let Some(path) = home {
        let kubeconfig = Kubeconfig::read_from(&path).map_err(|error| at(path.clone(), error))?;
        return resolve(path, kubeconfig).await;
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Err(Error::None);
    }
    Config::incluster().map_err(|error| Error::InCluster(Box::new(error)))
}

async fn resolve(path: PathBuf, kubeconfig: Kubeconfig) -> Result<Config, Error> {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| at(path, error))
}

fn at(path: PathBuf, error: KubeconfigError) -> Error {
    match error {
        KubeconfigError::ReadConfig(source, path) => Error::Read { path, source },
        error => Error::Kubeconfig { path, source: Box::new(error) },
    }
}

/// A client with our retry rule in place of kube's.
///
/// # Errors
///
/// When the TLS material or the proxy of the configuration cannot be used.
pub fn connect(mut config: Config) -> Result<Client, Error> {
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config)
        .map_err(|source| Error::Connect { server, source: Box::new(source) })?;
    let policy = RetryPolicy::new(READ_RETRY_MIN, READ_RETRY_MAX, READ_RETRIES, true)
        .expect("the pauses are in order");
    Ok(builder
        .with_layer(&BufferLayer::new(QUEUED_REQUESTS))
        .with_layer(&RetryLayer::new(RetryReads(policy)))
        .build())
}

/// kube's policy (429, 503 and 504, honouring `Retry-After`) for reads; nothing else is sent twice.
#[derive(Clone)]
struct RetryReads(RetryPolicy);

impl<B> Policy<Request<Body>, Response<B>, BoxError> for RetryReads {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        self.0.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let policy: &mut dyn Policy<_, Response<B>, BoxError, Future = tokio::time::Sleep> = &mut self.0;
        (request.method() == Method::GET).then(|| policy.clone_request(request))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_kubeconfig_says_what_to_check() {
        let dir = std::env::temp_dir().join(format!("steersman-client-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("config");
        let text = async |content: Option<&str>| {
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => drop(std::fs::remove_file(&file)),
            }
            let error = from_kubeconfig(Some(&file)).await.err().expect("is refused");
            crate::telemetry::chain(&error).replace(file.to_str().unwrap(), "F")
        };
        assert_eq!(text(None).await, "cannot read kubeconfig F: No such file or directory (os error 2)");
        let broken = text(Some("{")).await;
        assert!(
            broken.starts_with("kubeconfig F is not usable: failed to parse kubeconfig YAML"),
            "{broken}"
        );
        let empty = text(Some("apiVersion: v1\nkind: Config\n")).await;
        assert_eq!(empty, "kubeconfig F is not usable: failed to determine current context");
        std::fs::remove_dir_all(&dir).unwrap();

        let error = from_flags(None, Some("http://[::x")).await.err().expect("is refused");
        assert_eq!(error.to_string(), "\"http://[::x\" is not the URL of an API server");
    }

    /// Serves 503 twice and counts requests by method.
    async fn count(method: Method) -> usize {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let tasks = crate::tasks::Tasks::new();
        let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let served = requests.clone();
        tasks.spawn_until_stopped("server", async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await.unwrap();
                served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let refusal = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\
                    connection: close\r\n\r\n";
                stream.write_all(refusal).await.unwrap();
            }
        });
        let client = connect(Config::new(url)).unwrap();
        let request = Request::builder().method(method).uri("/x").body(Vec::new()).unwrap();
        assert!(client.request_text(request).await.is_err());
        assert!(tasks.stop().await.is_empty());
        requests.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[tokio::test]
    async fn only_reads_are_sent_again() {
        assert_eq!(count(Method::GET).await, 4);
        assert_eq!(count(Method::POST).await, 1);
        assert_eq!(count(Method::PATCH).await, 1);
    }
}
