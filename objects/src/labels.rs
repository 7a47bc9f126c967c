//! Label selectors, from a query parameter or from a `LabelSelector` in a spec.
//!
//! Promise: accepts, refuses and matches what apimachinery's `labels` package does, with its error texts.

mod lexer;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::validity;

/// What one requirement asks of the value of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; also true where the key is missing.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`; also true where the key is missing.
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`, as whole numbers.
    GreaterThan,
    /// `key<1`, as whole numbers.
    LessThan,
}

/// One part of a selector; all parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// A condition on labels: everything, nothing, or a conjunction of requirements ordered by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// `None` selects nothing, an empty list everything.
    requirements: Option<Vec<Requirement>>,
}

/// Why a selector was refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl Selector {
    /// Selects every object.
    #[must_use]
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object; what a missing (not an empty) `LabelSelector` means.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// A selector that asks for exactly these labels, as `spec.selector` of a Service.
    #[must_use]
    pub fn from_set(labels: &BTreeMap<String, String>) -> Self {
        let equal = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.clone()]),
        };
        Self { requirements: Some(labels.iter().map(equal).collect()) }
    }

    /// The meaning of a `LabelSelector`. An empty one selects everything.
    ///
    /// # Errors
    ///
    /// Unknown operator, or key or values that upstream refuses.
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, [value.clone()])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// [`from_label_selector`](Self::from_label_selector) of an optional field, where none means nothing.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_optional(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        selector.map_or_else(|| Ok(Self::nothing()), Self::from_label_selector)
    }

    /// What both select.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let requirements = self.requirements.iter().zip(&other.requirements).next();
        requirements.map_or_else(Self::nothing, |(mine, theirs)| {
            let mut both: Vec<_> = mine.iter().chain(theirs).cloned().collect();
            both.sort();
            both.dedup();
            Self { requirements: Some(both) }
        })
    }

    fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Whether these labels fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object with this metadata is selected.
    #[must_use]
    pub fn selects(&self, metadata: &ObjectMeta) -> bool {
        self.matches_with(|key| metadata.labels.as_ref()?.get(key).map(String::as_str))
    }

    /// [`matches`](Self::matches) on labels of any form: `value_of` gives the value of a key.
    pub fn matches_with<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|requirement| requirement.holds(value_of(&requirement.key))))
    }

    /// Whether it selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it selects no object whatever its labels.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements; none when it selects nothing.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self::from_requirements)
    }
}

/// The form that parses again: `a=b,c in (x,y),!d`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements().iter().enumerate() {
            write!(f, "{}{requirement}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Requirement {
    /// A requirement that upstream would accept.
    ///
    /// # Errors
    ///
    /// A key or value that is not a label's, or a number of values that the operator does not take.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let values: BTreeSet<String> = values.into_iter().collect();
        check_key("key", key)?;
        if let Some(problem) = operator.problem_of_values(&values) {
            return Err(SelectorError(format!("values: Invalid value: {}: {problem}", go_list(&values))));
        }
        for (at, value) in values.iter().enumerate() {
            let problems = validity::label_value(value);
            if !problems.is_empty() {
                let problems = problems.join("; ");
                let text = format!("values[{at}][{key}]: Invalid value: {value:?}: {problems}");
                return Err(SelectorError(text));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// The label key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The operator.
    #[must_use]
    pub const fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, sorted, without doubles.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// Whether a label with this value (`None`: no such label) fulfils the requirement.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |label, bound| label > bound),
            Operator::LessThan => self.compares(value, |label, bound| label < bound),
        }
    }

    fn compares(&self, value: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let label = value.and_then(|value| value.parse().ok());
        let bound = self.values.first().and_then(|value| value.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| holds(label, bound))
    }
}

impl Operator {
    fn problem_of_values(self, values: &BTreeSet<String>) -> Option<&'static str> {
        match self {
            Self::In | Self::NotIn => {
                values.is_empty().then_some("for 'in', 'notin' operators, values set can't be empty")
            }
            Self::Equals | Self::DoubleEquals | Self::NotEquals => {
                (values.len() != 1).then_some("exact-match compatibility requires one single value")
            }
            Self::Exists | Self::DoesNotExist => {
                (!values.is_empty()).then_some("values set must be empty for exists and does not exist")
            }
            Self::GreaterThan | Self::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            Self::GreaterThan | Self::LessThan => values
                .iter()
                .any(|value| value.parse::<i64>().is_err())
                .then_some("for 'Gt', 'Lt' operators, the value must be an integer"),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In => write!(f, "{key} in ({list})"),
            Operator::NotIn => write!(f, "{key} notin ({list})"),
            Operator::Equals => write!(f, "{key}={list}"),
            Operator::DoubleEquals => write!(f, "{key}=={list}"),
            Operator::NotEquals => write!(f, "{key}!={list}"),
            Operator::GreaterThan => write!(f, "{key}>{list}"),
            Operator::LessThan => write!(f, "{key}<{list}"),
        }
    }
}

fn check_key(path: &str, key: &str) -> Result<(), SelectorError> {
    let problems = validity::qualified_name(key);
    if problems.is_empty() {
        return Ok(());
    }
    Err(SelectorError(format!("{path}: Invalid value: {key:?}: {}", problems.join("; "))))
}

/// A list of strings as Go's `%#v` prints it, which is how field errors show it.
fn go_list(values: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn matching() {
        let table = [
            ("", "", true),
            ("a=b", "a=b", true),
            ("a==b", "a=c", false),
            ("a=", "a=", true),
            ("a=", "", false),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a in (x,y)", "a=y", true),
            ("a in (x, y)", "a=z", false),
            ("a in (,x)", "a=", true),
            ("a notin (x)", "", true),
            ("a notin (x)", "a=x", false),
            ("a", "a=1", true),
            ("!a", "a=1", false),
            ("!a,b", "b=1", true),
            ("a>5", "a=6", true),
            ("a>5", "a=5", false),
            ("a<5", "a=x", false),
            ("a gt 5", "a=6", false),
            ("in in (in)", "in=in", true),
            ("a=b,", "a=b", false),
        ];
        for (selector, set, expected) in table {
            let matched = selector.parse::<Selector>().is_ok_and(|selector| selector.matches(&labels(set)));
            assert_eq!(matched, expected, "{selector} on {set}");
        }
    }

    #[test]
    fn prints_what_parses_again() {
        for text in
            ["a=b", "a==b", "a!=b", "a in (x,y)", "a notin (x)", "a", "!a", "a>1", "a<1", "a=b,!c,d in (e)"]
        {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
        }
        assert_eq!("b=1,a=1".parse::<Selector>().unwrap().to_string(), "a=1,b=1");
    }

    #[test]
    fn label_selectors() {
        let read = |json: serde_json::Value| -> LabelSelector { serde_json::from_value(json).unwrap() };
        let selector = read(serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}],
        }));
        let selector = Selector::from_label_selector(&selector).unwrap();
        assert_eq!(selector.to_string(), "app=web,tier notin (x)");
        assert!(selector.matches(&labels("app=web")));
        assert!(!selector.matches(&labels("app=web,tier=x")));
        assert!(Selector::from_label_selector(&LabelSelector::default()).unwrap().is_everything());
        assert!(!Selector::from_optional(None).unwrap().matches(&labels("")));
        let bad = read(serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Has"}]}));
        assert_eq!(
            Selector::from_label_selector(&bad).unwrap_err().to_string(),
            "\"Has\" is not a valid label selector operator"
        );
    }

    #[test]
    fn values_are_checked() {
        let error = Requirement::new("a", Operator::In, []).unwrap_err().to_string();
        assert_eq!(
            error,
            "values: Invalid value: []string{}: for 'in', 'notin' operators, values set can't be empty"
        );
        let error = Requirement::new("a", Operator::Equals, ["-".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("values[0][a]: Invalid value: \"-\": a valid label must be"), "{error}");
    }
}
