//! New pods wait for their policies: a pod that a policy selects is isolated before its first container starts.
//!
//! Promise: a pod's first container starts when the kernel has what policies say about the pod, or not at all while
//! policies are enforced; where they are not, it does not wait.

use std::net::IpAddr;
use std::time::Duration;

use component::informers::Key;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long a pod waits before its worker looks at it anew.
const LIMIT: Duration = Duration::from_secs(10);

/// Pods that wait at a time; more wait for room.
const WAITING: usize = 64;

/// A pod that is about to start.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Since when it waits.
    pub(super) since: Instant,
    pub(super) in_force: oneshot::Sender<()>,
}

/// Where pods that are about to start are told of. Clones lead to the same place.
#[derive(Clone, Debug)]
pub struct Guard {
    arrivals: mpsc::Sender<Arrival>,
}

/// Policies are not in force yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network policies are not in force for the pod yet")]
pub struct NotYet;

/// The other end.
#[derive(Debug)]
pub struct Arrivals {
    arrivals: mpsc::Receiver<Arrival>,
}

/// A guard for [`run`](super::run) to serve; as long as nobody does, or when it has ended, nobody waits for it.
#[must_use]
pub fn guard() -> (Guard, Arrivals) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Guard { arrivals: sender }, Arrivals { arrivals: receiver })
}

impl Guard {
    /// Waits until policies are in force for a pod at its addresses.
    ///
    /// # Errors
    ///
    /// When that takes too long: the pod is not to start now.
    pub async fn wait(&self, key: Key, uid: String, addresses: Vec<IpAddr>) -> Result<(), NotYet> {
        let (in_force, told) = oneshot::channel();
        let arrival = Arrival { key, uid, addresses, since: Instant::now(), in_force };
        let waiting = async {
            if self.arrivals.send(arrival).await.is_ok() {
                // Whoever enforces policies has ended if this fails: then there are none to wait for.
                let _ = told.await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.map_err(|_| NotYet)
    }
}

impl Arrivals {
    /// The next pod. Pends for ever when there is no guard any more.
    pub(super) async fn next(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(guard: &Guard) -> impl Future<Output = Result<(), NotYet>> {
        let guard = guard.clone();
        async move { guard.wait(Key::new("a", "b"), "u".to_owned(), Vec::new()).await }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_until_told_and_not_for_ever_nor_for_nobody() {
        let (guard, mut arrivals) = guard();
        let serve = async {
            let arrival = arrivals.next().await;
            arrival.in_force.send(()).unwrap();
        };
        let (waited, ()) = tokio::join!(wait(&guard), serve);
        assert_eq!(waited, Ok(()));
        let held = async { std::mem::forget(arrivals.next().await) };
        let (waited, ()) = tokio::join!(wait(&guard), held);
        assert_eq!(waited, Err(NotYet));
        drop(arrivals);
        assert_eq!(wait(&guard).await, Ok(()));
    }
}
