//! The controllers.
#![allow(dead_code)]
mod claim;
mod deployment;
mod endpointslice;
mod garbage;
mod template;
mod views;
