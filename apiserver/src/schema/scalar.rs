//! Values that parse themselves: quantities, times, base64; and what Go calls the types.
//!
//! Each function brings a text into the form upstream answers with, or says in upstream's words why not.

use std::borrow::Cow;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use objects::quantity::{ParseError, Quantity};
use serde_json::Value;

use super::definition::{Definition, Type};

/// The canonical form: `1000m` is `1`.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    match Quantity::from_str(text) {
        Ok(quantity) => Ok(quantity.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// What upstream says of a bool, a list or an object where a quantity should be.
pub(super) fn not_a_quantity() -> String {
    ParseError::Format.to_string()
}

/// RFC 3339 in UTC and whole seconds. Go's zero time is null.
pub(super) fn time(text: &str) -> Result<Value, String> {
    if is_canonical(text) {
        return Ok(if text.starts_with("0001-01-01T00:00:00") { Value::Null } else { text.into() });
    }
    let (time, _) = parse_time(text, "2006-01-02T15:04:05Z07:00")?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

/// RFC 3339 in UTC and microseconds.
pub(super) fn micro_time(text: &str) -> Result<Value, String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let (time, fraction) = parse_time(text, LAYOUT)?;
    if fraction != 6 {
        let rest = text.get(19..).unwrap_or_default();
        return Err(refused(text, LAYOUT, rest, ".000000"));
    }
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into())
}

/// Whether the text already is what an answer would have: `2026-11-21T10:00:00Z`.
fn is_canonical(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 20
        && bytes[19] == b'Z'
        && b"0000-00-00T00:00:00Z".iter().zip(bytes).all(|(shape, byte)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => other == byte,
        })
        && DateTime::strptime("%Y-%m-%dT%H:%M:%SZ", text).is_ok()
}

/// The time in UTC, and how many digits its fraction of a second has.
fn parse_time(text: &str, layout: &str) -> Result<(DateTime, usize), String> {
    // (digits, smallest, largest, what upstream calls it, what follows)
    const PARTS: [(usize, i32, i32, &str, &str, &str); 6] = [
        (4, 0, 9999, "2006", "year", "-"),
        (2, 1, 12, "01", "month", "-"),
        (2, 1, 31, "02", "day", "T"),
        (2, 0, 23, "15", "hour", ":"),
        (2, 0, 59, "04", "minute", ":"),
        (2, 0, 59, "05", "second", ""),
    ];
    let mut rest = text;
    let mut found = [0i32; 6];
    for (slot, (digits, low, high, element, name, separator)) in found.iter_mut().zip(PARTS) {
        let number = rest.get(..digits).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|part| part.parse().ok());
        *slot = number.ok_or_else(|| refused(text, layout, rest, element))?;
        if *slot < low || *slot > high {
            return Err(format!("parsing time {text:?}: {name} out of range"));
        }
        rest = &rest[digits..];
        rest = rest.strip_prefix(separator).ok_or_else(|| refused(text, layout, rest, separator))?;
    }
    let mut nanos = 0i32;
    let mut digits = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = fraction.split_at(digits);
        nanos = format!("{number:0<9.9}").parse().unwrap_or(0);
        rest = after;
    }
    let offset = offset(rest).ok_or_else(|| refused(text, layout, rest, "Z07:00"))?;
    let [year, month, day, hour, minute, second] = found;
    let narrow = |number: i32| i8::try_from(number).unwrap_or(0);
    let year = i16::try_from(year).unwrap_or(0);
    let civil =
        DateTime::new(year, narrow(month), narrow(day), narrow(hour), narrow(minute), narrow(second), nanos);
    let civil = civil.map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    let instant = offset.to_timestamp(civil).map_err(|_| refused(text, layout, rest, "Z07:00"))?;
    Ok((Offset::UTC.to_datetime(instant), digits))
}

fn offset(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let part = |text: &str, limit: i32| {
        let number: i32 = text.parse().ok()?;
        (text.len() == 2 && number <= limit).then_some(number)
    };
    Offset::from_seconds(sign * (part(hours, 24)? * 3600 + part(minutes, 60)? * 60)).ok()
}

fn refused(text: &str, layout: &str, rest: &str, element: &str) -> String {
    format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
}

/// Standard base64 with padding; line ends inside are allowed, as in Go.
pub(super) fn base64(text: &str) -> Result<String, String> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let bare: Cow<'_, str> =
        if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text.into() };
    match LENIENT.decode(bare.as_bytes()) {
        Ok(bytes) => Ok(LENIENT.encode(bytes)),
        Err(_) => Err(format!("illegal base64 data at input byte {}", first_fault(bare.as_bytes()))),
    }
}

/// Where Go's decoder stops: at the wrong character, or at the group that is cut short.
fn first_fault(bytes: &[u8]) -> usize {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some(at) = bytes.iter().position(|byte| !is_digit(byte)) else { return bytes.len() / 4 * 4 };
    match (bytes[at], at % 4) {
        (b'=', 2) if bytes.get(at + 1) == Some(&b'=') => at + 2,
        (b'=', 2) if bytes.len() == at + 1 => at + 1,
        (b'=', 3) => at + 1,
        _ => at,
    }
}

/// The type as upstream's error texts name it: `[]v1.Container`.
pub(super) fn go_type(ty: &Type) -> Cow<'static, str> {
    let name = match ty {
        Type::Bool | Type::OrBool(_) => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float64 => "float64",
        Type::String => "string",
        Type::Bytes => "[]uint8",
        Type::Quantity => "resource.Quantity",
        Type::IntOrString => "intstr.IntOrString",
        Type::Time => "v1.Time",
        Type::MicroTime => "v1.MicroTime",
        Type::RawObject(_) => "runtime.RawExtension",
        Type::RawValue => "v1.JSON",
        Type::Object(definition) | Type::OrList(definition) | Type::OrStrings(definition) => {
            return go_object(definition).into();
        }
        Type::List(items) => return format!("[]{}", go_type(items)).into(),
        Type::Map(values) => return format!("map[string]{}", go_type(values)).into(),
        Type::Wrapped(list) => return go_type(list),
    };
    name.into()
}

/// `v1.PodSpec`.
pub(super) fn go_object(definition: &Definition) -> String {
    format!("{}.{}", definition.package(), definition.short_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_answered_in_utc_and_whole_seconds() {
        for (sent, answered) in [
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00.999Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00+02:30", "2026-11-21T07:30:00Z"),
        ] {
            assert_eq!(time(sent).unwrap(), answered);
        }
        assert_eq!(time("0001-01-01T00:00:00Z").unwrap(), Value::Null);
        assert_eq!(micro_time("2026-11-21T10:00:00.120000Z").unwrap(), "2026-11-21T10:00:00.120000Z");
    }

    #[test]
    fn bad_times_are_refused_in_upstreams_words() {
        let layout = "2006-01-02T15:04:05Z07:00";
        for (sent, why) in [
            ("", format!("parsing time \"\" as {layout:?}: cannot parse \"\" as \"2006\"")),
            ("x", format!("parsing time \"x\" as {layout:?}: cannot parse \"x\" as \"2006\"")),
            ("2026-1", format!("parsing time \"2026-1\" as {layout:?}: cannot parse \"1\" as \"01\"")),
            ("2026-13-01T00:00:00Z", "parsing time \"2026-13-01T00:00:00Z\": month out of range".to_owned()),
        ] {
            assert_eq!(time(sent).unwrap_err(), why);
        }
    }

    #[test]
    fn base64_is_checked_as_go_does() {
        assert_eq!(base64("YQ==").unwrap(), "YQ==");
        assert_eq!(base64("YW\nI=").unwrap(), "YWI=");
        for (sent, at) in [("%%", 0), ("abc", 0), ("YQ=", 3), ("YWJjZ", 4), ("YW=x", 2)] {
            assert_eq!(
                base64(sent).unwrap_err(),
                format!("illegal base64 data at input byte {at}"),
                "{sent}"
            );
        }
    }
}
