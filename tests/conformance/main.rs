//! In-process conformance: the real API server, controllers, scheduler and simulated nodes on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod access;
mod bad_input;
mod claims;
mod components;
mod devices;
mod dns;
mod endpoints;
mod explain;
mod extenders;
mod gangs;
mod garbage;
mod machinery;
mod namespaces;
mod node_loss;
mod protobuf;
mod requests;
mod resource_metrics;
mod rights;
mod rolling_update;
mod scheduling;
mod simulate;
mod smoke;
mod watches;
