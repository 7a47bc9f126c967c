//! Host ports that are taken on a node.

use std::sync::Arc;

/// The address that stands for every address of the node.
const ANY: &str = "0.0.0.0";

/// A host port a pod takes: address (`0.0.0.0` when it names none), protocol and number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host address.
    pub ip: Arc<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Arc<str>,
    /// The port on the host.
    pub port: i32,
}

impl HostPort {
    /// A port as a container names it; empty address and protocol mean any address and TCP.
    pub fn new(ip: Option<&str>, protocol: Option<&str>, port: i32) -> Self {
        let or = |given: Option<&str>, default: &'static str| -> Arc<str> {
            given.filter(|given| !given.is_empty()).unwrap_or(default).into()
        };
        Self { ip: or(ip, ANY), protocol: or(protocol, "TCP"), port }
    }

    /// True when both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || &*self.ip == ANY || &*other.ip == ANY)
    }
}

/// The host ports in use on a node, one entry a port and pod.
#[derive(Clone, Debug, Default)]
pub struct HostPorts(Vec<HostPort>);

impl HostPorts {
    /// Takes ports.
    pub fn add(&mut self, ports: &[HostPort]) {
        self.0.extend_from_slice(ports);
    }

    /// Gives them back.
    pub fn remove(&mut self, ports: &[HostPort]) {
        for port in ports {
            if let Some(at) = self.0.iter().position(|taken| taken == port) {
                self.0.swap_remove(at);
            }
        }
    }

    /// True when one of `wanted` is taken, counting `0.0.0.0` as every address.
    pub fn conflict(&self, wanted: &[HostPort]) -> bool {
        wanted.iter().any(|wanted| self.0.iter().any(|taken| taken.conflicts(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_conflicts_both_ways() {
        let cases = [
            ((None, "TCP", 80), (None, "TCP", 80), true),
            ((None, "TCP", 80), (None, "TCP", 81), false),
            ((None, "TCP", 80), (None, "UDP", 80), false),
            ((Some("127.0.0.1"), "TCP", 80), (Some("127.0.0.2"), "TCP", 80), false),
            ((Some("127.0.0.1"), "TCP", 80), (Some("127.0.0.1"), "TCP", 80), true),
            ((Some("127.0.0.1"), "TCP", 80), (Some("0.0.0.0"), "TCP", 80), true),
            ((None, "TCP", 80), (Some("127.0.0.1"), "TCP", 80), true),
        ];
        for (taken, wanted, conflict) in cases {
            let mut ports = HostPorts::default();
            let taken = [HostPort::new(taken.0, Some(taken.1), taken.2)];
            let wanted = [HostPort::new(wanted.0, Some(wanted.1), wanted.2)];
            ports.add(&taken);
            assert_eq!(ports.conflict(&wanted), conflict, "{taken:?} {wanted:?}");
            ports.remove(&taken);
            assert!(!ports.conflict(&wanted));
        }
    }
}
