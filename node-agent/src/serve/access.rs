//! Who may use the node API.
//!
//! Promise: without a client certificate of the cluster's CA nothing; with one: group `system:masters` and the trusted
//! names everything, others what a SubjectAccessReview on `nodes/proxy` allows (upstream's webhook authorization). An
//! answer is remembered for a while; no answer is a no.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::authorization::v1 as authorization;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pods::Node;

/// How long an answer holds. Upstream: five minutes for yes, thirty seconds for no.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);

/// Answers that are kept.
const ANSWERS: usize = 1000;

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    name: Option<String>,
    groups: Vec<String>,
}

impl Peer {
    /// From the certificate that the TLS handshake has checked.
    pub(super) fn of(stream: &TlsStream<TcpStream>) -> Self {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        certificates.first().map(|certificate| Self::from_der(certificate)).unwrap_or_default()
    }

    fn from_der(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let subject = certificate.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        let groups =
            subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        Self { name, groups }
    }
}

pub(super) struct Access {
    client: Client,
    trusted: Vec<String>,
    answers: Mutex<HashMap<(Peer, String), (bool, Instant)>>,
}

impl Access {
    pub(super) fn new(client: Client, trusted: Vec<String>) -> Self {
        Self { client, trusted, answers: Mutex::default() }
    }

    pub(super) async fn check(
        &self,
        peer: &Peer,
        verb: &str,
        node: &Node,
    ) -> Result<(), (StatusCode, String)> {
        let Some(name) = &peer.name else {
            return Err((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
        };
        if peer.groups.iter().any(|group| group == "system:masters") || self.trusted.contains(name) {
            return Ok(());
        }
        let key = (peer.clone(), verb.to_owned());
        let held =
            self.answers.lock().get(&key).filter(|(_, until)| *until > Instant::now()).map(|(yes, _)| *yes);
        let allowed = match held {
            Some(allowed) => allowed,
            None => {
                let allowed = self.ask(peer, name, verb, node).await;
                let until = Instant::now() + if allowed { ALLOWED_FOR } else { DENIED_FOR };
                let mut answers = self.answers.lock();
                if answers.len() >= ANSWERS {
                    answers.clear();
                }
                answers.insert(key, (allowed, until));
                allowed
            }
        };
        if allowed {
            return Ok(());
        }
        let text = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[proxy])\n");
        Err((StatusCode::FORBIDDEN, text))
    }

    async fn ask(&self, peer: &Peer, name: &str, verb: &str, node: &Node) -> bool {
        let review = authorization::SubjectAccessReview {
            spec: authorization::SubjectAccessReviewSpec {
                user: Some(name.to_owned()),
                groups: Some(peer.groups.clone()),
                resource_attributes: Some(authorization::ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some("proxy".to_owned()),
                    name: Some(node.name.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<authorization::SubjectAccessReview> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)),
            Err(error) => {
                tracing::warn!(user = name, error = %error, "cannot ask whether a user may use the node API");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn a_peer_is_its_certificates_subject() {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let peer = Peer::from_der(certificate.der());
        assert_eq!(peer, Peer { name: Some("ann".into()), groups: vec!["system:masters".into()] });
        assert_eq!(Peer::from_der(b"nonsense"), Peer::default());
    }
}
