//! Resource quantities: `100m`, `1.5Gi`, `2e3`.
//!
//! Promise: exact. A quantity is a whole number of nano-units, which is the finest upstream keeps (smaller parts
//! are rounded away from zero, as `resource.ParseQuantity` does), and prints in upstream's canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS: i128 = 1_000_000_000;

/// Where upstream caps a quantity that does not fit.
const CAP: i128 = i64::MAX as i128 * NANOS;

/// How a quantity was written and will be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Powers of 1000: `m`, none, `k`, `M` ...
    #[default]
    DecimalSi,

    /// Powers of 1024: `Ki`, `Mi` ...
    BinarySi,

    /// A written exponent: `e3`.
    DecimalExponent,
}

/// An exact amount of a resource. Compares, and is equal, by amount; the format only decides how it prints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity; the texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not number plus suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,

    /// No such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,

    /// No digits, or two points.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number of units, e.g. bytes or pods.
    #[must_use]
    pub const fn units(value: i64, format: Format) -> Self {
        Self { nanos: value as i128 * NANOS, format }
    }

    /// A number of thousandths, e.g. CPU.
    #[must_use]
    pub const fn milli(value: i64) -> Self {
        Self { nanos: value as i128 * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// The amount in whole units, rounded up, capped at the range of `i64`.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled(NANOS)
    }

    /// The amount in thousandths, rounded up, capped at the range of `i64`.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let up = i128::from(self.nanos.rem_euclid(unit) != 0);
        let value = self.nanos.div_euclid(unit) + up;
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is exactly zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number of units. Extended resources must be.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// How it prints.
    #[must_use]
    pub const fn format(self) -> Format {
        self.format
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            None => return Err(ParseError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        if !suffix_is_lexical(suffix) {
            return Err(ParseError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(ParseError::Number);
        }
        let (scale, format) = scale(suffix).ok_or(ParseError::Suffix)?;
        let nanos = nanos(whole, fraction, scale);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// Letters, then a signed number: the shape of a suffix, whether or not it exists.
fn suffix_is_lexical(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// What one unit of a suffix is worth.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    if let Some((_, ten)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Ten(*ten), Format::DecimalSi));
    }
    if let Some((_, two)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Two(*two), Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Scale::Ten(exponent), Format::DecimalExponent))
}

/// `whole.fraction` times the scale in nano-units, rounded up, capped.
fn nanos(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let fraction = fraction.trim_end_matches('0');
    let mut digits = whole.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0'));
    let mantissa = digits.try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let (two, ten) = match scale {
        Scale::Ten(ten) => (0, ten.saturating_sub(places).saturating_add(9)),
        Scale::Two(two) => (two, 9_i32.saturating_sub(places)),
    };
    let Some(mantissa) = mantissa.and_then(|mantissa| mantissa.checked_mul(1 << two)) else {
        return from_float(whole, fraction, scale);
    };
    if mantissa == 0 {
        return 0;
    }
    let power = 10_i128.checked_pow(ten.unsigned_abs());
    match (ten >= 0, power) {
        (true, Some(power)) => mantissa.checked_mul(power).unwrap_or(CAP),
        (true, None) => CAP,
        (false, Some(power)) => mantissa / power + i128::from(mantissa % power != 0),
        (false, None) => 1,
    }
}

/// For numbers of more than 38 digits: near enough, as they are cut to the cap or to nano-units anyhow.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates and the result is capped")]
fn from_float(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let number: f64 = format!("0{whole}.{fraction}0").parse().unwrap_or(f64::MAX);
    let factor = match scale {
        Scale::Ten(ten) => 10_f64.powi(ten),
        Scale::Two(two) => 2_f64.powi(two.cast_signed()),
    };
    ((number * factor * 1e9).ceil() as i128).min(CAP)
}

/// Upstream's canonical form: no fraction, the largest suffix that keeps it exact; binary amounts below 1024 or
/// with a fraction print as decimal.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.is_whole() && self.nanos.abs() >= 1024 * NANOS {
            let (mut value, mut step) = (self.nanos / NANOS, 0);
            while value % 1024 == 0 && step < 6 {
                (value, step) = (value / 1024, step + 1);
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut value, mut exponent) = (self.nanos, -9);
        let largest = if self.format == Format::DecimalExponent { i32::MAX } else { 18 };
        while value % 1000 == 0 && exponent < largest {
            (value, exponent) = (value / 1000, exponent + 3);
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{value}"),
            (Format::DecimalExponent, exponent) => write!(f, "{value}e{exponent}"),
            (_, exponent) => {
                let step = usize::try_from(exponent / 3 + 3).expect("the exponent starts at -9");
                write!(f, "{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][step])
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl AddAssign for Quantity {
    /// Keeps the left format, unless the left is zero.
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self += -other;
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, format: self.format }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From a string, or from a bare number as YAML authors write it.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity::units(value, Format::DecimalSi))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Upstream's wire type, which is a plain string in `k8s-openapi`.
impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseError;

    fn try_from(wire: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Result<Self, ParseError> {
        wire.0.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn canonical_form() {
        let table = [
            ("0", "0"),
            ("0Ki", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("1.", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("1023Ki", "1023Ki"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("1.1Ki", "1126400m"),
            ("2000", "2k"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e5", "1200e3"),
            ("5e-3", "5e-3"),
            ("1E", "1E"),
            ("2Ei", "2Ei"),
            ("-1.5", "-1500m"),
            ("+3", "3"),
            ("0.1n", "1n"),
            ("1u", "1u"),
            ("129M", "129M"),
            ("128974848000m", "128974848"),
            ("100000000000000000000000000000000000000000", "9223372036854775807"),
        ];
        for (text, canonical) in table {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refusals() {
        let table = [
            ("", ParseError::Format),
            ("abc", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("1xi", ParseError::Format),
            ("1ki", ParseError::Suffix),
            ("1mi", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("m", ParseError::Number),
            (".", ParseError::Number),
            ("1.2.3", ParseError::Number),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Quantity>(), Err(error), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        assert_eq!(parse("100m").value(), 1);
        assert_eq!(parse("1.5Gi").value(), 1_610_612_736);
        assert_eq!(parse("0.5m").milli_value(), 1);
        assert_eq!(parse("2").milli_value(), 2000);
        assert_eq!(parse("10E").value(), i64::MAX);
    }

    #[test]
    fn amounts_compare_and_add_exactly() {
        assert_eq!(parse("1Gi"), parse("1024Mi"));
        assert!(parse("1G") < parse("1Gi"));
        assert_eq!((parse("0.1") + parse("0.2")).to_string(), "300m");
        assert_eq!((parse("1Gi") - parse("512Mi")).to_string(), "512Mi");
        assert_eq!((Quantity::ZERO + parse("1Gi")).to_string(), "1Gi");
        assert_eq!(Quantity::milli(250).to_string(), "250m");
        assert_eq!(Quantity::units(64, Format::BinarySi).to_string(), "64");
    }

    #[test]
    fn reads_strings_and_numbers() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).unwrap().to_string();
        assert_eq!(read("\"250m\""), "250m");
        assert_eq!(read("2"), "2");
        assert_eq!(read("0.5"), "500m");
        assert_eq!(serde_json::to_string(&parse("1.5Gi")).unwrap(), "\"1536Mi\"");
    }
}
