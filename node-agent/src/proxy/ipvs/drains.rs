//! Real servers that take no more connections, until those they have end or the grace is over.
//!
//! Promise: only real servers of weight 0 are in here; each leaves by coming back, or by being deleted when it has no
//! connection, or when its grace is over (upstream: `graceful_termination.go`, but without a limit there).

use std::collections::BTreeMap;
use std::time::Duration;

use component::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::netlink::ipvs::{Destination, DestinationKey, ServerKey};
use crate::proxy::model::Frontend;

use super::steps::Step;

/// How often connections are counted at most.
const POLL: Duration = Duration::from_secs(1);

/// All that drain.
#[derive(Debug)]
pub(super) struct Drains {
    clock: Clock,
    grace: Duration,
    /// When each is deleted at the latest.
    until: BTreeMap<ServerKey, BTreeMap<DestinationKey, Timestamp>>,
    next_poll: Timestamp,
    emptied: Vec<Frontend>,
}

impl Drains {
    /// Nothing drains.
    pub(super) fn new(clock: Clock, grace: Duration) -> Drains {
        Drains { next_poll: clock.now(), clock, grace, until: BTreeMap::new(), emptied: Vec::new() }
    }

    /// A real server drains from now on; one that does already keeps its time.
    pub(super) fn start(&mut self, key: ServerKey, destination: DestinationKey) {
        let until = self.clock.now() + SignedDuration::try_from(self.grace).unwrap_or(SignedDuration::MAX);
        self.until.entry(key).or_default().entry(destination).or_insert(until);
    }

    /// Follows a step that the kernel took.
    pub(super) fn note(&mut self, step: &Step) {
        match step {
            Step::Drain(key, destination) => self.start(*key, *destination),
            Step::Revive(key, destination) | Step::Delete(key, destination) => {
                if let Some(of) = self.until.get_mut(key) {
                    of.remove(destination);
                    if of.is_empty() {
                        self.until.remove(key);
                    }
                }
            }
            Step::DeleteServer(key) => drop(self.until.remove(key)),
            Step::AddServer(..) | Step::SetServer(..) | Step::Add(..) => {}
        }
    }

    /// Forgets all that `is_draining` does not know.
    pub(super) fn keep(&mut self, is_draining: impl Fn(&ServerKey, &DestinationKey) -> bool) {
        self.until.retain(|key, of| {
            of.retain(|destination, _| is_draining(key, destination));
            !of.is_empty()
        });
    }

    /// Virtual servers whose connections are to be counted now.
    pub(super) fn due(&mut self) -> Vec<ServerKey> {
        let now = self.clock.now();
        let over = self.until.values().flat_map(BTreeMap::values).any(|until| *until <= now);
        if self.until.is_empty() || (now < self.next_poll && !over) {
            return Vec::new();
        }
        self.next_poll = now + SignedDuration::try_from(POLL).unwrap_or(SignedDuration::MAX);
        self.until.keys().copied().collect()
    }

    /// The steps for real servers of `key` that may go, given what the kernel says of all of them.
    pub(super) fn ended(&self, key: &ServerKey, states: &[(DestinationKey, Destination)]) -> Vec<Step> {
        let now = self.clock.now();
        let Some(of) = self.until.get(key) else { return Vec::new() };
        let over = |destination: &DestinationKey, state: &Destination| {
            let until = of.get(destination)?;
            (state.active + state.inactive == 0 || *until <= now).then_some(())
        };
        let ended = states.iter().filter(|(destination, state)| over(destination, state).is_some());
        ended.map(|(destination, _)| Step::Delete(*key, *destination)).collect()
    }

    /// When to count again; none if nothing drains.
    pub(super) fn again_in(&self) -> Option<Duration> {
        (!self.until.is_empty() || !self.emptied.is_empty()).then_some(POLL)
    }

    /// A frontend lost its last virtual server that drained: the next sync looks at it.
    pub(super) fn emptied(&mut self, frontend: Option<Frontend>) {
        self.emptied.extend(frontend);
    }

    /// Whether there are such frontends.
    pub(super) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Those frontends.
    pub(super) fn take_emptied(&mut self) -> Vec<Frontend> {
        std::mem::take(&mut self.emptied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ServerKey = ServerKey::Mark { v6: false, mark: 0x10000 };

    fn to(last: u8) -> DestinationKey {
        DestinationKey { address: [10, 0, 0, last].into(), port: 80 }
    }

    fn state(active: u32) -> Destination {
        Destination { weight: 0, active, inactive: 0, persistent: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_real_server_goes_with_its_last_connection_or_with_its_grace() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let mut drains = Drains::new(clock, Duration::from_secs(60));
        assert_eq!((drains.due(), drains.again_in()), (vec![], None));
        drains.note(&Step::Drain(KEY, to(1)));
        drains.note(&Step::Drain(KEY, to(2)));
        assert_eq!((drains.due(), drains.again_in()), (vec![KEY], Some(POLL)));
        assert_eq!(drains.due(), []);
        let states = [(to(1), state(1)), (to(2), state(0)), (to(3), state(0))];
        assert_eq!(drains.ended(&KEY, &states), [Step::Delete(KEY, to(2))]);
        drains.note(&Step::Delete(KEY, to(2)));
        tokio::time::advance(Duration::from_secs(30)).await;
        // A second start does not give more time.
        drains.start(KEY, to(1));
        assert_eq!(drains.ended(&KEY, &states), []);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(drains.ended(&KEY, &states), [Step::Delete(KEY, to(1))]);
        drains.note(&Step::Revive(KEY, to(1)));
        assert_eq!(drains.again_in(), None);
    }
}
