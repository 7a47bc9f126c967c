//! Keeps a ServiceAccount named `default` in every active namespace: pods that name none run as it.
//!
//! Reads: Namespaces, ServiceAccounts (metadata of those of that name). Writes: creates ServiceAccounts. Never
//! changes or deletes one.

use std::sync::Arc;

use component::informers::{Informer, Key, Selection};
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use serde_json::json;

use crate::collection::{is_namespace_terminating, is_taken};
use crate::context::Context;

/// The name in `--controllers`.
pub(crate) const NAME: &str = "serviceaccount-controller";

const ACCOUNT: &str = "default";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let namespaces = ctx.informers.of::<Namespace>();
    let of_that_name = Selection { fields: Some(format!("metadata.name={ACCOUNT}")), ..Selection::default() };
    let accounts = ctx.informers.selected::<ServiceAccount>(of_that_name);
    let queue = Queue::new(NAME);
    queue.follow(&namespaces);
    queue.watch(&accounts, |change| {
        let gone = change.new().is_none();
        gone.then(|| Key::cluster(change.key().namespace))
    });
    let controller =
        Arc::new(Controller { ctx: ctx.clone(), accounts: accounts.clone(), queue: queue.clone() });
    let concurrency = ctx.config.concurrent_account_syncs;
    let work = run(NAME, namespaces, queue, controller, concurrency, reconcile, ctx.tasks.clone());
    ctx.start(NAME, async move { accounts.synced().await }, work);
}

struct Controller {
    ctx: Context,
    accounts: Informer<ServiceAccount>,
    queue: Queue<Key>,
}

async fn reconcile(namespace: Arc<Namespace>, controller: Arc<Controller>) -> Result<Action, Error> {
    let key = Key::of(&*namespace);
    let there = controller.accounts.get(&Key::new(&*key.name, ACCOUNT)).is_some();
    if !wanted(&namespace, there) {
        return Ok(Action::await_change());
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
    match controller.ctx.collection::<ServiceAccount>(Some(&key.name)).create(&account).await {
        Ok(created) => controller.queue.writes().wrote(&key, &controller.accounts, &created),
        Err(error) if is_taken(&error) || is_namespace_terminating(&error) => {}
        Err(error) => return Err(Error::Create(error)),
    }
    Ok(Action::await_change())
}

/// Whether an account is to be created.
fn wanted(namespace: &Namespace, there: bool) -> bool {
    !there && is_active(namespace)
}

/// Whether a namespace takes new objects.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("create service account")]
    Create(#[source] kube::Error),
}

impl Failure for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_namespaces_without_one() {
        for (namespace, there, expected) in [
            (json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}}), false, true),
            (json!({"metadata": {"name": "a"}}), false, true),
            (json!({"metadata": {"name": "a"}}), true, false),
            (json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}), false, false),
            (json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}), false, false),
        ] {
            let decoded: Namespace = serde_json::from_value(namespace.clone()).unwrap();
            assert_eq!(wanted(&decoded, there), expected, "{namespace} {there}");
        }
    }
}
