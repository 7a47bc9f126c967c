//! Query parameters: reading them as Go's conversion does, and the options that LIST and WATCH take.
//!
//! Promise: a parameter that cannot be read is an error with upstream's text; unknown parameters are ignored.
//! Source: apimachinery `pkg/apis/meta/internalversion/validation`.

use objects::fields::{FieldSelector, FieldSelectorError};
use objects::labels::{Selector, SelectorError};
use percent_encoding::percent_decode_str;

use crate::field::{FieldError, Path};
use crate::status::{ApiError, ApiResult};

/// The decoded pairs of a query string, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes a raw query string.
    pub fn parse(raw: Option<&str>) -> Self {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, or empty.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of a repeated parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A boolean as Go's query conversion reads it: anything but `0` and `false` is true.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// An integer.
    pub fn int(&self, name: &str) -> ApiResult<Option<i64>> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
            }),
        }
    }

    /// Whether the request is a dry run; any value but `All` is an error of the given options kind.
    pub fn dry_run(&self, options: &str) -> ApiResult<bool> {
        let mut dry = false;
        for value in self.all("dryRun").filter(|v| !v.is_empty()) {
            if value != "All" {
                let error = FieldError::not_supported(Path::root("dryRun"), value_list(self), &["All"]);
                return Err(invalid_options(options, vec![error]));
            }
            dry = true;
        }
        Ok(dry)
    }
}

/// What LIST, WATCH and DELETECOLLECTION take.
#[derive(Clone, Debug)]
pub struct ListOptions {
    pub labels: Selector,
    pub fields: FieldSelector,
    pub watch: bool,
    pub allow_bookmarks: bool,
    pub resource_version: String,
    pub version_match: VersionMatch,
    pub timeout_seconds: Option<i64>,
    /// 0: everything.
    pub limit: usize,
    /// The token of the page before, or empty.
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    #[default]
    Unset,
    Exact,
    NotOlderThan,
}

impl ListOptions {
    /// Reads and checks the options; `watch` says which rules apply.
    pub fn parse(query: &Query, watch: bool) -> ApiResult<Self> {
        let labels: Selector = query
            .text("labelSelector")
            .parse()
            .map_err(|error: SelectorError| ApiError::bad_request(error.to_string()))?;
        let fields: FieldSelector = query
            .text("fieldSelector")
            .parse()
            .map_err(|error: FieldSelectorError| ApiError::bad_request(error.to_string()))?;
        let limit = query.int("limit")?.unwrap_or(0);
        let options = Self {
            labels,
            fields,
            watch,
            allow_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            resource_version: query.text("resourceVersion").to_owned(),
            version_match: VersionMatch::Unset,
            timeout_seconds: query.int("timeoutSeconds")?,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.text("continue").to_owned(),
            send_initial_events: query.flag("sendInitialEvents"),
        };
        let wanted = query.text("resourceVersionMatch");
        let errors = if watch { options.watch_errors(wanted) } else { options.list_errors(wanted) };
        if !errors.is_empty() {
            return Err(invalid_options("ListOptions", errors));
        }
        let version_match = match wanted {
            "Exact" => VersionMatch::Exact,
            "NotOlderThan" => VersionMatch::NotOlderThan,
            _ => VersionMatch::Unset,
        };
        Ok(Self { version_match, ..options })
    }

    /// Whether everything under the prefix is meant.
    pub fn selects_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    fn list_errors(&self, wanted: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = || Path::root("resourceVersionMatch");
        if !wanted.is_empty() {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(at(), why));
            }
            if !self.continue_token.is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(at(), why));
            }
            if wanted != "Exact" && wanted != "NotOlderThan" {
                errors.push(FieldError::not_supported(at(), wanted, &["Exact", "NotOlderThan", ""]));
            }
            if wanted == "Exact" && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(at(), why));
            }
        }
        if self.send_initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden(Path::root("sendInitialEvents"), why));
        }
        errors
    }

    fn watch_errors(&self, wanted: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = || Path::root("resourceVersionMatch");
        if self.send_initial_events.is_some() && wanted != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(at(), why));
        }
        if wanted.is_empty() {
            return errors;
        }
        if self.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(at(), why));
        }
        if wanted != "NotOlderThan" {
            errors.push(FieldError::not_supported(at(), wanted, &["NotOlderThan"]));
        }
        if !self.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(at(), why));
        }
        errors
    }
}

/// `fieldValidation`: what happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// What CREATE, UPDATE and PATCH take.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
}

impl WriteOptions {
    /// Reads and checks the options; `options` is their kind in error texts, such as `CreateOptions`.
    pub fn parse(query: &Query, options: &str) -> ApiResult<Self> {
        let mut errors = Vec::new();
        if query.all("dryRun").any(|v| !v.is_empty() && v != "All") {
            errors.push(FieldError::not_supported(Path::root("dryRun"), value_list(query), &["All"]));
        }
        let manager = query.text("fieldManager");
        if manager.len() > FIELD_MANAGER_LIMIT {
            errors.push(FieldError::too_long(Path::root("fieldManager"), FIELD_MANAGER_LIMIT));
        }
        if manager.chars().any(|c| c.is_control()) {
            let why = "should not contain characters that are not printable";
            errors.push(FieldError::invalid(Path::root("fieldManager"), manager, why));
        }
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let known = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported(Path::root("fieldValidation"), other, &known));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid_options(options, errors));
        }
        let dry_run = query.all("dryRun").any(|v| v == "All");
        Ok(Self { dry_run, field_validation })
    }
}

/// 422 about an options kind of `meta.k8s.io`.
pub fn invalid_options(kind: &str, errors: Vec<FieldError>) -> ApiError {
    ApiError::invalid("meta.k8s.io", kind, "", errors)
}

/// Bytes of a field manager's name (apimachinery `FieldManagerMaxLength`).
const FIELD_MANAGER_LIMIT: usize = 128;

/// All `dryRun` values, as upstream shows them in its error.
fn value_list(query: &Query) -> Vec<String> {
    query.all("dryRun").map(str::to_owned).collect()
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(raw: &str) -> ApiResult<ListOptions> {
        ListOptions::parse(&Query::parse(Some(raw)), false)
    }

    #[test]
    fn decodes_pairs() {
        let query = Query::parse(Some("a=x%3Dy+z&b&watch=0&a=2"));
        assert_eq!((query.get("a"), query.get("b"), query.get("c")), (Some("x=y z"), Some(""), None));
        assert_eq!((query.flag("watch"), query.flag("b")), (Some(false), Some(true)));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["x=y z", "2"]);
    }

    #[test]
    fn version_match_rules_read_like_upstream() {
        let table = [
            (
                "resourceVersionMatch=Exact",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            ("resourceVersion=0&resourceVersionMatch=Exact", "is forbidden for resourceVersion \"0\""),
            (
                "resourceVersion=1&resourceVersionMatch=X",
                "supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ];
        for (raw, text) in table {
            let error = list(raw).unwrap_err();
            assert!(error.message().contains(text), "{raw}: {error}");
        }
        assert!(list("resourceVersion=5&resourceVersionMatch=Exact&limit=3").is_ok());
    }
}
