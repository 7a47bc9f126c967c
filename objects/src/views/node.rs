//! The slim view of a Node.

use k8s_openapi::api::core::v1::{ContainerImage, NodeAddress, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{list, nullable};
use crate::amounts::Amounts;

/// A Node as the scheduler and the controllers read it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Name, labels and so on; without `managedFields`.
    #[serde(deserialize_with = "super::metadata")]
    pub metadata: ObjectMeta,

    /// What is wanted of the node.
    #[serde(deserialize_with = "nullable")]
    pub spec: NodeSpec,

    /// What the node's agent reports.
    #[serde(deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// The read part of a Node's spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Cordoned.
    #[serde(deserialize_with = "nullable")]
    pub unschedulable: bool,

    /// Taints, in the order of the object.
    #[serde(deserialize_with = "list")]
    pub taints: Vec<Taint>,

    /// Pod network ranges, one an address family.
    #[serde(rename = "podCIDRs", deserialize_with = "list")]
    pub pod_cidrs: Vec<String>,

    /// The machine's name at its cloud.
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
}

/// The read part of a Node's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// What pods may use, by resource name.
    #[serde(deserialize_with = "nullable")]
    pub allocatable: Amounts,

    /// What the machine has, by resource name.
    #[serde(deserialize_with = "nullable")]
    pub capacity: Amounts,

    /// `Ready` and the pressure conditions.
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<NodeCondition>,

    /// Host name and IP addresses.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<NodeAddress>,

    /// Images that are there, for image locality.
    #[serde(deserialize_with = "list")]
    pub images: Vec<ContainerImage>,

    /// Features that the agent declares (KEP-5328).
    #[serde(deserialize_with = "list")]
    pub declared_features: Vec<String>,
}

impl Node {
    /// The node's name, "" before it has one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

crate::view_of!(Node, "Node", "v1", "nodes", ClusterResourceScope);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decodes_what_is_read() {
        let node: Node = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "labels": {"zone": "a"}, "managedFields": [{"manager": "x"}]},
            "spec": {"unschedulable": true, "taints": null, "podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
            "status": {"allocatable": {"cpu": "3920m", "memory": "8Gi", "pods": "110"}, "images": null},
        }))
        .unwrap();
        assert_eq!((node.name(), node.label("zone")), ("n1", Some("a")));
        assert!(node.spec.unschedulable && node.spec.taints.is_empty());
        assert_eq!(node.spec.pod_cidrs, ["10.0.0.0/24"]);
        assert_eq!(node.status.allocatable.get("cpu").unwrap().milli_value(), 3920);
        assert!(node.metadata.managed_fields.is_none());
    }
}
