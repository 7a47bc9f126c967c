//! A guarded port, from the handshake to the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::access::Rules;
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

/// The status line and the body; `None`: the handshake or the request failed.
async fn get(
    at: SocketAddr,
    server: &CertificateDer<'static>,
    shown: Option<&Shown>,
    path: &str,
) -> Option<(u16, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
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
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

#[tokio::test]
async fn a_guarded_port_lets_in_whom_it_knows() {
    let tasks = Tasks::new();
    let (ours, another) = (authority(), authority());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server = made.cert.der().clone();
    let directory = std::env::temp_dir().join(format!("serve-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::from_files(&certificate, &key).unwrap().checking_clients(ours.pem().as_bytes()).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let endpoints = Endpoints::new(Health::new(Readiness::new()), Registry::new());
    let guarded = endpoints.guarded(Access::new(Rules::by(None, None)));
    let at = serve_pages("127.0.0.1:0".parse().unwrap(), Some(tls), guarded, &tasks).await.unwrap();

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
        let got = get(at, &server, shown, path).await;
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
