//! Services on this node: connections to a Service's addresses reach one of its endpoints.
//!
//! Promise: one model says what the data plane should be (`model`, pure); a back end compares that with what the
//! kernel has and programs the difference in one go. What the kernel has stays in force while nothing better can be
//! programmed, also while no proxy runs.

mod backend;
pub mod ipvs;
pub mod model;
pub mod netlink;
mod nftables;

pub use backend::{Backend, Report, Stale, SyncError};
pub use nftables::Nftables;
