//! What matters of a pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use objects::views::Pod;

use crate::addresses::Protocol;

/// A pod with a network of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    /// Ports that its containers give a name.
    pub ports: Vec<(Protocol, String, u16)>,
    /// It runs on this node.
    pub local: bool,
    /// It is told to end; until it is gone its policies hold.
    pub ending: bool,
    pub created: Option<Timestamp>,
}

impl PodFacts {
    /// What a Pod says. `None` if policies do not apply to it: it shares its node's network, or it has ended and its
    /// address may be another's. `known` are addresses that it has besides those it reports.
    #[must_use]
    pub fn of(pod: &Pod, node: &str, known: &[IpAddr]) -> Option<Self> {
        let ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if pod.spec.host_network || ended {
            return None;
        }
        let reported = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str()).chain(pod.status.pod_ip.as_deref());
        let mut addresses: Vec<IpAddr> = reported.filter_map(|text| text.parse().ok()).collect();
        addresses.extend(known);
        addresses.sort_unstable();
        addresses.dedup();
        // Init containers that go on beside the others listen as they do.
        let sidecars =
            pod.spec.init_containers.iter().filter(|init| init.restart_policy.as_deref() == Some("Always"));
        let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
        let named = ports.filter_map(|port| {
            let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or_default())?;
            Some((protocol, port.name.clone()?, u16::try_from(port.container_port).ok()?))
        });
        Some(Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            addresses,
            ports: named.collect(),
            local: pod.spec.node_name.as_deref() == Some(node),
            ending: pod.metadata.deletion_timestamp.is_some(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(spec: Value, status: Value) -> Option<PodFacts> {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec, "status": status});
        PodFacts::of(&serde_json::from_value(pod).unwrap(), "n1", &["10.0.0.9".parse().unwrap()])
    }

    #[test]
    fn which_pods_policies_apply_to() {
        let running = || json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
        let facts_of = facts(json!({"nodeName": "n1"}), running()).unwrap();
        assert!(facts_of.local);
        assert_eq!(
            facts_of.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.1", "10.0.0.9", "fd00::1"]
        );
        assert!(!facts(json!({"nodeName": "n2"}), running()).unwrap().local);
        assert_eq!(facts(json!({"nodeName": "n1", "hostNetwork": true}), running()), None);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(facts(json!({"nodeName": "n1"}), json!({"phase": phase, "podIP": "10.0.0.1"})), None);
        }
    }

    #[test]
    fn named_ports_of_containers_and_sidecars() {
        let ports =
            |name: &str, port: u16| json!([{"name": name, "containerPort": port}, {"containerPort": 1}]);
        let spec = json!({"containers": [{"name": "a", "ports": ports("web", 80)}],
            "initContainers": [{"name": "b", "restartPolicy": "Always", "ports": ports("side", 81)},
                {"name": "c", "ports": ports("init", 82)}]});
        let names: Vec<_> =
            facts(spec, json!({})).unwrap().ports.into_iter().map(|port| (port.1, port.2)).collect();
        assert_eq!(names, [("web".to_owned(), 80), ("side".to_owned(), 81)]);
    }
}
