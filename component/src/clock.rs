//! Wall time that follows tokio's clock.
//!
//! Promise: `now` is a wall time taken once plus what tokio's clock has counted since, so a paused runtime that
//! is advanced by an hour sees an hour pass. While time is not paused, the wall time is taken anew once a minute,
//! so that a clock corrected by NTP or a suspended machine is followed. This file is the only reader of the
//! system's clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a taken wall time is trusted.
const ANCHOR_AGE: Duration = Duration::from_secs(60);

/// How far tokio's clock and the system's monotonic clock may be apart before time counts as paused or skipped.
const PAUSED_SKEW: Duration = Duration::from_millis(500);

/// The process's source of wall time. Clones share their state.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Arc<Mutex<Anchor>>,
}

#[derive(Debug)]
struct Anchor {
    wall: Timestamp,
    at: Instant,
    /// The system's monotonic clock at the same moment; `None` for a clock that starts at a given time and never
    /// looks at the system.
    real: Option<std::time::Instant>,
}

impl Clock {
    /// A clock that starts at the system's time. Needs a tokio runtime only when time is paused.
    #[must_use]
    pub fn start() -> Self {
        Self::anchored(system_time(), Some(monotonic()))
    }

    /// A clock that starts at `wall` and moves with tokio's time only. For tests and simulations.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self::anchored(wall, None)
    }

    fn anchored(wall: Timestamp, real: Option<std::time::Instant>) -> Self {
        Self { anchor: Arc::new(Mutex::new(Anchor { wall, at: Instant::now(), real })) }
    }

    /// The time now, with nanoseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let mut anchor = self.anchor.lock();
        let passed = anchor.at.elapsed();
        if let Some(real) = anchor.real
            && passed >= ANCHOR_AGE
        {
            let real_passed = monotonic().saturating_duration_since(real);
            if passed.abs_diff(real_passed) < PAUSED_SKEW {
                *anchor = Anchor { wall: system_time(), at: Instant::now(), real: Some(monotonic()) };
                return anchor.wall;
            }
            // Time was skipped: from here on the system's clock says nothing about ours.
            anchor.real = None;
        }
        anchor.wall + SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX)
    }

    /// The time now in whole seconds, as `metav1.Time` is written.
    #[must_use]
    pub fn now_seconds(&self) -> Timestamp {
        let now = self.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// How long from now until `when`; zero if it has passed.
    #[must_use]
    pub fn until(&self, when: Timestamp) -> Duration {
        Duration::try_from(when.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }

    /// How long ago `when` was; zero if it lies ahead.
    #[must_use]
    pub fn since(&self, when: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(when)).unwrap_or(Duration::ZERO)
    }

    /// Waits until the clock shows `when`.
    pub async fn sleep_until(&self, when: Timestamp) {
        tokio::time::sleep(self.until(when)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_time() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "compared with tokio's clock to notice paused time")]
fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn paused_time_moves_wall_time() {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
        assert_eq!(clock.until("2026-01-01T01:00:05Z".parse().unwrap()), Duration::from_secs(5));
        assert_eq!(clock.until("2026-01-01T00:00:00Z".parse().unwrap()), Duration::ZERO);
        assert_eq!(clock.since("2026-01-01T00:00:00Z".parse().unwrap()), Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_clock_is_left_behind_once_time_was_skipped() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::sleep(Duration::from_secs(7200)).await;
        assert_eq!(clock.now().duration_since(before).as_secs(), 7200);
        tokio::time::sleep(Duration::from_secs(7200)).await;
        assert_eq!(clock.now().duration_since(before).as_secs(), 14400);
    }
}
