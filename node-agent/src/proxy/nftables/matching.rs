//! Which registers hold what, and conditions on addresses.

use crate::nftables::conditions::{address, compare};
use crate::nftables::{Expression, Register};
use crate::proxy::model::Family;

/// The registers of a rule: source, destination, protocol, port, number and endpoint stand one behind the other, so
/// that each key of our sets is a run of them. With IPv6 they fill all sixteen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    v6: bool,
    pub(crate) source: Register,
    /// Here the key of a frontend begins.
    pub(crate) destination: Register,
    protocol: Register,
    port: Register,
    /// Of the endpoint.
    pub(crate) number: Register,
    pub(crate) endpoint_address: Register,
    endpoint_port: Register,
}

impl Words {
    pub(crate) const fn of(family: Family) -> Self {
        let address = match family {
            Family::V4 => 1,
            Family::V6 => 4,
        };
        let destination = address;
        let protocol = destination + address;
        Self {
            v6: address == 4,
            source: Register(0),
            destination: Register(destination),
            protocol: Register(protocol),
            port: Register(protocol + 1),
            number: Register(protocol + 2),
            endpoint_address: Register(protocol + 3),
            endpoint_port: Register(protocol + 3 + address),
        }
    }

    const fn address(self, source: bool, into: Register) -> Expression {
        address(if self.v6 { Family::V6 } else { Family::V4 }, source, into)
    }

    pub(crate) const fn load_source(self) -> Expression {
        self.address(true, self.source)
    }

    /// The key of the set of ranges: frontend, then source.
    pub(crate) const fn load_source_behind_frontend(self) -> Expression {
        self.address(true, self.number)
    }

    pub(crate) const fn load_destination(self) -> Expression {
        self.address(false, self.destination)
    }

    /// Destination (or the unspecified address), protocol and port.
    pub(crate) fn load_frontend(self, node_port: bool) -> Vec<Expression> {
        let unspecified = vec![0; if self.v6 { 16 } else { 4 }];
        vec![
            if node_port {
                Expression::Constant { value: unspecified, into: self.destination }
            } else {
                self.load_destination()
            },
            Expression::Protocol { into: self.protocol },
            // TCP, UDP and SCTP have the destination port at the same place.
            Expression::Transport { offset: 2, length: 2, into: self.port },
        ]
    }

    /// Destination, protocol and port as they were before the translation; the unspecified address for a node port.
    pub(crate) fn load_original(self, node_port: bool) -> Vec<Expression> {
        let mut load = self.load_frontend(node_port);
        if !node_port {
            load[0] = Expression::OriginalDestination { v6: self.v6, into: self.destination };
        }
        load[2] = Expression::OriginalPort { into: self.port };
        load
    }

    /// Where the packet goes now, as the value of a map of endpoints.
    pub(crate) const fn load_endpoint(self) -> [Expression; 2] {
        [
            self.address(false, self.endpoint_address),
            Expression::Transport { offset: 2, length: 2, into: self.endpoint_port },
        ]
    }

    pub(crate) fn dnat(self, family: Family) -> Expression {
        Expression::Dnat {
            v6: family == Family::V6,
            address: self.endpoint_address,
            port: self.endpoint_port,
        }
    }
}

/// The destination is no loopback address: node ports do not answer there, as answers would not come back.
pub(crate) fn not_loopback(family: Family) -> Vec<Expression> {
    let words = Words::of(family);
    let into = Register(0);
    let load = words.address(false, into);
    match family {
        Family::V4 => vec![
            load,
            Expression::Bits { register: into, mask: vec![255, 0, 0, 0], xor: vec![0; 4] },
            compare(into, false, &[127, 0, 0, 0]),
        ],
        Family::V6 => vec![load, compare(into, false, &std::net::Ipv6Addr::LOCALHOST.octets())],
    }
}
