//! Network policies on this node: who may reach its pods, and whom they may reach.
//!
//! Promise: one model says what is allowed (`model`, pure); it is compared with what the kernel has, and the difference
//! is programmed in one go. What the kernel has stays in force while nothing better can be programmed, also while no
//! agent runs. A new pod is isolated before its first container starts.

mod bridge;
mod follow;
mod guard;
mod metrics;
pub mod model;
mod nftables;
mod run;

pub use guard::{Arrivals, Guard, NotYet, guard};
pub use nftables::{Enforcer, Report};
pub use run::{Config, PolicyError, Surroundings, cleanup, run};
