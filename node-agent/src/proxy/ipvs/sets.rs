//! The sets that tell netfilter what to do with packets to virtual servers, before and after IPVS has them.
//!
//! Promise: pure names and elements, the same for nf_tables and for ipset. The number of rules is fixed; what grows
//! with the services are the elements.

use std::net::IpAddr;

use crate::proxy::model::Cidr;

/// What the elements of a set mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Set {
    /// Virtual addresses: their ports that no service claims are closed.
    Addresses,
    /// Ports that services claim.
    Claimed,
    /// Connections to these leave with the node's address.
    Masqueraded,
    /// The same unless they come from a pod.
    MasqueradedFromOutside,
    /// Packets to these are dropped unless they come from within the cluster (see `FromCluster`).
    Dropped,
    /// New connections to these are refused.
    Rejected,
    /// Only sources in `Admitted` may speak to these.
    Restricted,
    /// Who may speak to what is restricted.
    Admitted,
    /// Connections from within the cluster to these get a mark, and with it another virtual server.
    FromCluster,
    /// An endpoint on this node, twice: its connections to itself leave with the node's address.
    Hairpin,
    /// Address ranges of pods.
    Pods,
}

impl Set {
    /// All of them.
    pub(super) const ALL: [Set; 11] = [
        Set::Addresses,
        Set::Claimed,
        Set::Masqueraded,
        Set::MasqueradedFromOutside,
        Set::Dropped,
        Set::Rejected,
        Set::Restricted,
        Set::Admitted,
        Set::FromCluster,
        Set::Hairpin,
        Set::Pods,
    ];

    /// Its name in the kernel, without the family.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Set::Addresses => "addresses",
            Set::Claimed => "claimed",
            Set::Masqueraded => "masquerade",
            Set::MasqueradedFromOutside => "masquerade-out",
            Set::Dropped => "dropped",
            Set::Rejected => "rejected",
            Set::Restricted => "restricted",
            Set::Admitted => "admitted",
            Set::FromCluster => "from-cluster",
            Set::Hairpin => "hairpin",
            Set::Pods => "pods",
        }
    }
}

/// An element of a set. Which form it has is the set's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Element {
    /// `Addresses`.
    Address(IpAddr),
    /// `Claimed`, `Masqueraded`, `MasqueradedFromOutside`, `Dropped`, `Rejected`, `Restricted`: address, protocol, port.
    Port(IpAddr, u8, u16),
    /// `Admitted`: and who.
    PortFrom(IpAddr, u8, u16, Cidr),
    /// `FromCluster`: and the mark.
    PortMark(IpAddr, u8, u16, u32),
    /// `Hairpin`.
    Twice(IpAddr),
    /// `Pods`.
    Range(Cidr),
}

impl Element {
    /// The family of the set that holds it.
    pub(super) fn is_v6(&self) -> bool {
        match self {
            Element::Address(address)
            | Element::Port(address, ..)
            | Element::PortFrom(address, ..)
            | Element::PortMark(address, ..)
            | Element::Twice(address) => address.is_ipv6(),
            Element::Range(range) => range.network().is_ipv6(),
        }
    }
}
