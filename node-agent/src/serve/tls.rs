//! TLS of the node API, and of HTTPS probes.
//!
//! Promise: client certificates are optional in the handshake and checked against the client CA when shown; without a
//! client CA none is asked for and `access` lets nobody in.

use std::sync::Arc;

use component::serve::roots;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::ServeError;
use crate::config::{CertificateAndKey, Serving};

/// Makes the acceptor. Without a certificate a self-signed one for these names is made, as upstream does.
pub(super) fn acceptor(
    serving: &Serving,
    node: &str,
    addresses: &[String],
) -> Result<TlsAcceptor, ServeError> {
    let wrong = |error: &dyn std::fmt::Display| ServeError::Certificate(error.to_string());
    let pair = match &serving.certificate {
        Some(pair) => pair.clone(),
        None => self_signed(node, addresses)?,
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| wrong(&error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let builder = match &serving.client_ca {
        Some(pem) => {
            let roots = roots(pem).map_err(|error| ServeError::ClientCa(error.to_string()))?;
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| ServeError::ClientCa(error.to_string()))?,
            )
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn self_signed(node: &str, addresses: &[String]) -> Result<CertificateAndKey, ServeError> {
    let wrong = |error: rcgen::Error| ServeError::Certificate(error.to_string());
    let mut names = vec![node.to_owned(), "localhost".to_owned()];
    names.extend(addresses.iter().cloned());
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).map_err(wrong)?;
    Ok(CertificateAndKey {
        certificate: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
    })
}

/// Connects without checking who answers: HTTPS probes ask whether something serves, not who it is (as upstream).
pub(crate) async fn connect_unverified(
    stream: TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
}

/// Takes every certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
