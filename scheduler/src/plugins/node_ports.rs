//! Refuses nodes on which another pod has one of the pod's host ports. `0.0.0.0` conflicts with every address.

use crate::cache::{HostPort, NodeInfo, Snapshot};
use crate::framework::{
    Atom, Change, Filter, ForPod, Lack, NodeCheck, Plugin, Reads, Subject, Verdict, Wakeup,
};
use crate::pod::PodInfo;

/// Upstream's NodePorts.
#[derive(Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::PodRemoved, Wakeup::NodeAdded]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Pod(gone) => {
                gone.ports.iter().any(|port| pod.ports.iter().any(|own| own.conflicts(port)))
            }
            _ => true,
        }
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn lacks(&self, pod: &PodInfo, kind: Wakeup) -> Lack {
        match kind {
            Wakeup::PodRemoved => Lack::OneOf(pod.ports.iter().map(|port| Atom::port(port.port)).collect()),
            _ => Lack::Anything,
        }
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodePorts {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        if pod.ports.is_empty() {
            return ForPod::Nothing;
        }
        ForPod::check(Check { ports: &pod.ports })
    }
}

#[derive(Debug)]
struct Check<'a> {
    ports: &'a [HostPort],
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if node.ports.conflict(self.ports) {
            return Verdict::Later("node(s) didn't have free ports for the requested pod ports".into());
        }
        Verdict::Fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask, node_with, pod};
    use serde_json::{Value, json};

    fn with_ports(name: &str, ports: &Value) -> std::sync::Arc<PodInfo> {
        pod(name, json!({"containers": [{"name": "c", "ports": ports}]}))
    }

    #[test]
    fn refuses_a_taken_port() {
        let http = |ip: &str| json!([{"containerPort": 80, "hostPort": 80, "hostIP": ip}]);
        for (taken, wanted, fits) in [
            (http(""), http(""), false),
            (http("127.0.0.1"), http("127.0.0.2"), true),
            (http("127.0.0.1"), http("0.0.0.0"), false),
            (http(""), json!([{"containerPort": 80}]), true),
            (http(""), json!([{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]), true),
        ] {
            let node = node_with("n", json!({}), [with_ports("old", &taken)]);
            let verdict = ask(&NodePorts, &with_ports("new", &wanted), &node);
            assert_eq!(verdict.fits(), fits, "{taken} {wanted} {verdict:?}");
        }
    }

    #[test]
    fn a_pod_that_leaves_helps_when_it_held_the_port() {
        let waiting = with_ports("p", &json!([{"containerPort": 80, "hostPort": 80}]));
        for (port, helps) in [(80, true), (81, false)] {
            let gone = with_ports("gone", &json!([{"containerPort": 1, "hostPort": port}]));
            let change = Change::new(Wakeup::PodRemoved, Subject::Pod(&gone));
            assert_eq!(NodePorts.helps(&waiting, &change), helps);
        }
    }
}
