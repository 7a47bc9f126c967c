//! The error every request can end in: `metav1.Status`, with upstream's reasons, codes and texts.
//!
//! Promise: whatever goes wrong inside a request, the client gets one of these as its body and the
//! HTTP code equals `code`. Clients match on `reason`, so each constructor fixes both.
//! Source: apimachinery `pkg/api/errors`.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

/// A failed request. Boxed: results carry it through every layer, and the good path should stay small.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Status>);

/// Result of anything that runs inside a request.
pub type ApiResult<T> = Result<T, ApiError>;

/// `metav1.Status` as it goes over the wire.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: ListMeta,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "is_zero")]
    code: u16,
}

#[derive(Clone, Debug, Default, Serialize)]
struct ListMeta {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<String>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource for most errors, the kind for `Invalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u16,
}

/// `metav1.StatusCause`: one thing that is wrong, and where.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl ApiError {
    /// 404 for an object: `pods "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quoted(name));
        Self::about(404, "NotFound", message, group, resource, name)
    }

    /// 404 for a path under `/api` or `/apis` that names nothing served.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self::new(404, "NotFound", message).with_details(Details::default())
    }

    /// 409 for a create of something there.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quoted(name));
        Self::about(409, "AlreadyExists", message, group, resource, name)
    }

    /// 409 after the tries for a `generateName` are used up.
    pub fn no_name_generated(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            quoted(name)
        );
        let mut error = Self::about(409, "AlreadyExists", message, group, resource, name);
        error.details_mut().retry_after_seconds = 1;
        error
    }

    /// 409: somebody else was faster, or a precondition does not hold.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            quoted(name)
        );
        Self::about(409, "Conflict", message, group, resource, name)
    }

    /// 409 with the text of a stale `resourceVersion`.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        const WHY: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, WHY)
    }

    /// 422 with one cause a field.
    pub fn invalid(
        group: &str,
        kind: &str,
        name: &str,
        errors: impl IntoIterator<Item = impl Into<Cause>>,
    ) -> Self {
        let causes: Vec<Cause> = errors.into_iter().map(Into::into).collect();
        let mut seen = HashSet::new();
        let mut texts: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let text = format!("{}: {}", cause.field, cause.message);
            if seen.insert(text.clone()) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [] => String::new(),
            [one] => format!(": {one}"),
            many => format!(": [{}]", many.join(", ")),
        };
        let message = format!("{} {} is invalid{list}", qualified(group, kind), quoted(name));
        let mut error = Self::about(422, "Invalid", message, group, kind, name);
        error.details_mut().causes = causes;
        error
    }

    /// 422 without causes: what upstream answers to a JSON patch that does not apply.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request".to_owned();
        Self::new(422, "Invalid", message).with_details(Details::default())
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned())
    }

    /// 403 about a resource (and a name, unless empty).
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (what.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} {} is forbidden: {why}", quoted(name)),
        };
        Self::about(403, "Forbidden", message, group, resource, name)
    }

    /// 405 for a method that no verb of the path answers to.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::new(405, "MethodNotAllowed", message).with_details(Details::default())
    }

    /// 406, naming what the endpoint can write.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// 415, naming what the endpoint can read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 410: the revision asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into())
    }

    /// 410 for a continue token, with the token that goes on at the latest revision.
    pub fn expired_continue(message: impl Into<String>, fresh: String) -> Self {
        let mut error = Self::expired(message);
        error.0.metadata.continue_token = Some(fresh);
        error
    }

    /// 413 for a body above `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 429 with the seconds to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u16) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::new(429, "TooManyRequests", message.into()).with_details(details)
    }

    /// 500.
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let message = format!("Internal error occurred: {why}");
        let cause = Cause { message: why, ..Cause::default() };
        Self::new(500, "InternalError", message)
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 502/503: somebody behind the server (a node, a pod) did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message.into())
    }

    /// 504: the revision asked for lies ahead of what is written.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        };
        Self::new(504, "Timeout", message).with_details(Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// 504: the request took longer than it may.
    pub fn timeout(message: impl fmt::Display) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}")).with_details(Details::default())
    }

    /// Any other failure, for answers passed on from a node.
    pub fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self(Box::new(Status {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta::default(),
            status: "Failure",
            message,
            reason,
            details: None,
            code,
        }))
    }

    /// The same failure with words before its message.
    pub fn with_message_prefix(mut self, prefix: &str) -> Self {
        self.0.message.insert_str(0, prefix);
        self
    }

    /// The same failure with these details.
    pub fn with_details(mut self, details: Details) -> Self {
        self.0.details = Some(details);
        self
    }

    /// The same failure with one more cause.
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details_mut().causes.push(cause);
        self
    }

    /// The same failure telling the client when to come back.
    pub fn with_retry_after(mut self, seconds: u16) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// Upstream's `reason`.
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// The text for a person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Seconds for a `Retry-After` header, if any.
    pub fn retry_after_seconds(&self) -> Option<u16> {
        self.0.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    }

    /// The body.
    pub fn status(&self) -> &Status {
        &self.0
    }

    fn about(code: u16, reason: &'static str, message: String, group: &str, kind: &str, name: &str) -> Self {
        Self::new(code, reason, message).with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        })
    }

    fn details_mut(&mut self) -> &mut Details {
        self.0.details.get_or_insert_default()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ApiError {}

impl Status {
    /// A success without an object, as DELETE answers: the details name what was deleted.
    pub fn success(details: Details) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta::default(),
            status: "Success",
            message: String::new(),
            reason: "",
            details: Some(details),
            code: 0,
        }
    }

    /// A success with nothing to add, and its code (201 for a binding).
    pub fn plain_success(code: u16) -> Self {
        Self { details: None, code, ..Self::success(Details::default()) }
    }
}

/// `pods`, or `deployments.apps`.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// Go's `%q` for names: names have no characters where Go and Rust quoting differ.
fn quoted(name: &str) -> String {
    format!("{name:?}")
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(error: &ApiError) -> serde_json::Value {
        serde_json::to_value(error.status()).unwrap()
    }

    #[test]
    fn not_found_reads_like_upstream() {
        assert_eq!(
            body(&ApiError::not_found("apps", "deployments", "web")),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404})
        );
    }

    #[test]
    fn invalid_says_each_text_once_and_keeps_every_cause() {
        let cause = || Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: "spec.x".into(),
        };
        let error = ApiError::invalid("", "Pod", "p", [cause(), cause()]);
        assert_eq!(error.message(), "Pod \"p\" is invalid: spec.x: Required value");
        assert_eq!(body(&error)["details"]["causes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn forbidden_without_a_resource_names_only_the_reason() {
        assert_eq!(ApiError::forbidden("", "", "", "no").message(), "forbidden: no");
        assert_eq!(ApiError::forbidden("", "pods", "", "no").message(), "pods is forbidden: no");
    }
}
