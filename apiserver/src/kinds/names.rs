//! What names of the API's kinds may look like, in upstream's sentences; `objects::validity` has those that
//! everything shares.
//!
//! Promise: each check returns the sentences upstream prints, none for a good value. The matchers are
//! written by hand because they run for every name of every request.
//! Source: apimachinery `pkg/util/validation`.

use objects::validity::{
    DNS_SUBDOMAIN_LIMIT, dns_label, dns_subdomain, is_dns_label, is_dns_subdomain, too_long,
};

/// How `metadata.name` must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// An RFC 1123 subdomain; the common case.
    Subdomain,
    /// An RFC 1123 label.
    Label,
    /// Anything that can be one part of a URL's path.
    PathSegment,
    /// An IP address in its shortest spelling, as IPAddress objects are named.
    Ip,
}

/// Sentences about a value; none when it is good.
pub(super) type Complaints = Vec<String>;

impl NameRule {
    /// What is wrong with a name; as a prefix for generated names it may end in dashes.
    pub(super) fn check(self, name: &str, is_prefix: bool) -> Complaints {
        let masked;
        let name = match (is_prefix, name.strip_suffix('-')) {
            // Something will follow a trailing dash.
            (true, Some(start)) => {
                masked = format!("{start}a");
                masked.as_str()
            }
            _ => name,
        };
        match self {
            Self::Subdomain => dns_subdomain(name),
            Self::Label => dns_label(name),
            Self::PathSegment => path_segment(name, is_prefix),
            Self::Ip => ip(name),
        }
    }
}

/// A subdomain whose labels may hold underscores, as DNS search paths do.
pub(super) fn subdomain_with_underscores(value: &str) -> Complaints {
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
    let mut complaints = too_long(value, DNS_SUBDOMAIN_LIMIT);
    let plain = |part: &str| is_dns_label(&part.strip_prefix('_').unwrap_or(part).replace('_', "-"));
    if !value.split('.').all(plain) {
        complaints.push(TEXT.to_owned());
    }
    complaints
}

/// A subdomain below `*.`.
pub(super) fn wildcard_subdomain(value: &str) -> Complaints {
    const TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let mut complaints = too_long(value, DNS_SUBDOMAIN_LIMIT);
    if !value.strip_prefix("*.").is_some_and(is_dns_subdomain) {
        complaints.push(TEXT.to_owned());
    }
    complaints
}

/// The name of an environment variable.
pub(super) fn variable(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.is_empty() {
        complaints.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        let text = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        complaints.push(text.to_owned());
    }
    complaints
}

/// A key of a ConfigMap or Secret, which can become the name of a file.
pub(super) fn config_key(value: &str) -> Complaints {
    const TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let mut complaints = too_long(value, DNS_SUBDOMAIN_LIMIT);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(good) {
        complaints.push(TEXT.to_owned());
    }
    match value {
        "." => complaints.push("must not be '.'".to_owned()),
        ".." => complaints.push("must not be '..'".to_owned()),
        value if value.starts_with("..") => complaints.push("must not start with '..'".to_owned()),
        _ => {}
    }
    complaints
}

/// One part of a URL's path.
pub(super) fn path_segment(value: &str, is_prefix: bool) -> Complaints {
    let mut complaints = Complaints::new();
    if !is_prefix && (value == "." || value == "..") {
        complaints.push(format!("may not be '{value}'"));
        return complaints;
    }
    for part in ["/", "%"] {
        if value.contains(part) {
            complaints.push(format!("may not contain '{part}'"));
        }
    }
    complaints
}

fn ip(value: &str) -> Complaints {
    match value.parse::<std::net::IpAddr>() {
        Ok(parsed) if parsed.to_string() == value => Complaints::new(),
        _ => vec!["must be a valid IP address in canonical form".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        assert!(NameRule::Subdomain.check("web-", true).is_empty());
        assert_eq!(NameRule::Subdomain.check("web-", false).len(), 1);
        assert_eq!(NameRule::Label.check("a.b", false), ["must not contain dots"]);
        assert_eq!(NameRule::PathSegment.check("a/b", false), ["may not contain '/'"]);
        assert!(NameRule::Ip.check("::1", false).is_empty());
        assert_eq!(NameRule::Ip.check("::01", false), ["must be a valid IP address in canonical form"]);
    }

    #[test]
    fn keys_hosts_and_variables() {
        assert!(config_key("a.B_c-d").is_empty());
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
        assert!(wildcard_subdomain("*.example.com").is_empty());
        assert_eq!(wildcard_subdomain("example.com").len(), 1);
        assert!(subdomain_with_underscores("_tcp.example.com").is_empty());
        assert_eq!(variable("A=B").len(), 1);
    }
}
