//! What is there of one pod, as the runtime says, and what the worker remembers about it.
//!
//! Promise: plain data with questions; `plan` and `status` read it, the worker writes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::runtime::{Container, ContainerDetail, RunState, Sandbox};

/// First and longest pause before a container that ended is started again (upstream's crash loop back-off).
pub(super) const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// First and longest pause between two tries to pull an image.
pub(super) const IMAGE_BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Sandboxes and containers of one pod, newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<ObservedContainer>,
    /// Of the newest sandbox, if it is ready.
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ObservedContainer {
    pub container: Container,
    pub detail: ContainerDetail,
}

impl Observed {
    pub(super) fn newest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest sandbox if it can hold containers.
    pub(super) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.newest_sandbox().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of a name.
    pub(super) fn latest(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|observed| observed.container.name == name)
    }

    /// The one before the newest.
    pub(super) fn previous(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().filter(|observed| observed.container.name == name).nth(1)
    }

    /// The newest container of a name, if it lives in the newest sandbox.
    pub(super) fn current(&self, name: &str) -> Option<&ObservedContainer> {
        let sandbox = &self.newest_sandbox()?.id;
        self.latest(name).filter(|observed| observed.container.sandbox == *sandbox)
    }

    /// Containers that have, or may have, a process.
    pub(super) fn alive(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|observed| observed.is_alive())
    }
}

impl ObservedContainer {
    pub(super) fn is_running(&self) -> bool {
        self.container.state == RunState::Running
    }

    pub(super) fn is_exited(&self) -> bool {
        self.container.state == RunState::Exited
    }

    fn is_alive(&self) -> bool {
        matches!(self.container.state, RunState::Running | RunState::Unknown)
    }

    pub(super) fn succeeded(&self) -> bool {
        self.is_exited() && self.detail.exit_code == 0
    }
}

/// What a worker remembers between passes. Losing it (a restart of the agent) costs only back-offs.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Pauses between restarts, by container name.
    pub restarts: BTreeMap<String, Backoff>,
    /// Pauses between image pulls, by container name.
    pub pulls: BTreeMap<String, Backoff>,
    /// Why a container was not started at the last try, by container name.
    pub waiting: BTreeMap<String, Waiting>,
    /// When the next try of something that failed may be made.
    pub retry_at: Option<Timestamp>,
    /// What probes say, by container id.
    pub health: BTreeMap<String, Health>,
    /// Containers that are being stopped, and when they get killed, by container id.
    pub stopping: BTreeMap<String, Timestamp>,
    /// Set when the pod has to end: until when its containers may take.
    pub deadline: Option<Timestamp>,
    /// Why the agent itself ended the pod.
    pub verdict: Option<Verdict>,
    pub admitted: bool,
    pub volumes_mounted: bool,
    pub torn_down: bool,
}

/// A state of a container that has not started: reason and message as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub reason: String,
    pub message: String,
}

/// A decision of the agent that ends a pod as Failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub reason: String,
    pub message: String,
}

/// What the probes of one container say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub started: bool,
    pub ready: bool,
    /// Which probe wants the container to be killed.
    pub failed: Option<FailedProbe>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedProbe {
    /// `liveness` or `startup`.
    pub kind: &'static str,
    pub grace_seconds: Option<i64>,
}

/// A pause that doubles with each failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    pub pause: Duration,
    /// The moment of the failure that set it.
    pub since: Timestamp,
}

impl Backoff {
    /// When the next try may be made.
    pub(super) fn until(&self, failed_at: Timestamp) -> Timestamp {
        failed_at.saturating_add(signed(self.pause)).unwrap_or(Timestamp::MAX)
    }

    /// The pause after one more failure; a long quiet time (twice the longest pause) starts anew.
    pub(super) fn next(last: Option<Self>, failed_at: Timestamp, limits: (Duration, Duration)) -> Self {
        let quiet = signed(limits.1 * 2);
        let pause = match last {
            Some(last) if failed_at.duration_since(last.since) <= quiet => (last.pause * 2).min(limits.1),
            _ => limits.0,
        };
        Self { pause, since: failed_at }
    }

    /// True when the failure at `failed_at` is so long after the last one that nothing holds any more.
    pub(super) fn expired(&self, failed_at: Timestamp, limits: (Duration, Duration)) -> bool {
        failed_at.duration_since(self.since) > signed(limits.1 * 2)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_starts_anew_after_a_good_run() {
        let mut at = Timestamp::UNIX_EPOCH;
        let mut backoff = None;
        let mut pauses = vec![];
        for _ in 0..7 {
            at += SignedDuration::from_secs(1);
            let next = Backoff::next(backoff, at, RESTART_BACKOFF);
            pauses.push(next.pause.as_secs());
            backoff = Some(next);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        at += SignedDuration::from_secs(601);
        assert!(backoff.unwrap().expired(at, RESTART_BACKOFF));
        assert_eq!(Backoff::next(backoff, at, RESTART_BACKOFF).pause.as_secs(), 10);
    }
}
