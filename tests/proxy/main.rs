//! The service proxy and network policies against real packets: tables of Services and of policies, asked over real
//! sockets in network namespaces.
//!
//! Needs root. Each test builds its own small network (`network`), so that nothing of the machine is touched but
//! namespaces and links with names of their own, which go when the test ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod ask;
mod cases;
mod diffs;
mod faults;
mod ipvs;
mod live;
mod loss;
mod namespace;
mod network;
mod policies;
mod policy_diffs;
mod policy_live;
mod sctp;
mod table;
