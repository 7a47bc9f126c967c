//! The verbs over any kind: the row says what is particular, the verb does the rest.
//!
//! Promise: one file a verb; every write goes through `transaction` (one object, checked against the state it was
//! decided on) and every object through `decode` on its way in and `answer` on its way out.

pub(crate) mod answer;
pub(crate) mod component_status;
pub(crate) mod convert;
mod create;
pub(crate) mod decode;
pub(crate) mod delete;
mod delete_collection;
pub(crate) mod encode;
mod get;
pub(crate) mod list;
pub(crate) mod patch;
mod review;
pub(crate) mod select;
pub(crate) mod transaction;
mod update;
mod watch;

pub(crate) use create::{create, create_object};
pub(crate) use delete::{delete, returns_object};
pub(crate) use delete_collection::delete_collection;
pub(crate) use get::{get, record};
pub(crate) use list::list;
pub(crate) use patch::patch;
pub(crate) use review::review;
pub(crate) use update::{check_version, replace, update};
pub(crate) use watch::watch;
