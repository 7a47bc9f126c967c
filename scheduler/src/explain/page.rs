//! The scheduler's page `/debug/decisions`: what it decided lately, and `/debug/decisions/NAMESPACE/NAME` with
//! everything about one pod (`?node=N`: about that node too).
//!
//! Reads only. The scheduler's task gives a copy of what it knows; the computing happens here, beside it.

use super::look::{decision, explain};
use super::report::{By, Decision, Explanation};
use crate::decisions::{Desk, Unanswered};
use component::clock::Clock;
use component::serve::{Asked, Pages};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// Where the page is.
pub const DECISIONS: &str = "/debug/decisions";

/// The listing.
#[derive(Debug, Serialize)]
struct Listing {
    /// The newest first.
    decisions: Vec<Decision>,
}

/// Adds the page.
pub fn show(pages: &Pages, desk: &Desk, clock: &Clock) {
    let (desk, clock) = (desk.clone(), clock.clone());
    pages.add(DECISIONS, move |asked| {
        let (desk, clock) = (desk.clone(), clock.clone());
        async move { answer(asked, &desk, &clock).await }
    });
}

async fn answer(asked: Asked, desk: &Desk, clock: &Clock) -> (StatusCode, Value) {
    let parts: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    let answered = match *parts.as_slice() {
        [] => listing("", desk).await,
        [namespace] => listing(namespace, desk).await,
        [namespace, name] => match explanation(namespace, name, &asked, desk, clock).await {
            Ok(None) => return refusal(StatusCode::NOT_FOUND, &format!("no pod {namespace}/{name} here")),
            Ok(Some(explanation)) => Ok(json!(explanation)),
            Err(error) => Err(error),
        },
        _ => {
            return refusal(
                StatusCode::NOT_FOUND,
                &format!("{DECISIONS}/NAMESPACE/NAME is the deepest path"),
            );
        }
    };
    match answered {
        Ok(value) => (StatusCode::OK, value),
        // Asking the same copy again does not help, so not a status that clients try again.
        Err(error @ Unanswered::NotLeading) => refusal(StatusCode::MISDIRECTED_REQUEST, &error.to_string()),
        Err(error @ Unanswered::Busy) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

async fn listing(namespace: &str, desk: &Desk) -> Result<Value, Unanswered> {
    let look = desk.last(namespace).await?;
    Ok(json!(Listing { decisions: look.decisions.iter().map(decision).collect() }))
}

async fn explanation(
    namespace: &str,
    name: &str,
    asked: &Asked,
    desk: &Desk,
    clock: &Clock,
) -> Result<Option<Explanation>, Unanswered> {
    let look = desk.pod(namespace, name).await?;
    let (node, now) = (asked.query.get("node").cloned(), clock.now());
    // Up to a second in a large cluster: not on a thread that others wait for.
    let computed = tokio::task::spawn_blocking(move || explain(&look, node.as_deref(), By::Scheduler, now));
    computed.await.map_err(|_| Unanswered::Busy)
}

fn refusal(status: StatusCode, message: &str) -> (StatusCode, Value) {
    let reason = if status == StatusCode::NOT_FOUND { "NotFound" } else { "ServiceUnavailable" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16()});
    (status, body)
}
