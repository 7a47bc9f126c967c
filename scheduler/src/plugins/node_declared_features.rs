//! Admits only nodes that declare the features which a pod's spec needs (KEP-5328).
//!
//! It is asked last of the filters, behind those that count across nodes; so the engine leaves the few pods that need a
//! feature to the plain path, and never asks about the others.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{Change, Filter, ForPod, NodeCheck, Plugin, Verdict, Wakeup};
use crate::pod::PodInfo;
use objects::declared_features::needed_by;

/// Upstream's NodeDeclaredFeatures, on unless the feature gate of that name is off.
#[derive(Debug)]
pub struct NodeDeclaredFeatures;

impl NodeDeclaredFeatures {
    /// Its name, which is also the feature gate's.
    pub const NAME: &'static str = "NodeDeclaredFeatures";
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// Upstream also asks to be woken by a change of the pod: what it needs follows from fields that never change.
    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::NodeAdded, Wakeup::NodeDeclaredFeatures]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| declares_all(node, pod))
    }

    fn ignores(&self, pod: &PodInfo) -> bool {
        needed_by(pod.spec()).next().is_none()
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeDeclaredFeatures {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        if self.ignores(pod) { ForPod::Nothing } else { ForPod::check(Check { pod }) }
    }
}

#[derive(Debug)]
struct Check<'a> {
    pod: &'a PodInfo,
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if declares_all(node, self.pod) {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) didn't match Pod's required features".into())
    }
}

fn declares_all(node: &NodeInfo, pod: &PodInfo) -> bool {
    let declared = &node.node.status.declared_features;
    needed_by(pod.spec()).all(|needed| declared.iter().any(|declared| declared == needed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Subject;
    use crate::plugins::fixtures::{ask, node, pod};
    use serde_json::json;
    use std::sync::Arc;

    const RESTART: &str = "RestartAllContainersOnContainerExits";
    const USERS: &str = "UserNamespacesHostNetworkSupport";

    fn declaring(features: &[&str]) -> NodeInfo {
        node("n", json!({"status": {"declaredFeatures": features}}))
    }

    fn restarting(more: serde_json::Value) -> Arc<PodInfo> {
        let mut spec = json!({"containers": [{"name": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod("p", spec)
    }

    #[test]
    fn a_node_has_to_declare_all_that_is_needed() {
        let refused = Verdict::Never("node(s) didn't match Pod's required features".into());
        let both = restarting(json!({"hostNetwork": true, "hostUsers": false}));
        for (name, pod, declared, want) in [
            ("nothing needed, nothing declared", pod("p", json!({})), vec![], Verdict::Fits),
            ("nothing needed, some declared", pod("p", json!({})), vec!["Other"], Verdict::Fits),
            ("needed, nothing declared", restarting(json!({})), vec![], refused.clone()),
            ("needed, another declared", restarting(json!({})), vec!["Other", USERS], refused.clone()),
            ("needed and declared", restarting(json!({})), vec!["Other", RESTART], Verdict::Fits),
            ("one of two declared", both.clone(), vec![RESTART], refused),
            ("both declared", both, vec![RESTART, USERS], Verdict::Fits),
        ] {
            assert_eq!(ask(&NodeDeclaredFeatures, &pod, &declaring(&declared)), want, "{name}");
            assert_eq!(NodeDeclaredFeatures.ignores(&pod), name.starts_with("nothing needed"), "{name}");
        }
    }

    #[test]
    fn a_node_helps_when_it_declares_what_is_needed() {
        for (declared, helps) in [(vec![], false), (vec!["Other"], false), (vec!["Other", RESTART], true)] {
            let now = declaring(&declared);
            for kind in [Wakeup::NodeAdded, Wakeup::NodeDeclaredFeatures] {
                let change = Change::new(kind, Subject::Node { now: &now, before: None });
                assert_eq!(
                    NodeDeclaredFeatures.helps(&restarting(json!({})), &change),
                    helps,
                    "{declared:?}"
                );
            }
        }
    }
}
