//! How quickly nodes may be given up, by zone: a whole zone that goes silent is more likely a cut cable than
//! so many dead machines.
//!
//! States and rates as upstream's: a zone that is mostly silent is slowed (small ones stopped); when every zone
//! is silent nothing is given up at all, for then it is us who are cut off. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Rates at which nodes get the NoExecute taint. Names and defaults are kube-controller-manager's flags.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// `--node-eviction-rate`: nodes a second in a healthy zone.
    pub normal: f64,
    /// `--secondary-node-eviction-rate`: nodes a second in a big zone that is mostly silent.
    pub secondary: f64,
    /// `--large-cluster-size-threshold`: nodes above which a zone counts as big.
    pub large: usize,
    /// `--unhealthy-zone-threshold`: the share of silent nodes from which a zone counts as unhealthy.
    pub unhealthy: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { normal: 0.1, secondary: 0.01, large: 50, unhealthy: 0.55 }
    }
}

/// Nodes not ready below which a zone is never mostly silent.
const FEW: usize = 2;

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Normal,
    /// Mostly silent.
    Partial,
    /// All silent.
    Full,
}

/// Counts of one zone's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) not_ready: usize,
}

/// The state a zone with these counts is in.
pub(super) fn state(counts: Counts, rates: &Rates) -> State {
    let total = counts.ready + counts.not_ready;
    let share = counts.not_ready as f64 / total.max(1) as f64;
    if counts.ready == 0 && counts.not_ready > 0 {
        State::Full
    } else if counts.not_ready > FEW && share >= rates.unhealthy {
        State::Partial
    } else {
        State::Normal
    }
}

/// Grants nodes to be tainted: a token bucket a zone.
#[derive(Debug)]
pub(super) struct Limits {
    zones: BTreeMap<String, Bucket>,
    /// Time between two passes: a rate above one node a pass needs a bucket that holds a pass's worth.
    period: Duration,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

impl Limits {
    pub(super) fn new(period: Duration) -> Self {
        Self { zones: BTreeMap::new(), period }
    }

    /// How many nodes of `zone` may be tainted now, at most `wanted`. `total` is the zone's size.
    pub(super) fn take(
        &mut self,
        zone: &str,
        state: State,
        total: usize,
        wanted: usize,
        rates: &Rates,
        now: Timestamp,
    ) -> usize {
        let rate = match state {
            State::Partial if total > rates.large => rates.secondary,
            State::Partial => 0.0,
            State::Normal | State::Full => rates.normal,
        };
        let bucket = self.zones.entry(zone.to_owned()).or_insert(Bucket { tokens: 1.0, filled: now });
        let passed = Duration::try_from(now.duration_since(bucket.filled)).unwrap_or_default().as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * rate).min((self.period.as_secs_f64() * rate).max(1.0));
        bucket.filled = now;
        let mut granted = 0;
        while rate > 0.0 && bucket.tokens >= 1.0 && granted < wanted {
            bucket.tokens -= 1.0;
            granted += 1;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn states() {
        for (ready, not_ready, expected) in [
            (0, 0, State::Normal),
            (3, 1, State::Normal),
            (0, 1, State::Full),
            (1, 2, State::Normal),
            (2, 3, State::Partial),
            (3, 3, State::Normal),
            (9, 11, State::Partial),
        ] {
            assert_eq!(
                state(Counts { ready, not_ready }, &Rates::default()),
                expected,
                "{ready} {not_ready}"
            );
        }
    }

    #[test]
    fn one_at_once_then_one_in_ten_seconds() {
        let (mut limits, rates) = (Limits::new(Duration::from_secs(5)), Rates::default());
        let mut take = |state, total, now| limits.take("z", state, total, 5, &rates, at(now));
        assert_eq!(take(State::Normal, 9, 0), 1);
        assert_eq!(take(State::Normal, 9, 5), 0);
        assert_eq!(take(State::Normal, 9, 10), 1);
        assert_eq!(take(State::Normal, 9, 100), 1, "it does not save up");
        assert_eq!(take(State::Partial, 9, 200), 0, "a small zone stops");
        assert_eq!(take(State::Partial, 60, 250), 0, "a big one is slowed");
        assert_eq!(take(State::Partial, 60, 302), 1);
    }

    #[test]
    fn a_high_rate_grants_many_a_pass() {
        let rates = Rates { normal: 10.0, ..Rates::default() };
        let mut limits = Limits::new(Duration::from_secs(5));
        assert_eq!(limits.take("z", State::Normal, 100, 100, &rates, at(0)), 1);
        assert_eq!(limits.take("z", State::Normal, 100, 100, &rates, at(5)), 50);
        assert_eq!(limits.take("z", State::Normal, 100, 3, &rates, at(10)), 3);
    }
}
