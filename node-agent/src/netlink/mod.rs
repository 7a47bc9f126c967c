//! The way into the kernel: netlink sockets, and a small codec for each table that is read or written, but for nf_tables
//! (`nftables`).
//!
//! Promise: nothing outside this folder (and the network files) knows netlink, and no program is called. Each codec
//! is a pure pair (struct to bytes, bytes to struct) with tests on bytes; `socket` alone talks to the kernel.

pub mod conntrack;
pub mod gateway;
pub mod generic;
pub mod ipset;
pub mod ipvs;
pub mod message;
mod refusal;
pub mod route;
pub mod socket;

pub use message::{Attribute, Batch, Message, Writer, attributes, find, messages};
pub use refusal::SyncError;
pub use socket::{Error, Failure, Protocol, Socket, Stream};
