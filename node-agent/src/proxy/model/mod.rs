//! What the data plane of a node should be: a pure function of Services, EndpointSlices, the node and the settings.
//!
//! Promise: no kernel, no clock, no client in here. The plan of a service depends on that service, its slices, the
//! node and the settings alone, and the plane on the plans alone, in whatever order they arrive.

mod endpoints;
mod plane;
mod policy;
mod service;
mod settings;
mod watched;

#[cfg(test)]
mod service_tests;

pub use crate::addresses::{Cidr, CidrError, Family, Protocol};
pub use plane::{Changes, DataPlane};
pub use policy::{
    Endpoint, Endpoints, Frontend, HealthCheck, Kind, Masquerade, Policy, PortName, Problem, Unserved,
};
pub use service::{ServicePlan, plan_service};
pub use settings::{NodeFacts, PodDetection, Settings};
pub(crate) use watched::LAST_CHANGE;
pub use watched::{EndpointSlice, Node, Service, is_ours, service_of};
