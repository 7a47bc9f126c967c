//! The controllers.
#![allow(dead_code)]
mod claim;
mod collection;
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
mod root_ca;
mod service_account;
mod taint_eviction;
mod template;
mod views;
