//! Looking at the runtime as a whole: who changed, who is not ours any more.
//!
//! Promise: a worker hears of every change of its pod: at once where the runtime sends events, within `BLIND_PERIOD`
//! where it does not. Events are only hints; what is true comes from the list. Idle cost: one list of sandboxes and
//! one of containers each `WATCHED_PERIOD`. Upstream's counterpart is the PLEG.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tracing::warn;

use super::Pods;
use crate::runtime::{Hint, Listing, RunState};

/// Pause between lists when the runtime tells of changes by itself.
const WATCHED_PERIOD: Duration = Duration::from_secs(60);

/// Pause between lists when it does not. Upstream's relist period.
const BLIND_PERIOD: Duration = Duration::from_secs(1);

/// After an event, how long to collect more of them; the runtime's own state lags behind its events.
const SETTLE: Duration = Duration::from_millis(50);

/// After an event, a second look, for a state that lagged longer.
const SECOND_LOOK: Duration = Duration::from_millis(700);

/// What a pod looked like at the last list: enough to see that something changed.
type Shape = Vec<(String, RunState)>;

/// Looks until it is dropped. `sources_synced`: pods that are not known by now are orphans.
pub(crate) async fn relist(pods: Pods) {
    let runtime = std::sync::Arc::clone(&pods.node().runtime);
    let mut hints = runtime.hints();
    let mut shapes: HashMap<String, Shape> = HashMap::new();
    let mut second_look = true;
    look(&pods, &mut shapes).await;
    loop {
        let quiet = if second_look {
            SECOND_LOOK
        } else if runtime.hints_are_complete().await {
            WATCHED_PERIOD
        } else {
            BLIND_PERIOD
        };
        match tokio::time::timeout(quiet, hints.next()).await {
            Ok(Some(Hint::Pod(uid))) => {
                pods.stirred(&uid);
                continue;
            }
            Ok(Some(Hint::Something)) => {
                tokio::time::sleep(SETTLE).await;
                // Whatever came meanwhile is covered by the list below.
                while let Some(Some(hint)) = futures::FutureExt::now_or_never(hints.next()) {
                    if let Hint::Pod(uid) = hint {
                        pods.stirred(&uid);
                    }
                }
                second_look = true;
            }
            // No more hints: look periodically.
            Ok(None) => {
                tokio::time::sleep(BLIND_PERIOD).await;
                second_look = false;
            }
            Err(_) => second_look = false,
        }
        look(&pods, &mut shapes).await;
    }
}

async fn look(pods: &Pods, shapes: &mut HashMap<String, Shape>) {
    // A simulated runtime names the pod in each hint; nothing changes behind its back.
    if !pods.node().runtime.is_real() {
        return;
    }
    let listing = match pods.node().runtime.list(None).await {
        Ok(listing) => listing,
        Err(error) => {
            warn!(error = %error, "cannot list containers");
            return;
        }
    };
    let now = shapes_of(&listing);
    let changed = now.iter().filter(|(uid, shape)| shapes.get(*uid) != Some(shape)).map(|(uid, _)| uid);
    let vanished = shapes.keys().filter(|uid| !now.contains_key(*uid));
    for uid in changed.chain(vanished).filter(|uid| !uid.is_empty()) {
        if now.contains_key(uid) || pods.uids().contains(uid) {
            pods.stirred(uid);
        }
    }
    *shapes = now;
}

fn shapes_of(listing: &Listing) -> HashMap<String, Shape> {
    let mut shapes: HashMap<String, Shape> = HashMap::new();
    for sandbox in &listing.sandboxes {
        let state = if sandbox.ready { RunState::Running } else { RunState::Exited };
        shapes.entry(sandbox.pod.uid.clone()).or_default().push((sandbox.id.clone(), state));
    }
    for container in &listing.containers {
        shapes.entry(container.pod_uid.clone()).or_default().push((container.id.clone(), container.state));
    }
    shapes
}
