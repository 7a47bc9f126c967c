//! How a server is set up.

use std::path::PathBuf;

use crate::kinds::allocate::Cidr;

/// What an API server needs to know before it opens.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log is kept; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Addresses for Services, such as `10.96.0.0/16`.
    pub service_cidr: Cidr,
    /// Ports for Services on nodes, both ends included.
    pub node_port_range: (u16, u16),
    /// Where clients reach the server: the endpoint of the `kubernetes` Service. `None` publishes none.
    pub advertise: Option<std::net::SocketAddr>,
    /// PEM of the CA of client certificates, for those who serve beside the server; `None`: there are none.
    pub client_ca: Option<String>,
    /// Seed of everything random; `None` draws one from the system.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            service_cidr: "10.96.0.0/16".parse().expect("a fixed range"),
            node_port_range: (30000, 32767),
            advertise: None,
            client_ca: None,
            seed: None,
        }
    }
}
