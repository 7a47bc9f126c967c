//! What names, keys and labels may look like, in upstream's sentences.
//!
//! Promise: each check returns the sentences upstream prints, none for a good value. The matchers are
//! written by hand because they run for every name of every request.
//! Source: apimachinery `pkg/util/validation`.

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

const SUBDOMAIN_MAX: usize = 253;
const LABEL_MAX: usize = 63;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

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
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::PathSegment => path_segment(name, is_prefix),
            Self::Ip => ip(name),
        }
    }
}

/// An RFC 1123 subdomain.
pub(super) fn subdomain(value: &str) -> Complaints {
    let mut complaints = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        complaints.push(SUBDOMAIN.to_owned());
    }
    complaints
}

/// An RFC 1123 label.
pub(super) fn label(value: &str) -> Complaints {
    let mut complaints = too_long(value, LABEL_MAX);
    if !is_label(value) {
        // A good subdomain that is no label has dots.
        complaints.push(if is_subdomain(value) { "must not contain dots" } else { LABEL }.to_owned());
    }
    complaints
}

/// The key of a label, an annotation, a taint: a name with an optional subdomain before a slash.
pub(super) fn qualified(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let mut parts = value.split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, third) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                complaints.push("prefix part must be non-empty".to_owned());
            } else {
                complaints.extend(subdomain(first).into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        (Some(_), Some(_)) => {
            complaints.push(format!(
                "a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return complaints;
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".to_owned());
    } else {
        complaints.extend(too_long(name, LABEL_MAX).into_iter().map(|text| format!("name part {text}")));
    }
    if !is_qualified_part(name) {
        complaints.push(format!("name part {QUALIFIED}"));
    }
    complaints
}

/// The value of a label.
pub(super) fn label_value(value: &str) -> Complaints {
    let mut complaints = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_qualified_part(value) {
        complaints.push(LABEL_VALUE.to_owned());
    }
    complaints
}

/// A subdomain whose labels may hold underscores, as DNS search paths do.
pub(super) fn subdomain_with_underscores(value: &str) -> Complaints {
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
    let mut complaints = too_long(value, SUBDOMAIN_MAX);
    let plain = |part: &str| is_label(&part.strip_prefix('_').unwrap_or(part).replace('_', "-"));
    if !value.split('.').all(plain) {
        complaints.push(TEXT.to_owned());
    }
    complaints
}

/// A subdomain below `*.`.
pub(super) fn wildcard_subdomain(value: &str) -> Complaints {
    const TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let mut complaints = too_long(value, SUBDOMAIN_MAX);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
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
    let mut complaints = too_long(value, SUBDOMAIN_MAX);
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

/// The complaint about more than `limit` bytes.
pub(super) fn too_long(value: &str, limit: usize) -> Complaints {
    if value.len() > limit {
        vec![format!("must be no more than {limit} characters")]
    } else {
        Complaints::new()
    }
}

pub(super) fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

pub(super) fn is_label(value: &str) -> bool {
    framed(value, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), |b| b == b'-')
}

fn is_qualified_part(value: &str) -> bool {
    framed(value, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

/// Non-empty, `edge` at both ends, `edge` or `middle` between.
fn framed(value: &str, edge: impl Fn(u8) -> bool, middle: impl Fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || middle(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_raise_nothing() {
        for name in ["a", "a-b", "1.2.3", "example.com"] {
            assert!(subdomain(name).is_empty(), "{name}");
        }
        for key in ["a", "A_b.c", "example.com/Name", "app.kubernetes.io/name"] {
            assert!(qualified(key).is_empty(), "{key}");
        }
        for value in ["", "a", "12345", "my_value"] {
            assert!(label_value(value).is_empty(), "{value}");
        }
        assert!(NameRule::Subdomain.check("web-", true).is_empty());
    }

    #[test]
    fn bad_names_raise_upstreams_sentences() {
        assert_eq!(subdomain("P_x"), [SUBDOMAIN]);
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(label("-a"), [LABEL]);
        assert_eq!(qualified("/x"), ["prefix part must be non-empty"]);
        assert!(qualified("a/b/c")[0].starts_with("a valid label key must consist of"));
        assert!(qualified("a b")[0].starts_with("name part must consist of"));
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(path_segment("a/b", false), ["may not contain '/'"]);
        assert_eq!(NameRule::Subdomain.check("web-", false).len(), 1);
    }
}
