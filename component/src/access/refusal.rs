//! The refusal of a request, as a `Status` in upstream's words.

use http::StatusCode;
use serde_json::{Value, json};

use super::Act;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Credentials were shown that are not good.
    #[error("Unauthorized")]
    Unauthorized,
    /// The user may not do that.
    #[error("{}", forbidden(.0, .1))]
    Forbidden(String, Act),
}

fn forbidden(user: &str, act: &Act) -> String {
    match act {
        Act::Path { verb, path } => format!("forbidden: User {user:?} cannot {verb} path {path:?}"),
        Act::Resource { verb, resource, subresource, name } => format!(
            "{resource} {name:?} is forbidden: User {user:?} cannot {verb} resource \"{resource}/{subresource}\" in API \
             group \"\" at the cluster scope"
        ),
    }
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(..) => StatusCode::FORBIDDEN,
        }
    }

    /// The body (`v1` Status).
    #[must_use]
    pub fn status(&self) -> Value {
        let reason = match self {
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden(..) => "Forbidden",
        };
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": reason, "details": {}, "code": self.code().as_u16(),
        })
    }
}
