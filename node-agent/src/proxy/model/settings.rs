//! What the model is told besides Services and their endpoints.

use std::net::IpAddr;

use super::watched::Node;
use crate::addresses::{Cidr, Family};

/// The zone of a node, and of endpoints' hints.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The taint of a node that the cluster autoscaler takes away.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Settings of the data plane, resolved for this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How connections of pods are told from others.
    pub pods: PodDetection,
    /// Masquerade every connection to a cluster IP (`--masquerade-all`).
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading (`--iptables-masquerade-bit`, upstream's is `0x4000`).
    pub masquerade_mark: u32,
    /// Node ports answer on the node's addresses in these ranges, never on loopback addresses.
    pub node_port_addresses: Vec<Cidr>,
}

/// How connections of pods are told from others (`--detect-local-mode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodDetection {
    /// Not at all: every connection counts as one of a pod.
    Unknown,
    /// By source address (modes `ClusterCIDR` and `NodeCIDR`).
    Cidrs(Vec<Cidr>),
    /// By the interface they came in through (mode `BridgeInterface`).
    Interface(String),
    /// By the beginning of that interface's name (mode `InterfaceNamePrefix`).
    InterfacePrefix(String),
}

impl Default for Settings {
    /// Upstream's defaults for a node of which nothing is known.
    fn default() -> Self {
        Self {
            pods: PodDetection::Unknown,
            masquerade_all: false,
            masquerade_mark: 0x4000,
            node_port_addresses: Family::BOTH.map(Cidr::all).to_vec(),
        }
    }
}

/// What matters about this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub name: String,
    /// Empty if the node has none.
    pub zone: String,
    /// Its internal addresses, the primary of each family first.
    pub addresses: Vec<IpAddr>,
    pub pod_cidrs: Vec<Cidr>,
    /// It is about to go: load balancers are to send nothing here any more (KEP-3836).
    pub leaving: bool,
}

impl NodeFacts {
    /// What is known before the Node object was seen.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// What a Node object says. Addresses and ranges that do not parse are left out.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let internal = node.status.addresses.iter().filter(|address| address.type_ == "InternalIP");
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            zone: node
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(ZONE))
                .cloned()
                .unwrap_or_default(),
            addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
            pod_cidrs: node.spec.pod_cidrs.iter().filter_map(|range| range.parse().ok()).collect(),
            leaving: node.metadata.deletion_timestamp.is_some()
                || node.spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED),
        }
    }

    /// The first address of a family.
    #[must_use]
    pub fn primary(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(address) == family)
    }
}
