//! Runs a reconciler: a queue of keys, and the loop that takes them to a function.
//!
//! Promise: a key is worked on by one pass at a time; added meanwhile, it is worked on once more afterwards. A pass
//! that failed is repeated with growing pauses, counted a key. The next pass of a key waits until the informers have
//! seen what the last pass wrote. Keys are taken in the order they came, so that a seed repeats a run.

mod metrics;
mod queue;
mod run;
mod writes;

pub use metrics::Metrics;
pub use queue::{Item, Queue};
pub use run::{Action, Failure, run, run_keys};
pub use writes::{HOLD_LIMIT, Writes};

#[cfg(test)]
mod tests;
