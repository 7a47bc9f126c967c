//! How long a pod that failed waits: 1 s, 2 s, 4 s, ... 10 s, ending on whole seconds so that pods which
//! failed together become ready together and then go by rank.

use jiff::{SignedDuration, Timestamp};

/// The limits of the back-off.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure (upstream's podInitialBackoffSeconds).
    pub initial: SignedDuration,
    /// Never longer than this (podMaxBackoffSeconds); zero turns the back-off off.
    pub max: SignedDuration,
    /// After this long without a change that helps, a parked pod is tried again anyway
    /// (`--pod-max-in-unschedulable-pods-duration`).
    pub parked: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: SignedDuration::from_secs(1),
            max: SignedDuration::from_secs(10),
            parked: super::PARKED_LIMIT,
        }
    }
}

impl Backoff {
    /// Until when a pod waits that failed at `failed` for the `failures`-th time.
    pub(crate) fn until(&self, failed: Timestamp, failures: u32) -> Timestamp {
        if failures == 0 || self.max.is_zero() {
            return failed;
        }
        let factor = 1_i32.checked_shl(failures - 1).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
        let wait = self.initial.checked_mul(factor).map_or(self.max, |wait| wait.min(self.max));
        let end = failed + wait;
        Timestamp::from_second(end.as_second()).unwrap_or(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_and_ends_on_whole_seconds() {
        let failed = Timestamp::from_millisecond(100_700).unwrap();
        for (failures, want) in
            [(0, 100_700), (1, 101_000), (2, 102_000), (4, 108_000), (5, 110_000), (99, 110_000)]
        {
            let until = Backoff::default().until(failed, failures);
            assert_eq!(until.as_millisecond(), want, "after {failures} failures");
        }
        let off = Backoff { max: SignedDuration::ZERO, ..Backoff::default() };
        assert_eq!(off.until(failed, 3), failed);
    }
}
