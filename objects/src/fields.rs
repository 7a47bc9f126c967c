//! Field selectors: `spec.nodeName=a,status.phase!=Running`.
//!
//! Promise: parses as apimachinery's `fields` package does, escapes included. Which fields a kind has is not
//! known here.

use std::fmt;
use std::str::FromStr;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The field's path, e.g. `spec.nodeName`.
    pub field: String,

    /// `true` for `=` and `==`, `false` for `!=`.
    pub equal: bool,

    /// The value compared with, unescaped.
    pub value: String,
}

/// A conjunction of comparisons; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<Requirement>,
}

/// Why a field selector was refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The part that is not a comparison.
        term: String,
    },

    /// A backslash before something that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),

    /// `=` inside a value.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

impl FieldSelector {
    /// A selector for one field, e.g. `spec.nodeName` of the own node.
    #[must_use]
    pub fn equals(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self { requirements: vec![Requirement { field: field.into(), equal: true, value: value.into() }] }
    }

    /// Whether an object is selected; `value_of` gives the value of a field, where an unset field is "".
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.requirements.iter().all(|one| (value_of(&one.field) == one.value) == one.equal)
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The comparisons, in the order they were written.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value that `field` must have, if the selector asks for one.
    #[must_use]
    pub fn required(&self, field: &str) -> Option<&str> {
        let one = self.requirements.iter().find(|one| one.equal && one.field == field)?;
        Some(&one.value)
    }
}

impl FromStr for FieldSelector {
    type Err = FieldSelectorError;

    fn from_str(text: &str) -> Result<Self, FieldSelectorError> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            let Some((field, equal, value)) = comparison(term) else {
                let (selector, term) = (text.to_owned(), term.to_owned());
                return Err(FieldSelectorError::Term { selector, term });
            };
            requirements.push(Requirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { field, equal, value }) in self.requirements.iter().enumerate() {
            let (comma, operator) = (if at == 0 { "" } else { "," }, if *equal { "=" } else { "!=" });
            write!(f, "{comma}{field}{operator}")?;
            for letter in value.chars() {
                let escape = if matches!(letter, '\\' | ',' | '=') { "\\" } else { "" };
                write!(f, "{escape}{letter}")?;
            }
        }
        Ok(())
    }
}

/// The parts between commas that no backslash precedes; empty parts are skipped.
fn terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms.retain(|term| !term.is_empty());
    terms
}

/// Splits at the first operator; `!=` and `==` come before `=`.
fn comparison(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let (field, rest) = term.split_at(at);
        let found = [("!=", false), ("==", true), ("=", true)]
            .into_iter()
            .find_map(|(operator, equal)| Some((equal, rest.strip_prefix(operator)?)));
        found.map(|(equal, value)| (field, equal, value))
    })
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence = other.map_or_else(|| "\\".to_owned(), |other| format!("\\{other}"));
                    return Err(FieldSelectorError::Escape(sequence));
                }
            },
            '=' | ',' => return Err(FieldSelectorError::Unescaped(letter)),
            _ => plain.push(letter),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_matches_and_prints() {
        let selector: FieldSelector = "spec.nodeName=a,status.phase!=Failed,x==y".parse().unwrap();
        let value = |phase: &'static str| {
            move |field: &str| match field {
                "spec.nodeName" => "a",
                "status.phase" => phase,
                "x" => "y",
                _ => "",
            }
        };
        assert!(selector.matches(value("Running")));
        assert!(!selector.matches(value("Failed")));
        assert_eq!(selector.required("spec.nodeName"), Some("a"));
        assert_eq!(selector.to_string(), "spec.nodeName=a,status.phase!=Failed,x=y");
        assert!("".parse::<FieldSelector>().unwrap().is_everything());
    }

    #[test]
    fn escapes() {
        let selector: FieldSelector = r"a=b\,c\=d\\".parse().unwrap();
        assert_eq!(selector.required("a"), Some(r"b,c=d\"));
        assert_eq!(selector.to_string(), r"a=b\,c\=d\\");
    }

    #[test]
    fn refusals() {
        let text = |selector: &str| selector.parse::<FieldSelector>().unwrap_err().to_string();
        assert_eq!(text("a=b,c"), "invalid selector: 'a=b,c'; can't understand 'c'");
        assert_eq!(text(r"a=\x"), r"invalid field selector: invalid escape sequence: \x");
        assert_eq!(text("a=b=c"), "invalid field selector: unescaped character in value: =");
    }
}
