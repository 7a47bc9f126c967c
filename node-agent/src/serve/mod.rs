//! The agent's HTTPS API: logs, exec, attach, port-forward, stats.

pub mod session;
pub mod spdy;
