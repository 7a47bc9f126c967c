//! How long the scheduler's decisions take, by its own clock.

use std::sync::Mutex;
use std::time::Duration;

use harness::bench::Latencies;

/// Decisions since the last [`Decisions::take`].
#[derive(Debug, Default)]
pub(crate) struct Decisions(Mutex<Taken>);

/// Some decisions.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// In nanoseconds, kept as if they were microseconds, for their digits.
    latencies: Latencies,
    /// All of them together.
    pub total: Duration,
}

/// Decisions are far shorter than the microsecond the histogram counts in.
const FINER: u32 = 1000;

impl Decisions {
    /// One more.
    pub(crate) fn add(&self, took: Duration) {
        let mut all = self.0.lock().expect("nobody panics with it");
        all.total += took;
        all.latencies.record(took * FINER);
    }

    /// What there was.
    pub(crate) fn take(&self) -> Taken {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it"))
    }
}

impl Taken {
    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.latencies.count()
    }

    /// Milliseconds below which this part of them lies.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        self.latencies.quantile(part) / f64::from(FINER)
    }
}
