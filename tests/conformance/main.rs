//! In-process conformance: the real API server, controllers, scheduler and simulated nodes on a paused clock.

mod machinery;
mod smoke;
