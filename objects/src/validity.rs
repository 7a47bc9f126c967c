//! What a name, a label key or a label value may look like.
//!
//! Promise: every function returns what is wrong in upstream's words (apimachinery `util/validation`), an empty
//! list when nothing is.

const QUALIFIED_NAME_LIMIT: usize = 63;
const LABEL_VALUE_LIMIT: usize = 63;

/// The longest DNS-1123 label, e.g. a namespace's name.
pub const DNS_LABEL_LIMIT: usize = 63;

/// The longest DNS-1123 subdomain, e.g. a pod's name.
pub const DNS_SUBDOMAIN_LIMIT: usize = 253;

const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
    or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
    regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
    and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Problems of a label or annotation key: `name` or `prefix.example.com/name`.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(dns_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let shape = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {QUALIFIED_NAME} {shape}")];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else {
        problems
            .extend(too_long(name, QUALIFIED_NAME_LIMIT).into_iter().map(|why| format!("name part {why}")));
    }
    if !is_word(name) {
        problems.push(format!("name part {QUALIFIED_NAME}"));
    }
    problems
}

/// Problems of a label value.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let mut problems = too_long(text, LABEL_VALUE_LIMIT);
    if !text.is_empty() && !is_word(text) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

/// Problems of a DNS-1123 label.
#[must_use]
pub fn dns_label(text: &str) -> Vec<String> {
    let mut problems = too_long(text, DNS_LABEL_LIMIT);
    if !is_dns_label(text) {
        // A good subdomain that is no label has dots.
        problems.push(if is_dns_subdomain(text) { "must not contain dots" } else { DNS_LABEL }.to_owned());
    }
    problems
}

/// Problems of a DNS-1123 subdomain.
#[must_use]
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut problems = too_long(text, DNS_SUBDOMAIN_LIMIT);
    if !is_dns_subdomain(text) {
        problems.push(DNS_SUBDOMAIN.to_owned());
    }
    problems
}

/// The problem of more than `limit` bytes.
#[must_use]
pub fn too_long(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit { vec![format!("must be no more than {limit} characters")] } else { Vec::new() }
}

/// Whether the text is dot-separated DNS-1123 labels, however long.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edges = bytes.first().zip(bytes.last());
    edges.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Whether the text is a DNS-1123 label, however long: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let edges = bytes.first().zip(bytes.last());
    edges.is_some_and(|(first, last)| alphanumeric(first) && alphanumeric(last))
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_values_and_names() {
        for key in ["a", "app", "app.kubernetes.io/name", "A_b.c-d", "1"] {
            assert!(qualified_name(key).is_empty(), "{key}");
        }
        let problems = |key: &str| qualified_name(key).join("; ");
        assert_eq!(problems("/x"), "prefix part must be non-empty");
        assert!(problems("a/").starts_with("name part must be non-empty; name part must consist of"));
        assert!(problems("Bad/x").starts_with("prefix part a lowercase RFC 1123 subdomain"));
        assert!(
            problems("a/b/c")
                .ends_with("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
        );
        assert_eq!(problems(&"a".repeat(64)), "name part must be no more than 63 characters");
        assert!(label_value("").is_empty());
        assert!(label_value("-a")[0].starts_with("a valid label must be an empty string"));
        assert!(dns_label("-a")[0].starts_with("a lowercase RFC 1123 label"));
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert!(dns_subdomain("a.b-c.d1").is_empty());
        assert!(!dns_subdomain("a..b").is_empty());
        assert!(!dns_subdomain("").is_empty());
    }
}
