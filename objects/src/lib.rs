//! What Kubernetes objects mean: selectors, quantities, owners, taints, affinity, requests, conditions, and slim
//! views of the kinds that are held in large numbers.
//!
//! Promise: pure functions and plain data. No async, no clock, no client; time comes in as an argument.

pub mod affinity;
pub mod amounts;
pub mod conditions;
pub mod declared_features;
pub mod fields;
pub mod labels;
pub mod names;
pub mod owner;
pub mod pod;
pub mod quantity;
pub mod resources;
pub mod taints;
pub mod validity;
pub mod views;
