//! What is wrong in a configuration: every fault with the path of its field, worded as upstream words field errors.

use std::fmt::{self, Display};

/// The faults found so far. Empty: the configuration is fine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// A value that is not allowed. Texts are to be given quoted.
    pub(super) fn invalid(&mut self, path: impl Display, value: impl Display, why: impl Display) {
        self.0.push(format!("{path}: Invalid value: {value}: {why}"));
    }

    /// A value that could not be read.
    pub(super) fn wrong(&mut self, path: impl Display, why: impl Display) {
        self.0.push(format!("{path}: {why}"));
    }

    /// A value that has to be there.
    pub(super) fn required(&mut self, path: impl Display, why: &str) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        self.0.push(format!("{path}: Required value{why}"));
    }

    /// A value that may stand there once only.
    pub(super) fn duplicate(&mut self, path: impl Display, value: &str) {
        self.0.push(format!("{path}: Duplicate value: {value:?}"));
    }

    /// A value that is none of a few.
    pub(super) fn not_supported(&mut self, path: impl Display, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let supported = supported.join(", ");
        self.0.push(format!("{path}: Unsupported value: {value:?}: supported values: {supported}"));
    }

    /// A value that may not stand there at all.
    pub(super) fn forbidden(&mut self, path: impl Display, why: impl Display) {
        self.0.push(format!("{path}: Forbidden: {why}"));
    }

    /// `value` if nothing is wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// One fault as it is, several in brackets, as Go prints an aggregate.
impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}

impl std::error::Error for Faults {}
