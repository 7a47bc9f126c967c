//! The Kubernetes API server as a library: a `tower::Service` over one log of revisions.
//!
//! Rooms: `http` reads requests and writes answers, `authn` and `authz` say who may, `verbs` and
//! `subresources` do the work, `kinds` and `schema` say what an object of each kind is, `store` keeps it.

pub mod field;
pub mod kinds;
pub mod object;
pub mod schema;
pub mod status;

pub mod store;
