//! Checks that many kinds share: numbers, names, ports, selectors, addresses.
//!
//! Promise: each adds upstream's error with upstream's text, or nothing.
//! Source: apimachinery `pkg/api/validation`, `pkg/apis/meta/v1/validation`, `pkg/util/validation`.

use std::net::IpAddr;

use objects::validity;
use serde_json::Value;

use super::metadata;
use super::names::Complaints;
use super::read::Read;
use crate::field::{FieldError, FieldErrors, Path};

/// The text about a number below zero.
pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
/// Longest name of a container port.
const PORT_NAME_MAX: usize = 15;

/// A number that may not be below zero.
pub(super) fn not_negative(at: Path<'_>, number: Option<i64>, errors: &mut FieldErrors) {
    if let Some(number) = number.filter(|number| *number < 0) {
        errors.push(FieldError::invalid(at, number, NEGATIVE));
    }
}

/// The numeric fields of an object that may not be below zero.
pub(super) fn none_negative(at: Path<'_>, object: &Value, fields: &[&str], errors: &mut FieldErrors) {
    for field in fields {
        not_negative(at.child(field), object.int(field), errors);
    }
}

/// A number between two others.
pub(super) fn within(at: Path<'_>, number: i64, low: i64, high: i64, errors: &mut FieldErrors) {
    if !(low..=high).contains(&number) {
        errors.push(FieldError::invalid(at, number, format!("must be between {low} and {high}, inclusive")));
    }
}

pub(super) fn port_number(at: Path<'_>, number: i64, errors: &mut FieldErrors) {
    within(at, number, 1, 65535, errors);
}

/// The number or name of a port.
pub(super) fn port(at: Path<'_>, port: &Value, errors: &mut FieldErrors) {
    match port {
        Value::String(name) => complain(at, name, port_name(name), errors),
        other => port_number(at, other.as_i64().unwrap_or_default(), errors),
    }
}

/// What is wrong with the name of a port.
pub(super) fn port_name(name: &str) -> Complaints {
    let mut complaints = validity::too_long(name, PORT_NAME_MAX);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        let text = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        complaints.push(text.to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        complaints.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        complaints.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        complaints.push("must not begin or end with a hyphen".to_owned());
    }
    complaints
}

/// Adds one error a complaint.
pub(super) fn complain(at: Path<'_>, value: &str, complaints: Complaints, errors: &mut FieldErrors) {
    errors.extend(complaints.into_iter().map(|text| FieldError::invalid(at, value, text)));
}

pub(super) fn label(at: Path<'_>, value: &str, errors: &mut FieldErrors) {
    complain(at, value, validity::dns_label(value), errors);
}

pub(super) fn subdomain(at: Path<'_>, value: &str, errors: &mut FieldErrors) {
    complain(at, value, validity::dns_subdomain(value), errors);
}

pub(super) fn qualified(at: Path<'_>, value: &str, errors: &mut FieldErrors) {
    complain(at, value, validity::qualified_name(value), errors);
}

/// A text that must be there.
pub(super) fn required(at: Path<'_>, value: &str, errors: &mut FieldErrors) {
    if value.is_empty() {
        errors.push(FieldError::required(at, ""));
    }
}

/// A word that must be there and be one of these.
pub(super) fn one_of(at: Path<'_>, value: &str, words: &[&str], errors: &mut FieldErrors) {
    if value.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else {
        maybe_one_of(at, value, words, errors);
    }
}

/// A word that, where it is there, must be one of these.
pub(super) fn maybe_one_of(at: Path<'_>, value: &str, words: &[&str], errors: &mut FieldErrors) {
    if !value.is_empty() && !words.contains(&value) {
        errors.push(FieldError::not_supported(at, value, words));
    }
}

/// A `LabelSelector`; absent is fine.
pub(super) fn selector(at: Path<'_>, selector: &Value, errors: &mut FieldErrors) {
    metadata::labels(at.child("matchLabels"), &selector["matchLabels"], errors);
    let at = at.child("matchExpressions");
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        requirement(at.index(index), expression, errors);
    }
}

fn requirement(at: Path<'_>, expression: &Value, errors: &mut FieldErrors) {
    let (values_at, values) = (at.child("values"), expression.list("values"));
    match expression.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            let text = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(values_at, text));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(values_at, text));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            errors.push(FieldError::invalid(at.child("operator"), other, "not a valid selector operator"))
        }
    }
    qualified(at.child("key"), expression.text("key"), errors);
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        complain(values_at.index(index), value, validity::label_value(value), errors);
    }
}

/// Whether a selector has no requirement, and so selects everything.
pub(super) fn is_empty_selector(selector: &Value) -> bool {
    selector.entries("matchLabels").next().is_none() && selector.list("matchExpressions").is_empty()
}

/// Whether a `LabelSelector` selects an object with these labels. Absent selects nothing, empty everything.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let has = |key: &str| labels.get(key).and_then(Value::as_str);
    selector.entries("matchLabels").all(|(key, value)| has(key) == value.as_str())
        && selector.list("matchExpressions").iter().all(|one| {
            let value = has(one.text("key"));
            let listed = value.is_some_and(|value| one.list("values").iter().any(|other| other == value));
            match one.text("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

pub(super) fn ip(at: Path<'_>, text: &str, errors: &mut FieldErrors) {
    if text.parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(at, text, why));
    }
}

/// An address that others can reach.
pub(super) fn reachable_ip(at: Path<'_>, text: &str, errors: &mut FieldErrors) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        errors.push(FieldError::invalid(at, text, "must be a valid IP address"));
        return;
    };
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    let mut refuse = |why: String| errors.push(FieldError::invalid(at, text, why));
    if ip.is_unspecified() {
        refuse(format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
}

pub(super) fn cidr(at: Path<'_>, text: &str, errors: &mut FieldErrors) {
    if parse_cidr(text).is_none() {
        let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(at, text, why));
    }
}

/// Address and prefix length of `10.9.8.0/24`.
pub(super) fn parse_cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (ip, prefix) = text.split_once('/')?;
    let (ip, prefix): (IpAddr, u32) = (ip.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
}

/// A number of pods, or a percentage of them.
pub(super) fn count_or_percent(at: Path<'_>, value: &Value, errors: &mut FieldErrors) {
    match value {
        Value::String(text) if !is_percent(text) => {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            errors.push(FieldError::invalid(at, text.as_str(), why));
        }
        Value::Number(number) => not_negative(at, number.as_i64(), errors),
        _ => {}
    }
}

/// A percentage may not be more than everything.
pub(super) fn at_most_everything(at: Path<'_>, value: &Value, errors: &mut FieldErrors) {
    let percent = value
        .as_str()
        .filter(|text| is_percent(text))
        .and_then(|text| text.trim_end_matches('%').parse().ok());
    if percent.is_some_and(|percent: u64| percent > 100) {
        errors.push(FieldError::invalid(at, value.clone(), "must not be greater than 100%"));
    }
}

/// Whether a number or percentage is nothing.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_end_matches('%').bytes().all(|b| b == b'0'),
        other => other.as_i64().unwrap_or_default() == 0,
    }
}

fn is_percent(text: &str) -> bool {
    text.strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(check: impl Fn(Path<'_>, &mut FieldErrors)) -> Vec<String> {
        let mut errors = FieldErrors::new();
        check(Path::root("f"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_are_numbers_or_names() {
        assert!(texts(|at, errors| port(at, &json!("http"), errors)).is_empty());
        assert_eq!(
            texts(|at, errors| port(at, &json!(0), errors)),
            ["f: Invalid value: 0: must be between 1 and 65535, inclusive"]
        );
        assert_eq!(
            texts(|at, errors| port(at, &json!("80"), errors)),
            ["f: Invalid value: \"80\": must contain at least one letter (a-z)"]
        );
    }

    #[test]
    fn selectors_are_checked_and_select() {
        let bad =
            json!({"matchExpressions": [{"key": "a", "operator": "Near"}, {"key": "a", "operator": "In"}]});
        assert_eq!(
            texts(|at, errors| selector(at, &bad, errors)),
            [
                "f.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
                "f.matchExpressions[1].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ]
        );
        let labels = json!({"a": "b"});
        assert!(selects(&json!({}), &labels));
        assert!(!selects(&Value::Null, &labels));
        assert!(selects(&json!({"matchLabels": {"a": "b"}}), &labels));
        let not_in = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]});
        assert!(!selects(&not_in, &labels));
    }

    #[test]
    fn counts_and_percentages() {
        assert!(is_zero(&json!("0%")) && is_zero(&json!(0)) && !is_zero(&json!("1%")));
        assert_eq!(texts(|at, errors| at_most_everything(at, &json!("101%"), errors)).len(), 1);
        assert_eq!(texts(|at, errors| count_or_percent(at, &json!("x"), errors)).len(), 1);
        assert_eq!(
            texts(|at, errors| count_or_percent(at, &json!(-1), errors)),
            ["f: Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
