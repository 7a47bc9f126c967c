//! A guarded port, from the handshake to the answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use http_body_util::BodyExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::access::{FrontProxy, Rules};
use crate::args::{AccessArgs, ServeArgs};
use crate::client::from_service;
use crate::fake::Fake;
use crate::ready::Readiness;
use crate::tasks::Tasks;

/// A certificate of a user, with its key.
type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn of(authority: &CertifiedIssuer<'static, KeyPair>, user: &str, group: &str) -> Shown {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), key.into())
}

/// A certificate for `localhost`, in files.
struct Server {
    certificate: CertificateDer<'static>,
    files: [PathBuf; 2],
    directory: PathBuf,
}

impl Server {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let directory = std::env::temp_dir().join(format!("serve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let files = [directory.join("tls.crt"), directory.join("tls.key")];
        std::fs::write(&files[0], made.cert.pem()).unwrap();
        std::fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
        Self { certificate: made.cert.der().clone(), files, directory }
    }

    fn tls(&self) -> Tls {
        Tls::from_files(&self.files[0], &self.files[1]).unwrap()
    }

    /// A connection on which these certificates are shown; `None`: the handshake failed.
    async fn connect(&self, at: SocketAddr, shown: Option<&Shown>) -> Option<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
        };
        let stream = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
    }

    /// The status and the body; `None`: the handshake or the request failed.
    async fn get(
        &self,
        at: SocketAddr,
        shown: Option<&Shown>,
        path: &str,
        headers: &[&str],
    ) -> Option<(u16, String)> {
        let mut stream = self.connect(at, shown).await?;
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn endpoints() -> Endpoints {
    Endpoints::new(Health::new(Readiness::new()), Registry::new())
}

#[tokio::test]
async fn a_guarded_port_lets_in_whom_it_knows() {
    let tasks = Tasks::new();
    let (ours, another) = (authority(), authority());
    let server = Server::new("guarded");
    let tls = server.tls().checking_clients(ours.pem().as_bytes()).unwrap();
    let guarded = endpoints().guarded(Access::new(Rules::by(None, None)));
    let at = serve_pages(any_port(), Some(tls.into()), guarded, &tasks).await.unwrap();

    let root = of(&ours, "root", "system:masters");
    let ann = of(&ours, "ann", "dev");
    let stranger = of(&another, "root", "system:masters");
    for (name, shown, path, want) in [
        ("nobody asks for health", None, "/healthz", Some((200, "ok"))),
        ("nobody asks for metrics", None, "/metrics", Some((403, "cannot get path \\\"/metrics\\\""))),
        ("a master", Some(&root), "/metrics", Some((200, "# EOF"))),
        ("a user", Some(&ann), "/metrics", Some((403, "User \\\"ann\\\" cannot get path"))),
        ("a master of another cluster", Some(&stranger), "/metrics", None),
    ] {
        let got = server.get(at, shown, path, &[]).await;
        match (&got, want) {
            (Some((status, body)), Some((code, part))) => {
                assert_eq!(*status, code, "{name}: {body}");
                assert!(body.contains(part), "{name}: {body}");
            }
            (None, None) => {}
            _ => panic!("{name}: {got:?}"),
        }
    }
    assert!(tasks.stop().await.is_empty());
}

/// An API server that lets `ann` do everything, if she is of `dev` and may read.
fn reviewer() -> kube::Client {
    from_service(tower::service_fn(|request: Request<kube::client::Body>| async {
        let body = BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        let spec = &review["spec"];
        let dev = spec["groups"].as_array().unwrap().contains(&json!("dev"));
        let allowed = spec["user"] == "ann" && dev && spec["extra"] == json!({"scopes": ["read", "list"]});
        review["status"] = json!({"allowed": allowed});
        let answer = Response::builder().status(201).body(Full::new(Bytes::from(review.to_string())));
        Ok::<_, tower::BoxError>(answer.unwrap())
    }))
}

fn trusted(authority: &CertifiedIssuer<'static, KeyPair>) -> FrontProxy {
    let list = |text: &str| vec![text.to_owned()];
    FrontProxy {
        authority: authority.pem().into_bytes(),
        allowed_names: list("front"),
        username_headers: list("X-Remote-User"),
        group_headers: list("X-Remote-Group"),
        extra_prefixes: list("X-Remote-Extra-"),
        ..FrontProxy::default()
    }
}

#[tokio::test]
async fn a_front_proxy_is_believed_by_its_certificate() {
    let tasks = Tasks::new();
    let (users, proxies, another) = (authority(), authority(), authority());
    let server = Server::new("proxied");
    let tls = server.tls().checking_clients(users.pem().as_bytes()).unwrap();
    let tls = tls.trusting_proxies(trusted(&proxies)).unwrap();
    let guarded = endpoints().guarded(Access::new(Rules::by(None, Some(reviewer()))));
    let at = serve_pages(any_port(), Some(tls.into()), guarded, &tasks).await.unwrap();

    let (front, other) = (of(&proxies, "front", "g"), of(&proxies, "other", "system:masters"));
    let (foreign, user) = (of(&another, "front", "g"), of(&users, "front", "g"));
    let (name, group) = ("X-Remote-User: ann", "X-Remote-Group: dev");
    let (read, list) = ("X-Remote-Extra-Scopes: read", "X-Remote-Extra-Scopes: list");
    let all = [name, "X-Remote-Group: ops", group, read, list];
    let forbidden = |user: &str| Some((403, format!("User \\\"{user}\\\" cannot get path")));
    let unauthorized = || Some((401, "Unauthorized".to_owned()));
    for (case, shown, headers, want) in [
        ("user, groups and extra", Some(&front), &all[..], Some((200, "# EOF".to_owned()))),
        ("a group is missing", Some(&front), &[name, read, list], forbidden("ann")),
        ("an extra is missing", Some(&front), &[name, group, read], forbidden("ann")),
        (
            "a master by the proxy's word",
            Some(&front),
            &["X-Remote-User: eve", "X-Remote-Group: system:masters"],
            Some((200, "# EOF".to_owned())),
        ),
        ("nobody is named", Some(&front), &[group], unauthorized()),
        ("a name that is not allowed", Some(&other), &all, unauthorized()),
        ("a certificate by another CA", Some(&foreign), &all, None),
        ("a user of that name", Some(&user), &all, forbidden("front")),
        ("no certificate", None, &all, forbidden("system:anonymous")),
    ] {
        let got = server.get(at, shown, "/metrics", headers).await;
        match (&got, want) {
            (Some((status, body)), Some((code, part))) => {
                assert_eq!(*status, code, "{case}: {body}");
                assert!(body.contains(&part), "{case}: {body}");
            }
            (None, None) => {}
            _ => panic!("{case}: {got:?}"),
        }
    }
    assert!(tasks.stop().await.is_empty());
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    access: AccessArgs,
}

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// The status of one more request on a connection that stays.
async fn again(stream: &mut TlsStream<TcpStream>) -> u16 {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part).await.unwrap();
        answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
    }
}

/// Lets the time pass after which the cluster is asked again, and the answer come. Asks on a connection so often that
/// it stays; answers its last status.
async fn a_minute(kept: &mut TlsStream<TcpStream>) -> u16 {
    for _ in 0..13 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::time::resume();
        again(kept).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    again(kept).await
}

#[tokio::test]
async fn the_authorities_of_the_cluster_are_followed() {
    let (tasks, fake, server) = (Tasks::new(), Fake::default(), Server::new("following"));
    let (first, second, proxies) = (authority(), authority(), authority());
    let tell = |client_ca: Option<String>, name: &str| {
        let mut data = json!({"requestheader-client-ca-file": proxies.pem(),
            "requestheader-allowed-names": json!([name]).to_string(),
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#});
        if let Some(client_ca) = client_ca {
            data["client-ca-file"] = json!(client_ca);
        }
        fake.put(
            CONFIG_MAP,
            json!({"metadata": {"name": "extension-apiserver-authentication"}, "data": data}),
        );
    };
    tell(Some(first.pem()), "front");
    let files = server.files.iter().map(|path| path.to_str().unwrap());
    let flags = ["--tls-cert-file", "--tls-private-key-file"].into_iter().zip(files);
    let cli = Cli::parse_from(["x"].into_iter().chain(flags.flat_map(|(flag, path)| [flag, path])));
    let (access, tls) = cli.access.secure(&cli.serve, &fake.client(), &tasks).await.unwrap();
    let at = serve_pages(any_port(), Some(tls), endpoints().guarded(access), &tasks).await.unwrap();

    let (old, new) = (of(&first, "root", "system:masters"), of(&second, "root", "system:masters"));
    let front = of(&proxies, "front", "g");
    let root = ["X-Remote-User: root", "X-Remote-Group: system:masters"];
    let statuses = async || {
        let status = |got: Option<(u16, String)>| got.map(|(status, _)| status);
        [
            status(server.get(at, Some(&old), "/metrics", &[]).await),
            status(server.get(at, Some(&new), "/metrics", &[]).await),
            status(server.get(at, Some(&front), "/metrics", &root).await),
        ]
    };
    assert_eq!(statuses().await, [Some(200), None, Some(200)]);
    let mut kept = server.connect(at, Some(&old)).await.unwrap();
    assert_eq!(again(&mut kept).await, 200);

    tell(Some(second.pem()), "another");
    assert_eq!(a_minute(&mut kept).await, 403, "the connection is of nobody in particular now");
    assert_eq!(statuses().await, [None, Some(200), Some(401)], "another CA, and another name of the proxy");
    tell(Some("no certificate".to_owned()), "front");
    a_minute(&mut kept).await;
    assert_eq!(statuses().await, [None, Some(200), Some(401)], "what cannot be used changes nothing");
    tell(None, "front");
    a_minute(&mut kept).await;
    assert_eq!(statuses().await, [None, None, Some(200)], "no CA of clients any more");
    fake.delete(CONFIG_MAP);
    a_minute(&mut kept).await;
    assert_eq!(statuses().await, [None, None, Some(200)], "what cannot be read changes nothing");
    tell(Some(first.pem()), "front");
    assert_eq!(a_minute(&mut kept).await, 200);
    assert_eq!(statuses().await, [Some(200), None, Some(200)]);
    assert!(tasks.stop().await.is_empty());
}
