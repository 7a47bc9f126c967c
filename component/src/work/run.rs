//! The loop that takes keys from a queue to a reconciler.
//!
//! Promise: at most `concurrency` passes run at a time, all in one task, so that a panic in one is a panic of the
//! task and is seen by [`Tasks::failed`]. At shutdown no new pass begins and those that run are waited for.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::runtime::controller;
use tracing::Instrument;

use super::queue::Item;
use super::{Queue, Writes};
use crate::informers::{Informer, Key, Object};
use crate::tasks::Tasks;
use crate::telemetry::chain;

/// Keys that may wait for the informers to catch up, besides those worked on.
const MAX_HELD: usize = 1024;

/// When to look at the object again if nothing changes. As kube's `Action`, whose content cannot be read from
/// outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    requeue_after: Option<Duration>,
}

impl Action {
    /// Look again after this long.
    #[must_use]
    pub const fn requeue(after: Duration) -> Self {
        Self { requeue_after: Some(after) }
    }

    /// Look again when something changes.
    #[must_use]
    pub const fn await_change() -> Self {
        Self { requeue_after: None }
    }
}

impl From<Action> for controller::Action {
    fn from(action: Action) -> Self {
        action.requeue_after.map_or_else(Self::await_change, Self::requeue)
    }
}

/// What the runner wants to know of a reconciler's error.
pub trait Failure: Error + 'static {
    /// Whether another pass can only fail again, until the object changes.
    fn terminal(&self) -> bool {
        false
    }
}

impl Failure for kube::Error {}

impl Failure for std::convert::Infallible {}

/// Runs a reconciler on the objects of an informer until the tasks stop. Keys whose object is gone are dropped;
/// use [`run_keys`] where something is to be done for them. Begins when the informer is synced.
pub async fn run<K, C, E, F, Fut>(
    name: &'static str,
    informer: Informer<K>,
    queue: Queue<Key>,
    ctx: Arc<C>,
    concurrency: usize,
    reconcile: F,
    tasks: Tasks,
) where
    K: Object,
    C: Send + Sync + 'static,
    E: Failure,
    F: Fn(Arc<K>, Arc<C>) -> Fut,
    Fut: Future<Output = Result<Action, E>>,
{
    let stopping = tasks.stopping();
    tokio::select! {
        biased;
        () = stopping => return,
        () = informer.synced() => {}
    }
    let by_key = |key: Key, ctx| {
        let pass = informer.get(&key).map(|object| reconcile(object, ctx));
        async move {
            match pass {
                Some(pass) => pass.await,
                None => Ok(Action::await_change()),
            }
        }
    };
    run_keys(name, queue, ctx, concurrency, by_key, tasks).await;
}

/// Runs a reconciler on the keys of a queue until the tasks stop. Informers that it reads should be synced before.
pub async fn run_keys<T, C, E, F, Fut>(
    name: &'static str,
    queue: Queue<T>,
    ctx: Arc<C>,
    concurrency: usize,
    reconcile: F,
    tasks: Tasks,
) where
    T: Item,
    C: Send + Sync + 'static,
    E: Failure,
    F: Fn(T, Arc<C>) -> Fut,
    Fut: Future<Output = Result<Action, E>>,
{
    let mut stopping = std::pin::pin!(tasks.stopping());
    let writes = queue.writes();
    let (mut active, mut held) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut settled = VecDeque::new();
    loop {
        while active.len() < concurrency
            && let Some(key) = settled.pop_front()
        {
            active.push(pass(name, &queue, key, &ctx, &reconcile));
        }
        tokio::select! {
            biased;
            () = &mut stopping => break,
            Some(()) = active.next() => {}
            Some(key) = held.next() => settled.push_back(key),
            key = queue.take(), if active.len() < concurrency && held.len() < MAX_HELD => {
                if writes.seen(&key) {
                    active.push(pass(name, &queue, key, &ctx, &reconcile));
                } else {
                    held.push(hold(name, &writes, key));
                }
            }
        }
    }
    while active.next().await.is_some() {}
}

async fn hold<T: Item>(name: &'static str, writes: &Writes<T>, key: T) -> T {
    if !writes.settle(&key).await {
        tracing::debug!(controller = name, ?key, "informers did not see the last writes in time");
    }
    key
}

/// One pass and what follows from it.
async fn pass<T, C, E, F, Fut>(name: &'static str, queue: &Queue<T>, key: T, ctx: &Arc<C>, reconcile: &F)
where
    T: Item,
    E: Failure,
    F: Fn(T, Arc<C>) -> Fut,
    Fut: Future<Output = Result<Action, E>>,
{
    let span = tracing::debug_span!("reconcile", controller = name, ?key);
    let outcome = reconcile(key.clone(), Arc::clone(ctx)).instrument(span).await;
    match outcome {
        Ok(action) => {
            queue.forget(&key);
            if let Some(after) = action.requeue_after {
                queue.add_after(key.clone(), after);
            }
        }
        Err(error) if error.terminal() => {
            queue.forget(&key);
            tracing::error!(controller = name, ?key, error = chain(&error), "reconcile failed for good");
        }
        Err(error) => {
            let retry_in = queue.retry(key.clone());
            if is_conflict(&error) {
                tracing::debug!(
                    controller = name,
                    ?key,
                    ?retry_in,
                    error = chain(&error),
                    "reconcile conflicted"
                );
            } else {
                tracing::warn!(controller = name, ?key, ?retry_in, error = chain(&error), "reconcile failed");
            }
        }
    }
    queue.done(&key);
}

/// Whether an error comes from a write against an outdated object, which the next pass repairs by itself.
fn is_conflict(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            return status.code == 409;
        }
        next = error.source();
    }
    false
}
