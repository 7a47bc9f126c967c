//! Refuses cordoned nodes, unless the pod tolerates `node.kubernetes.io/unschedulable:NoSchedule`.

use crate::cache::{Gauge, NodeInfo, Snapshot};
use crate::framework::{Change, Filter, ForPod, NodeCheck, Plugin, Reads, Verdict, Wakeup, check_doubtful};
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Taint;
use objects::taints;

/// Upstream's NodeUnschedulable.
#[derive(Debug)]
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::NodeAdded, Wakeup::NodeTaints, Wakeup::OwnTolerations]
    }

    fn helps(&self, _: &PodInfo, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| !node.is_cordoned())
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeUnschedulable {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        if taints::tolerated(pod.tolerations(), &cordon()) {
            return ForPod::Nothing;
        }
        ForPod::check(Check)
    }
}

fn cordon() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: taints::NO_SCHEDULE.to_owned(),
        ..Taint::default()
    }
}

#[derive(Debug)]
struct Check;

impl NodeCheck for Check {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if node.is_cordoned() {
            return Verdict::Never("node(s) were unschedulable".into());
        }
        Verdict::Fits
    }

    fn check_each(&self, cluster: &Snapshot, left: &mut Vec<u32>, refused: &mut Vec<(u32, Verdict)>) {
        check_doubtful(self, cluster, Gauge::is_cordoned, left, refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Subject;
    use crate::plugins::fixtures::{ask, node, pod};
    use serde_json::json;

    #[test]
    fn refuses_cordoned_nodes_unless_tolerated() {
        let cordoned = node("n", json!({"spec": {"unschedulable": true}}));
        let tolerant = pod(
            "p",
            json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}),
        );
        let plain = pod("p", json!({}));
        assert_eq!(
            ask(&NodeUnschedulable, &plain, &cordoned),
            Verdict::Never("node(s) were unschedulable".into())
        );
        assert_eq!(ask(&NodeUnschedulable, &tolerant, &cordoned), Verdict::Fits);
        assert_eq!(ask(&NodeUnschedulable, &plain, &node("n", json!({}))), Verdict::Fits);
    }

    #[test]
    fn an_uncordoned_node_helps() {
        for (unschedulable, helps) in [(true, false), (false, true)] {
            let now = node("n", json!({"spec": {"unschedulable": unschedulable}}));
            let change = Change::new(Wakeup::NodeTaints, Subject::Node { now: &now, before: None });
            assert_eq!(NodeUnschedulable.helps(&pod("p", json!({})), &change), helps);
        }
    }
}
