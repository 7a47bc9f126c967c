//! Services on this node: connections to a Service's addresses reach one of its endpoints.
//!
//! Promise: one model says what the data plane should be (`model`, pure); a back end compares that with what the
//! kernel has and programs the difference in one go. What the kernel has stays in force while nothing better can be
//! programmed, also while no proxy runs.

mod backend;
mod config;
mod flags;
mod follow;
mod health;
pub mod ipvs;
mod metrics;
pub mod model;
mod nftables;
mod run;
mod stale;
mod switch;

pub use crate::netlink::SyncError;
pub use backend::{Backend, Report, Stale};
pub use config::{Config, DetectLocal, HEALTHZ_PORT, METRICS_PORT, Mode, NodePorts};
pub use flags::{Asked, FlagError, ProxyArgs};
pub use nftables::Nftables;
pub use run::{ProxyError, cleanup, run};
pub use switch::Switching;
