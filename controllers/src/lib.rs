//! The controllers.
#![allow(dead_code)]
mod claim;
mod collection;
mod deployment;
mod endpointslice;
mod garbage;
mod namespace;
mod node_lifecycle;
mod pod_gc;
mod replicaset;
mod taint_eviction;
mod template;
mod views;
