//! What network policies mean for the pods of this node: a pure function of NetworkPolicies, Pods and Namespaces.
//!
//! Promise: no kernel, no clock, no client in here. A [`World`] is told of objects one by one and keeps a [`Plane`]
//! in step; the plane depends on what the objects are, not on the order in which they came.

mod plane;
mod pods;
mod policy;
mod ranges;
mod world;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod world_tests;

pub use plane::{Changes, Direction, Entry, Id, Isolation, Plane};
pub use pods::PodFacts;
pub use policy::{Blocks, Group, Peers, Policy, PortSet, Ports, Problem, Rule, Rules, Scope};
pub use ranges::Range;
pub use world::World;
