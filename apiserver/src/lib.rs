//! The Kubernetes API server as a library: a `tower::Service` over one log of revisions.
//!
//! Rooms: `http` reads requests and writes answers, `authn` and `authz` say who may, `verbs` and
//! `subresources` do the work, `kinds` and `schema` say what an object of each kind is, `store` keeps it.

mod admission;
pub mod authn;
pub mod authz;
mod config;
mod discovery;
pub mod field;
pub mod http;
pub mod kinds;
mod metrics;
pub mod object;
mod openapi;
pub mod patch;
pub mod pki;
mod run;
pub mod schema;
pub mod serve;
mod server;
mod service;
pub mod status;
pub mod store;
mod subresources;
mod verbs;

pub use config::Config;
pub use run::{Args, Started, command, start, write_kubeconfig};
pub use service::{Apiserver, AsUser, OpenError};
