//! Features that a node declares (KEP-5328, `status.declaredFeatures`): their names, and which of them a pod needs.
//!
//! Promise: a pod needs what upstream's `component-helpers/nodedeclaredfeatures` of 1.36 infers for scheduling. Of the
//! features in that list only these two are ever needed by a pod that has no node yet; the others are about changes of
//! pods that run, or about the way to the agent.

use crate::views::{Container, PodSpec};

/// All containers of a pod can be started anew when one ends in a certain way (KEP-5532).
pub const RESTART_ALL_CONTAINERS: &str = "RestartAllContainersOnContainerExits";
/// A pod in a user namespace of its own can use the node's network (KEP-5607).
pub const USER_NAMESPACES_WITH_HOST_NETWORK: &str = "UserNamespacesHostNetworkSupport";
/// Streams are taken as WebSocket by the agent itself (KEP-4006).
pub const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";

/// The features that the node of a pod has to declare, in the order of their names.
pub fn needed_by(spec: &PodSpec) -> impl Iterator<Item = &'static str> {
    let restarts_all = |container: &Container| {
        container.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers")
    };
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    let restart = containers.any(restarts_all).then_some(RESTART_ALL_CONTAINERS);
    let users =
        (spec.host_network && spec.host_users == Some(false)).then_some(USER_NAMESPACES_WITH_HOST_NETWORK);
    restart.into_iter().chain(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_pod_needs() {
        let rules = |action: &str| {
            json!([{"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}},
                {"action": action, "exitCodes": {"operator": "In", "values": [2]}},
            ]}])
        };
        for (spec, want) in [
            (json!({}), vec![]),
            (json!({"containers": [{"name": "c"}]}), vec![]),
            (json!({"containers": rules("Restart")}), vec![]),
            (json!({"containers": rules("RestartAllContainers")}), vec![RESTART_ALL_CONTAINERS]),
            (json!({"initContainers": rules("RestartAllContainers")}), vec![RESTART_ALL_CONTAINERS]),
            (json!({"hostNetwork": true}), vec![]),
            (json!({"hostNetwork": true, "hostUsers": true}), vec![]),
            (json!({"hostUsers": false}), vec![]),
            (json!({"hostNetwork": true, "hostUsers": false}), vec![USER_NAMESPACES_WITH_HOST_NETWORK]),
            (
                json!({"hostNetwork": true, "hostUsers": false, "containers": rules("RestartAllContainers")}),
                vec![RESTART_ALL_CONTAINERS, USER_NAMESPACES_WITH_HOST_NETWORK],
            ),
        ] {
            let decoded: PodSpec = serde_json::from_value(Value::clone(&spec)).unwrap();
            assert_eq!(needed_by(&decoded).collect::<Vec<_>>(), want, "{spec}");
        }
    }
}
