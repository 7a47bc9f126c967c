//! What an object of each kind looks like: fields, types, list keys, defaults, protobuf numbers.
//!
//! One [`Registry`] holds a [`Definition`] for every struct of the served API. Everything that must know the
//! shape of an object walks these definitions: decoding and strict field checks ([`decode`], [`check`]), defaults
//! ([`default`]), protobuf ([`protobuf`]), patches (`crate::patch`) and OpenAPI (`crate::openapi`).
//! The definitions come from `generated/`, which `cargo run -p tests --bin generate` writes.

pub mod decode;
mod definition;
mod describe;
mod load;
pub mod protobuf;
mod read;
mod scalar;
mod syntax;
mod zero;

pub use decode::{DecodeError, Decoded, check};
pub use definition::{
    Definition, Embedded, Field, GroupVersionKind, List, Patch, Presence, Ref, Structure, Text, Type,
};
pub(crate) use describe::Descriptions;
pub use load::Registry;
pub use zero::settle;
