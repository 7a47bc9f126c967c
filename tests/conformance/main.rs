//! In-process conformance: the real API server, controllers, scheduler and simulated nodes on a paused clock.

mod bad_input;
mod machinery;
mod requests;
mod scheduling;
mod smoke;
mod watches;
