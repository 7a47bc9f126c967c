//! The identity in a client certificate: common name is the user, organizations are the groups.
//!
//! Promise: reads only certificates that the TLS layer has verified against the client CA.
//! Source: apiserver `pkg/authentication/request/x509` (`CommonNameUserConversion`).

use x509_parser::parse_x509_certificate;
use x509_parser::x509::AttributeTypeAndValue;

use super::User;

/// The user of a verified certificate in DER; `None` if it names nobody.
pub fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(text).filter(|name| !name.is_empty())?;
    Some(User::new(name, subject.iter_organization().filter_map(text)))
}

fn text<'a>(attribute: &'a AttributeTypeAndValue<'_>) -> Option<&'a str> {
    attribute.as_str().ok()
}
