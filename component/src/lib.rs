//! What makes a process a component: clock, tasks, client, informers, work queue, leader election, events,
//! health and metrics and who may see them, flags.
//!
//! Promise: no component needs to know how any of this works, and none of this knows a kind other than Lease
//! and Event, and the reviews by which the API server answers questions. All waiting goes through tokio's clock, so that a paused runtime moves everything.

pub mod access;
pub mod args;
pub mod client;
pub mod clock;
pub mod events;
#[cfg(test)]
mod fake;
pub mod informers;
pub mod leader;
pub mod metrics;
pub mod process;
pub mod random;
pub mod ready;
pub mod serve;
pub mod tasks;
pub mod telemetry;
pub mod work;
