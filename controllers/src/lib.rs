//! The controllers: each keeps one promise about the cluster true, by reading caches, deciding in a pure plan and
//! writing through the API.
//!
//! `registry` lists them all. They meet nowhere but in the API: one never calls another. A controller's file says
//! at its top what it keeps true, what it reads and the only fields it writes.

mod claim;
mod collection;
mod command;
mod config;
mod context;
mod deployment;
mod discovery;
mod disruption;
mod endpointslice;
mod garbage;
mod indexes;
mod namespace;
mod node_lifecycle;
mod pod_gc;
mod registry;
mod replicaset;
mod resource_claim;
mod root_ca;
mod run;
mod service_account;
mod taint_eviction;
mod template;
mod views;

pub use command::{Args, command};
pub use config::Config;
pub use node_lifecycle::Rates;
pub use registry::{SelectionError, names};
pub use run::{Error, Surroundings, run, run_in};
