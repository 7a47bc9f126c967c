//! Admits only the node that `spec.nodeName` names. The queue holds no pod that names one; simulations and "why not
//! this node" do.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Filter, ForPod, NodeCheck, Plugin, Reads, Verdict, Wakeup};
use crate::pod::{NodeName, PodInfo};

/// Upstream's NodeName.
#[derive(Debug)]
pub struct NodeNameFilter;

impl Plugin for NodeNameFilter {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::NodeAdded]
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeNameFilter {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        pod.node().map_or(ForPod::Nothing, |wanted| ForPod::check(Check { wanted }))
    }
}

#[derive(Debug)]
struct Check {
    wanted: NodeName,
}

impl NodeCheck for Check {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if node.name == self.wanted {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) didn't match the requested node name".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask, node, pod};
    use serde_json::json;

    #[test]
    fn admits_only_the_named_node() {
        let named = pod("p", json!({"nodeName": "a"}));
        assert_eq!(ask(&NodeNameFilter, &named, &node("a", json!({}))), Verdict::Fits);
        let refusal = Verdict::Never("node(s) didn't match the requested node name".into());
        assert_eq!(ask(&NodeNameFilter, &named, &node("b", json!({}))), refusal);
        assert_eq!(ask(&NodeNameFilter, &pod("p", json!({})), &node("b", json!({}))), Verdict::Fits);
    }
}
