//! Leader election: of several copies of a component, one works.
//!
//! Promise: at most one holder of a Lease thinks it leads, as long as clocks run at nearly the same speed; their
//! settings do not matter, as no copy compares another's timestamps with its own clock. A holder that cannot renew
//! within the renew deadline gives up before others may take the lease. On a clean exit the lease is released after
//! the work has stopped, so that the next leader starts at once.
//! Reads and writes one Lease, by its own client so that no queue of other requests delays a renewal.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::metrics::Registry;
use crate::tasks::Tasks;
use crate::telemetry::chain;

/// How long a stopping process may go on working before its lease is released under it.
const RELEASE_LIMIT: Duration = Duration::from_secs(20);

/// Which lease, and the times of the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderConfig {
    /// Name of the Lease.
    pub name: String,

    /// Namespace of the Lease.
    pub namespace: String,

    /// What this copy calls itself; no two may be the same.
    pub identity: String,

    /// How long others wait for a holder that no longer renews.
    pub lease_duration: Duration,

    /// How long a holder tries to renew before it gives up. Less than the lease duration.
    pub renew_deadline: Duration,

    /// Pause between attempts.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Upstream's times: 15 s, 10 s, 2 s.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Waiting,
    Leading,
    Over,
}

/// A copy's part in the election. Dropping it releases the lease if it is held.
#[derive(Debug)]
#[must_use = "dropping it leaves the election"]
pub struct Leadership {
    state: watch::Receiver<State>,
    /// Dropped to ask for the release.
    held: Option<oneshot::Sender<()>>,
}

/// Takes part in an election until the tasks stop or the leadership is dropped.
pub fn elect(client: Client, config: LeaderConfig, clock: Clock, tasks: &Tasks) -> Leadership {
    let (state, reader) = watch::channel(State::Waiting);
    let (held, released) = oneshot::channel();
    let api = Api::namespaced(client, &config.namespace);
    let candidate = Candidate { api, config, clock, observed: None };
    let stopping = tasks.stopping();
    tasks.spawn("leader-election", candidate.run(state, released, stopping));
    Leadership { state: reader, held: Some(held) }
}

impl Leadership {
    /// Waits until this copy leads. Never returns if it gave up or the tasks stopped before.
    pub async fn acquired(&self) {
        let mut state = self.state.clone();
        if !matches!(
            state.wait_for(|state| *state != State::Waiting).await.map(|state| *state),
            Ok(State::Leading)
        ) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this copy no longer leads, or no longer takes part. A process that worked as leader must end then.
    pub async fn lost(&self) {
        // An error means that the election's task has ended.
        let _ = self.state.clone().wait_for(|state| *state == State::Over).await;
    }

    /// Whether this copy leads now.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        *self.state.borrow() == State::Leading
    }

    /// Shows in a registry whether this copy leads.
    pub fn measure(&self, registry: &Registry, name: &str) {
        let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates \
            master. 'name' is the string used to identify the lease. Please make sure to group by name";
        let (state, labels) = (self.state.clone(), vec![("name", name.to_owned())]);
        let leads = move || i64::from(*state.borrow() == State::Leading);
        registry.computed("leader_election_master_status", help, labels, leads);
    }

    /// Leaves the election; returns when the lease is released. Call it after the work has stopped.
    pub async fn release(mut self) {
        self.held = None;
        self.lost().await;
    }
}

struct Candidate {
    api: Api<Lease>,
    config: LeaderConfig,
    clock: Clock,
    observed: Option<Observed>,
}

/// The lease as last seen to change, and when that was by our own clock.
struct Observed {
    lease: Lease,
    at: Instant,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("read lease")]
    Read(#[source] kube::Error),
    #[error("write lease")]
    Write(#[source] kube::Error),
    #[error("no answer in time")]
    Late,
}

impl Candidate {
    async fn run(
        mut self,
        state: watch::Sender<State>,
        mut released: oneshot::Receiver<()>,
        stopping: impl Future<Output = ()> + Send,
    ) {
        let mut stopping = std::pin::pin!(stopping);
        tokio::select! {
            biased;
            () = &mut stopping => return,
            _ = &mut released => return,
            () = self.acquire() => {}
        }
        tracing::info!(lease = self.config.name, identity = self.config.identity, "became leader");
        state.send_replace(State::Leading);
        let told = async {
            stopping.await;
            // The work stops by the same signal; the lease is kept until it has.
            tokio::time::sleep(RELEASE_LIMIT).await;
        };
        let keeps = tokio::select! {
            biased;
            _ = &mut released => true,
            () = told => true,
            () = self.renew() => false,
        };
        if keeps {
            self.release().await;
        } else {
            tracing::error!(lease = self.config.name, "lost the lease");
        }
        state.send_replace(State::Over);
    }

    /// Returns when the lease is ours.
    async fn acquire(&mut self) {
        loop {
            match self.attempt(self.config.renew_deadline).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = self.config.name, error = chain(&error), "cannot acquire lease");
                }
            }
            tokio::time::sleep(self.config.retry_period).await;
        }
    }

    /// Returns when the lease could not be renewed for the renew deadline, or is another's.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let left = self.config.renew_deadline.saturating_sub(renewed.elapsed());
            let attempted = Instant::now();
            match self.attempt(left).await {
                Ok(true) => renewed = attempted,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(lease = self.config.name, error = chain(&error), "cannot renew lease");
                }
            }
            if renewed.elapsed() >= self.config.renew_deadline {
                return;
            }
        }
    }

    /// Acquires or renews. Answers whether the lease is ours now.
    async fn attempt(&mut self, limit: Duration) -> Result<bool, AttemptError> {
        timeout(limit, self.acquire_or_renew()).await.unwrap_or(Err(AttemptError::Late))
    }

    async fn acquire_or_renew(&mut self) -> Result<bool, AttemptError> {
        // A holder writes over what it wrote last and reads only if that fails, as client-go does.
        if let Some(observed) = self.observed.as_ref().filter(|observed| self.is_ours(&observed.lease)) {
            let next = self.renewed(&observed.lease);
            if let Ok(lease) = self.api.replace(&self.config.name, &PostParams::default(), &next).await {
                self.observe(lease);
                return Ok(true);
            }
        }
        let Some(lease) = self.api.get_opt(&self.config.name).await.map_err(AttemptError::Read)? else {
            return self.create().await;
        };
        self.observe(lease);
        let observed = self.observed.as_ref().expect("was observed just now");
        if !self.is_ours(&observed.lease) && !is_free(observed) {
            return Ok(false);
        }
        let next = self.renewed(&observed.lease);
        match self.api.replace(&self.config.name, &PostParams::default(), &next).await {
            Ok(lease) => {
                self.observe(lease);
                Ok(true)
            }
            // Another copy was quicker; its lease is read next time.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(AttemptError::Write(error)),
        }
    }

    async fn create(&mut self) -> Result<bool, AttemptError> {
        let metadata = ObjectMeta {
            name: Some(self.config.name.clone()),
            namespace: Some(self.config.namespace.clone()),
            ..ObjectMeta::default()
        };
        let mut lease = self.renewed(&Lease { metadata, spec: None });
        if let Some(spec) = &mut lease.spec {
            spec.lease_transitions = Some(0);
        }
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => {
                self.observe(lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(AttemptError::Write(error)),
        }
    }

    /// Gives the lease up, so that others need not wait for it to run out.
    async fn release(&mut self) {
        let Some(observed) = self.observed.as_ref().filter(|observed| self.is_ours(&observed.lease)) else {
            return;
        };
        let mut lease = self.renewed(&observed.lease);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        let put = PostParams::default();
        let released = timeout(self.config.renew_deadline, self.api.replace(&self.config.name, &put, &lease));
        match released.await {
            Ok(Ok(_)) => tracing::info!(lease = self.config.name, "released the lease"),
            Ok(Err(error)) => tracing::warn!(lease = self.config.name, %error, "cannot release lease"),
            Err(_) => tracing::warn!(lease = self.config.name, "no answer to the release of the lease"),
        }
    }

    /// Notes a lease; its time to live starts again only if it differs from the one seen before.
    fn observe(&mut self, lease: Lease) {
        let changed = self.observed.as_ref().is_none_or(|observed| observed.lease.spec != lease.spec);
        if changed {
            self.observed = Some(Observed { lease, at: Instant::now() });
        } else if let Some(observed) = &mut self.observed {
            observed.lease = lease;
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == self.config.identity
    }

    /// The lease with us as its holder from now on.
    fn renewed(&self, lease: &Lease) -> Lease {
        let now = MicroTime(self.clock.now());
        let ours = self.is_ours(lease);
        let old = lease.spec.clone().unwrap_or_default();
        let seconds = i32::try_from(self.config.lease_duration.as_secs()).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..LeaseSpec::default()
        };
        Lease { metadata: lease.metadata.clone(), spec: Some(spec) }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Whether nobody holds the lease, or its holder has not changed it for its duration.
fn is_free(observed: &Observed) -> bool {
    let seconds =
        observed.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    holder(&observed.lease).is_empty() || observed.at.elapsed() >= duration
}

#[cfg(test)]
mod tests;
