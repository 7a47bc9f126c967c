//! The words of the model: where connections arrive, and what becomes of them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component::informers::Key;

use crate::addresses::{Cidr, Family, Protocol};

/// Where connections arrive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// An address of the Service. For a node port `0.0.0.0` or `::`: any address of the node that
    /// [`Settings::node_port_addresses`](super::Settings) selects.
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

impl Frontend {
    /// The node port of a family.
    #[must_use]
    pub const fn node_port(family: Family, protocol: Protocol, port: u16) -> Self {
        Self { address: family.unspecified(), protocol, port }
    }

    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(&self.address)
    }

    /// Whether this is a node port.
    #[must_use]
    pub const fn is_node_port(&self) -> bool {
        self.address.is_unspecified()
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.protocol, std::net::SocketAddr::new(self.address, self.port))
    }
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which field of the Service a frontend comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

/// A port of a Service: its name in logs and in conflicts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName {
    pub service: Arc<Key>,
    /// Empty if the Service's only port has no name.
    pub port: String,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port.as_str() {
            "" => write!(f, "{}", self.service),
            port => write!(f, "{}:{port}", self.service),
        }
    }
}

/// Where a connection may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// On this node.
    pub local: bool,
}

/// Endpoints in order of address and port, each once.
pub type Endpoints = Arc<[Endpoint]>;

/// Which connections leave with the node's address as their source, so that answers come back through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Masquerade {
    Never,
    /// Those that do not come from a pod of this cluster, as [`Settings::pods`](super::Settings) tells them.
    UnlessFromPod,
    Always,
}

/// What a connection gets that no endpoint may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unserved {
    /// An ICMP error: the client fails at once. The service has no endpoint anywhere.
    Reject,
    /// Nothing: the service has endpoints, but none here, and a policy says Local.
    Drop,
}

/// What becomes of the connections to a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: Arc<PortName>,
    pub kind: Kind,
    /// One of these at random. Empty: `unserved` says what happens.
    pub endpoints: Endpoints,
    pub unserved: Unserved,
    pub masquerade: Masquerade,
    /// For connections from this node and from pods of the cluster (as [`Settings::pods`](super::Settings) tells
    /// them) when the external traffic policy is Local: these endpoints in the place of `endpoints`. Connections
    /// from the node itself are masqueraded, those of pods are not.
    pub from_cluster: Option<Endpoints>,
    /// A client goes where it last went, if that was not longer ago.
    pub affinity: Option<Duration>,
    /// Others than these are dropped.
    pub sources: Option<Arc<[Cidr]>>,
}

impl Policy {
    /// Every endpoint that a connection to this frontend may reach.
    pub fn reachable(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().chain(self.from_cluster.iter().flat_map(|endpoints| endpoints.iter()))
    }
}

/// A port that tells load balancers whether this node has endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub port: u16,
    /// Endpoints on this node.
    pub local_endpoints: usize,
}

/// Something in the objects that cannot be done; the rest of the object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    #[error("service {service}: {field} has {value:?}, which is no usable address")]
    Address { service: String, field: &'static str, value: String },
    #[error("service {service}: an endpoint slice has {value:?}, which is no usable address of its family")]
    Endpoint { service: String, value: String },
    #[error("service {service}: source range {value:?} is no address range; nobody is let in by it")]
    SourceRange { service: String, value: String },
    #[error("service {service}: protocol {value:?} is not known")]
    Protocol { service: String, value: String },
    #[error("{frontend} is claimed by {winner} and {loser}; {winner} has it")]
    Conflict { frontend: Frontend, winner: String, loser: String },
}
