//! The cluster's DNS server.
//!
//! Promise: names of the cluster are answered from memory, everything else by the upstream servers; until the cluster
//! is known its names get SERVFAIL, never a denial. Reads: Services, EndpointSlices, Namespaces, and Pods for
//! autopath or verified pod names. Writes nothing; `publish` is for whoever runs it outside a pod.

mod args;
mod cache;
mod follow;
mod index;
mod listen;
mod lookup;
mod metrics;
mod publish;
mod resolv_conf;
mod run;
mod server;
mod upstream;
mod wire;
mod zone;

pub use args::{Args, command};
pub use cache::Limits;
pub use index::Index;
pub use listen::ListenError;
pub use lookup::{Answer, lookup};
pub use publish::{PublishError, address, publish, withdraw};
pub use resolv_conf::ReadError;
pub use run::{Config, Dns, StartError, Surroundings, Upstreams};
pub use zone::{DEFAULT_TTL, Pods, Zone};
