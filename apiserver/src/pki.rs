//! The cluster's own certificates: made at first start, kept under `pki/` of the data directory.
//!
//! Promise: keys are readable by their owner only; the CA is made once and never replaced; leaf certificates
//! are made again before they end or when the server gets a new address. Writes `ca.crt`, `ca.key`,
//! `apiserver.*`, `apiserver-kubelet-client.*`, `admin.*` and `sa.key` there.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use component::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use x509_parser::parse_x509_certificate;

/// Days that the CA lives.
const CA_DAYS: i64 = 3650;
/// Days that a leaf certificate lives.
const LEAF_DAYS: i64 = 365;
/// A leaf is made again when it has fewer days left.
const RENEW_DAYS: i64 = 30;
/// Mode of private keys and kubeconfigs.
const SECRET_MODE: u32 = 0o600;

/// Why the certificates cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make the certificate of {subject}")]
    Make {
        subject: String,
        #[source]
        source: rcgen::Error,
    },
    /// A file holds no certificate or key.
    #[error("{path} holds no certificate or key in PEM: remove it to have a new one made")]
    Content { path: PathBuf },
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The cluster's CA and where its certificates are kept.
pub struct Pki {
    directory: PathBuf,
    clock: Clock,
    ca_certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Opens the CA of this directory, or makes one.
    pub fn open(directory: PathBuf, clock: &Clock) -> Result<Self, PkiError> {
        let made = std::fs::create_dir_all(&directory);
        made.map_err(|source| PkiError::File { path: directory.clone(), source })?;
        let (crt, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        if !(crt.exists() && key.exists()) {
            let identity = make_ca(clock)?;
            write(&key, &identity.key, SECRET_MODE)?;
            write(&crt, &identity.certificate, 0o644)?;
        }
        let ca_certificate = read(&crt)?;
        let pair = KeyPair::from_pem(&read(&key)?).map_err(|_| PkiError::Content { path: key.clone() })?;
        let issuer = Issuer::from_ca_cert_pem(&ca_certificate, pair)
            .map_err(|_| PkiError::Content { path: crt.clone() })?;
        Ok(Self { directory, clock: clock.clone(), ca_certificate, issuer })
    }

    /// The CA's certificate in PEM.
    pub fn ca_certificate(&self) -> &str {
        &self.ca_certificate
    }

    /// A client certificate of a user in one group, kept as `NAME.crt` and `NAME.key`.
    pub fn client(&self, file: &str, user: &str, group: &str) -> Result<Identity, PkiError> {
        if let Some(kept) = self.kept(file, |_| true)? {
            return Ok(kept);
        }
        let identity = self.issue_client(user, group)?;
        self.keep(file, &identity)?;
        Ok(identity)
    }

    /// A client certificate that is not kept.
    pub fn issue_client(&self, user: &str, group: &str) -> Result<Identity, PkiError> {
        let mut params = leaf(user, group, &self.clock);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(user, params)
    }

    /// A serving certificate for these names and addresses, kept as `NAME.crt` and `NAME.key`.
    pub fn serving(
        &self,
        file: &str,
        user: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Identity, PkiError> {
        if let Some(kept) = self.kept(file, |der| covers(der, names, addresses))? {
            return Ok(kept);
        }
        let identity = self.issue_serving(user, names, addresses)?;
        self.keep(file, &identity)?;
        Ok(identity)
    }

    /// A serving certificate that is not kept.
    pub fn issue_serving(
        &self,
        user: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Identity, PkiError> {
        let mut params = leaf(user, "", &self.clock);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = name.as_str().try_into().map_err(|source| make_error(user, source))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(user, params)
    }

    /// The key that signs service account tokens, in PEM; made at first use.
    pub fn service_account_key(&self) -> Result<KeyPair, PkiError> {
        let path = self.directory.join("sa.key");
        if !path.exists() {
            let pair = KeyPair::generate().map_err(|source| make_error("service accounts", source))?;
            write(&path, &pair.serialize_pem(), SECRET_MODE)?;
        }
        KeyPair::from_pem(&read(&path)?).map_err(|_| PkiError::Content { path })
    }

    fn sign(&self, user: &str, params: CertificateParams) -> Result<Identity, PkiError> {
        let pair = KeyPair::generate().map_err(|source| make_error(user, source))?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(|source| make_error(user, source))?;
        Ok(Identity { certificate: certificate.pem(), key: pair.serialize_pem() })
    }

    /// What is kept, if it will do for a while.
    fn kept(&self, file: &str, fits: impl Fn(&[u8]) -> bool) -> Result<Option<Identity>, PkiError> {
        let (crt, key) = self.paths(file);
        if !(crt.exists() && key.exists()) {
            return Ok(None);
        }
        let identity = Identity { certificate: read(&crt)?, key: read(&key)? };
        let Ok(der) = CertificateDer::from_pem_slice(identity.certificate.as_bytes()) else {
            return Ok(None);
        };
        let Ok((_, parsed)) = parse_x509_certificate(&der) else { return Ok(None) };
        let until = self.clock.now().as_second() + RENEW_DAYS * 86400;
        let lasts = parsed.validity().not_after.timestamp() > until;
        Ok((lasts && fits(&der)).then_some(identity))
    }

    fn keep(&self, file: &str, identity: &Identity) -> Result<(), PkiError> {
        let (crt, key) = self.paths(file);
        write(&key, &identity.key, SECRET_MODE)?;
        write(&crt, &identity.certificate, 0o644)
    }

    fn paths(&self, file: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{file}.crt")), self.directory.join(format!("{file}.key")))
    }
}

impl Identity {
    /// The certificate chain as rustls takes it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).filter_map(Result::ok).collect()
    }

    /// The key as rustls takes it; `None` if it is no key.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Writes a file that appears whole or not at all.
pub(crate) fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    use std::os::unix::fs::OpenOptionsExt;
    let attempt = || -> io::Result<()> {
        let fresh = path.with_extension("new");
        // A file left over from a crash would keep its old mode.
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    attempt().map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn make_ca(clock: &Clock) -> Result<Identity, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "steersman-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = validity(clock, CA_DAYS);
    let pair = KeyPair::generate().map_err(|source| make_error("steersman-ca", source))?;
    let certificate = params.self_signed(&pair).map_err(|source| make_error("steersman-ca", source))?;
    Ok(Identity { certificate: certificate.pem(), key: pair.serialize_pem() })
}

fn leaf(user: &str, group: &str, clock: &Clock) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(clock, LEAF_DAYS);
    params
}

/// From an hour ago, for clocks that are not quite the same.
fn validity(clock: &Clock, days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now =
        OffsetDateTime::from_unix_timestamp(clock.now().as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (now - Duration::hours(1), now + Duration::days(days))
}

/// Whether a serving certificate names all of these.
fn covers(der: &[u8], names: &[String], addresses: &[IpAddr]) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok((_, parsed)) = parse_x509_certificate(der) else { return false };
    let Ok(Some(san)) = parsed.subject_alternative_name() else { return false };
    let listed = &san.value.general_names;
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    names.iter().all(|name| listed.iter().any(|l| matches!(l, GeneralName::DNSName(n) if n == name)))
        && addresses
            .iter()
            .all(|a| listed.iter().any(|l| matches!(l, GeneralName::IPAddress(ip) if *ip == octets(a))))
}

fn make_error(subject: &str, source: rcgen::Error) -> PkiError {
    PkiError::Make { subject: subject.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::certificate;

    #[test]
    fn certificates_are_kept_and_carry_the_identity() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let pki = Pki::open(directory.path().join("pki"), &clock).unwrap();
        let admin = pki.client("admin", "kubernetes-admin", "system:masters").unwrap();
        let user = certificate::user(&admin.chain()[0]).unwrap();
        assert_eq!((user.name(), user.is_in("system:masters")), ("kubernetes-admin", true));
        let again = Pki::open(directory.path().join("pki"), &clock).unwrap();
        assert_eq!(again.ca_certificate(), pki.ca_certificate());
        assert_eq!(
            again.client("admin", "kubernetes-admin", "system:masters").unwrap().certificate,
            admin.certificate
        );
        let mode = std::fs::metadata(directory.path().join("pki/admin.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_new_address_makes_a_new_serving_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::open(directory.path().to_owned(), &Clock::start()).unwrap();
        let names = ["kubernetes".to_owned()];
        let local: IpAddr = [127, 0, 0, 1].into();
        let first = pki.serving("apiserver", "kube-apiserver", &names, &[local]).unwrap();
        let same = pki.serving("apiserver", "kube-apiserver", &names, &[local]).unwrap();
        assert_eq!(first.certificate, same.certificate);
        let more =
            pki.serving("apiserver", "kube-apiserver", &names, &[local, [10, 0, 0, 1].into()]).unwrap();
        assert_ne!(first.certificate, more.certificate);
    }
}
