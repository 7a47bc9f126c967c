//! `eviction`: a delete that asks the pod's disruption budget first.
//!
//! Promise: a budget's `disruptionsAllowed` is taken in the same write that notes the pod in `disruptedPods`, so
//! two evictions never use one allowance. Source: kubernetes `pkg/registry/core/pod/storage/eviction.go`.

use std::sync::Arc;

use http::StatusCode;
use objects::labels::Selector;
use serde_json::Value;

use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::{self, Answer};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult, Cause, Status};
use crate::store::Record;
use crate::verbs::delete::{DeleteOptions, delete_object};
use crate::verbs::transaction::{Part, Transaction};
use crate::verbs::{decode, encode, record};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Seconds after which an eviction that a stale budget refused may be tried again.
const STALE_RETRY: u16 = 10;
/// Pods noted as disrupted before the budget's controller must catch up (`MaxDisruptedPodSize`).
const MOST_DISRUPTED: usize = 2000;

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let write = WriteOptions::parse(&call.query, "CreateOptions")?;
    let eviction = decode::foreign(call, "policy", "v1", "Eviction", write.field_validation)?;
    let given = object::name(&eviction);
    if !given.is_empty() && given != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let body = eviction.get("deleteOptions").cloned().unwrap_or(Value::Null);
    let mut options = DeleteOptions::read(&body)?;
    options.dry_run |= write.dry_run;
    let pod = encode::decoded(&record(server, kind, call.namespace(), call.name())?.bytes)?;
    if !is_free(&pod) {
        ask_budget(server, call, kind, &pod, options.dry_run).await?;
    }
    delete_object(server, call, kind, call.name(), &options).await?;
    respond::success(StatusCode::CREATED, &Status::plain_success(201), call.output)
}

/// Pods that no budget protects: finished, not yet running, or on their way out.
fn is_free(pod: &Value) -> bool {
    object::is_deleting(pod)
        || matches!(object::str_at(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending" | "")
}

async fn ask_budget(
    server: &Arc<Server>,
    call: &Call,
    pods: &Arc<Kind>,
    pod: &Value,
    dry_run: bool,
) -> ApiResult<()> {
    let budgets =
        server.kinds.kind("policy", "v1", "PodDisruptionBudget").ok_or_else(ApiError::no_such_resource)?;
    let protecting = protecting(server, budgets, pod)?;
    let budget = match protecting.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::internal(why));
        }
    };
    let name = budget.header.name().to_owned();
    let now = server.clock.now_seconds().to_string();
    let transaction = Transaction { server, call, kind: budgets, name: &name, part: Part::Other, dry_run };
    transaction.run(|old| take(pods, pod, old, &now)).await?;
    Ok(())
}

/// The budget after the pod has taken its allowance, or why it may not.
fn take(pods: &Kind, pod: &Value, budget: &Value, now: &str) -> ApiResult<Value> {
    let (pod_name, name) = (object::name(pod), object::name(budget));
    let observed = object::int_at(budget, &["status", "observedGeneration"]).unwrap_or(0);
    let generation = object::int_at(budget, &["metadata", "generation"]).unwrap_or(0);
    if observed < generation {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&cause).with_retry_after(STALE_RETRY));
    }
    let ready = object::list_at(pod, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let healthy = object::int_at(budget, &["status", "currentHealthy"]).unwrap_or(0);
    let desired = object::int_at(budget, &["status", "desiredHealthy"]).unwrap_or(0);
    let always = object::str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !ready && (always || (healthy >= desired && desired > 0)) {
        // A pod that is not healthy takes nothing from the budget.
        return Ok(budget.clone());
    }
    let allowed = object::int_at(budget, &["status", "disruptionsAllowed"]).unwrap_or(0);
    if allowed < 0 {
        return Err(ApiError::forbidden(
            "policy",
            "poddisruptionbudgets",
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    let disrupted = object::at(budget, &["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden("policy", "poddisruptionbudgets", name, why));
    }
    if allowed == 0 {
        let cause =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(&cause));
    }
    debug_assert_eq!(pods.plural, "pods");
    let mut new = budget.clone();
    object::set_at(&mut new, &["status", "disruptionsAllowed"], allowed - 1);
    object::set_at(&mut new, &["status", "disruptedPods", pod_name], now);
    Ok(new)
}

fn refused(cause: &str) -> ApiError {
    ApiError::too_many_requests(REFUSED, 0).with_cause(Cause {
        reason: "DisruptionBudget".to_owned(),
        message: cause.to_owned(),
        field: String::new(),
    })
}

/// Budgets of the pod's namespace that select it.
fn protecting(server: &Server, budgets: &Kind, pod: &Value) -> ApiResult<Vec<Arc<Record>>> {
    let prefix = budgets.storage_key(object::namespace(pod), "");
    let labels = object::labels(pod);
    let mut found = Vec::new();
    for record in server.store.snapshot().range(&prefix, None) {
        let budget = encode::decoded(&record.bytes)?;
        let Some(selector) = object::at(&budget, &["spec", "selector"]) else { continue };
        let selector = serde_json::from_value(selector.clone()).map_err(ApiError::internal)?;
        let Ok(selector) = Selector::from_label_selector(&selector) else { continue };
        if selector.matches_with(|key| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str)) {
            found.push(record.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(budget: Value, ready: bool) -> ApiResult<Value> {
        let status = if ready { "True" } else { "False" };
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let kinds = crate::kinds::Kinds::builtin();
        take(kinds.resource("", "v1", "pods").unwrap(), &pod, &budget, "now")
    }

    fn budget(allowed: i64, healthy: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "status": {"observedGeneration": 1,
            "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2}})
    }

    #[test]
    fn an_allowance_is_taken_once() {
        let after = ask(budget(1, 3), true).unwrap();
        assert_eq!(after["status"]["disruptionsAllowed"], 0);
        assert_eq!(after["status"]["disruptedPods"]["p"], "now");
        let error = ask(after, true).unwrap_err();
        assert_eq!((error.code(), error.message()), (429, REFUSED));
    }

    #[test]
    fn a_stale_budget_asks_to_come_back() {
        let mut stale = budget(1, 3);
        stale["metadata"]["generation"] = json!(2);
        assert_eq!(ask(stale, true).unwrap_err().retry_after_seconds(), Some(STALE_RETRY));
    }

    #[test]
    fn a_sick_pod_of_a_healthy_set_takes_nothing() {
        assert_eq!(ask(budget(0, 2), false).unwrap(), budget(0, 2));
        assert!(ask(budget(0, 1), false).is_err());
    }
}
