//! Certificate authorities, from the file that an operator names.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// Why certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// Not a certificate that can be trusted.
    #[error(transparent)]
    Certificate(#[from] rustls::Error),
    /// PEM without a certificate.
    #[error("there is no certificate in it")]
    Empty,
}

/// All certificates of a PEM text, one at least.
///
/// # Errors
///
/// When there is none, or one that cannot be read.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err(RootsError::Empty) } else { Ok(roots) }
}
