//! When the kernel is brought up to date: soon after a change, seldom under a flood of them, later after each failure.
//!
//! Promise: decides about time only; what is done, and on which state, its owner knows.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Pauses after a sync that failed double from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// When something is to be done next, changes or not.
#[derive(Debug)]
pub(crate) struct Pace {
    /// No sync before this.
    earliest: Instant,
    /// A sync is wanted then.
    sync_at: Option<Instant>,
    check_at: Instant,
    check_period: Duration,
    pause: Duration,
}

impl Pace {
    /// A first sync is due at once, and a check of the kernel in each period.
    pub(crate) fn new(check_period: Duration) -> Self {
        let now = Instant::now();
        Self {
            earliest: now,
            sync_at: Some(now),
            check_at: now + check_period,
            check_period,
            pause: MIN_PAUSE,
        }
    }

    /// Resolves when a sync is due.
    pub(crate) async fn sync_due(&self) {
        match self.sync_at {
            Some(at) => sleep_until(at.max(self.earliest)).await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when the kernel should be asked whether others changed something.
    pub(crate) async fn check_due(&self) {
        sleep_until(self.check_at).await;
    }

    /// The kernel was asked.
    pub(crate) fn checked(&mut self) {
        self.check_at = Instant::now() + self.check_period;
    }

    /// Something changed: a sync is wanted as soon as may be.
    pub(crate) fn changed(&mut self) {
        self.sync_at = Some(self.sync_at.unwrap_or(self.earliest).min(self.earliest));
    }

    /// A sync succeeded. The next one comes after a rest, while changes gather; `again_in`: it is wanted then, changes
    /// or not.
    pub(crate) fn succeeded(&mut self, rest: Duration, again_in: Option<Duration>) {
        let now = Instant::now();
        self.earliest = now + rest;
        self.sync_at = again_in.map(|after| now + after);
        self.pause = MIN_PAUSE;
    }

    /// A sync failed: how long until it is tried again.
    pub(crate) fn failed(&mut self) -> Duration {
        let pause = self.pause;
        self.earliest = Instant::now() + pause;
        self.sync_at = Some(self.earliest);
        self.pause = (pause * 2).min(MAX_PAUSE);
        pause
    }
}

/// Lets `worker` work on a thread that may block.
pub(crate) async fn off_thread<W: Send + 'static, T: Send + 'static>(
    mut worker: W,
    work: impl FnOnce(&mut W) -> T + Send + 'static,
) -> (W, T) {
    let worked = tokio::task::spawn_blocking(move || {
        let outcome = work(&mut worker);
        (worker, outcome)
    });
    match worked.await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited(pace: &Pace) -> Duration {
        let started = Instant::now();
        pace.sync_due().await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_wait_for_the_rest_and_failures_double_the_pause() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(30 * second);
        assert_eq!(waited(&pace).await, Duration::ZERO, "the first sync");
        pace.succeeded(second, None);
        assert!(tokio::time::timeout(100 * second, pace.sync_due()).await.is_err(), "nothing changed");
        pace.succeeded(second, None);
        pace.changed();
        assert_eq!(waited(&pace).await, second);
        pace.succeeded(Duration::ZERO, Some(5 * second));
        assert_eq!(waited(&pace).await, 5 * second);
        assert_eq!([pace.failed(), pace.failed(), pace.failed()], [second / 2, second, 2 * second]);
        assert_eq!(waited(&pace).await, 2 * second);
        (0..10).for_each(|_| {
            pace.failed();
        });
        assert_eq!(pace.failed(), MAX_PAUSE);
    }
}
