//! How many requests are worked on at once.
//!
//! Promise: above the limit a request is refused with 429 and a time to come back, before it costs anything.
//! Watches are not counted: they cost a cursor each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::route::Verb;
use crate::status::{ApiError, ApiResult};

/// Requests worked on at once, watches aside.
const IN_FLIGHT: usize = 8192;
/// Seconds after which a refused client may come back.
const COME_BACK: u16 = 1;

/// The count of requests in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    in_flight: Arc<AtomicUsize>,
}

/// A place among the requests in flight; given back on drop.
#[derive(Debug)]
pub(crate) struct Held(Option<Arc<AtomicUsize>>);

impl Limits {
    /// Takes a place.
    pub(crate) fn enter(&self, verb: Verb) -> ApiResult<Held> {
        if verb == Verb::Watch {
            return Ok(Held(None));
        }
        let held = Held(Some(self.in_flight.clone()));
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT {
            let why = "the server has received too many requests and has asked us to try again later";
            return Err(ApiError::too_many_requests(why, COME_BACK));
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_above_the_limit_and_recovers() {
        let limits = Limits::default();
        let held: Vec<_> = (0..IN_FLIGHT).map(|_| limits.enter(Verb::Get).unwrap()).collect();
        assert_eq!(limits.enter(Verb::Get).unwrap_err().code(), 429);
        assert!(limits.enter(Verb::Watch).is_ok());
        drop(held);
        assert!(limits.enter(Verb::Create).is_ok());
    }
}
