//! What goes to an extender and comes back: the types of `k8s.io/kube-scheduler/extender/v1`, field names included.
//!
//! Answers are read as Go reads them, whatever the case of their field names: extenders in other languages rely on it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Asked at `filterVerb` and `prioritizeVerb`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Arguments {
    /// The whole pod.
    pub(super) pod: Value,
    /// The whole nodes, a `NodeList`; for an extender that keeps no nodes.
    pub(super) nodes: Option<Value>,
    /// Their names, for one that does.
    pub(super) node_names: Option<Vec<String>>,
}

/// The answer to `filterVerb`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub(super) struct Filtered {
    pub(super) nodes: Option<NodeList>,
    #[serde(rename = "nodenames")]
    pub(super) node_names: Option<Vec<String>>,
    #[serde(rename = "failednodes")]
    pub(super) failed: Option<BTreeMap<String, String>>,
    #[serde(rename = "failedandunresolvablenodes")]
    pub(super) hopeless: Option<BTreeMap<String, String>>,
    pub(super) error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeList {
    pub(super) items: Option<Vec<NamedNode>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedNode {
    pub(super) metadata: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: String,
}

/// One entry of the answer to `prioritizeVerb`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HostPriority {
    pub(super) host: String,
    pub(super) score: i64,
}

/// Asked at `preemptVerb`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PreemptionArguments {
    /// The whole pod that wants room.
    pub(super) pod: Value,
    /// By node, the whole pods that would go; for an extender that keeps no nodes.
    pub(super) node_name_to_victims: Option<BTreeMap<String, Victims<Value>>>,
    /// By node, their UIDs; for one that does.
    pub(super) node_name_to_meta_victims: Option<BTreeMap<String, Victims<MetaPod>>>,
}

/// Who would go from a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Victims<P> {
    pub(super) pods: Vec<P>,
    /// How many of them break a disruption budget.
    #[serde(rename = "NumPDBViolations")]
    pub(super) violations: usize,
}

/// A pod in the place of a whole one.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MetaPod {
    #[serde(rename(serialize = "UID"))]
    pub(super) uid: String,
}

/// The answer to `preemptVerb`, whatever was sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Preempted {
    #[serde(rename = "nodenametometavictims")]
    pub(super) by_node: Option<BTreeMap<String, Option<MetaVictims>>>,
}

/// Who is to go from a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetaVictims {
    pub(super) pods: Option<Vec<MetaPod>>,
    #[serde(rename = "numpdbviolations")]
    pub(super) violations: usize,
}

/// Asked at `bindVerb`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Binding {
    pub(super) pod_name: String,
    pub(super) pod_namespace: String,
    #[serde(rename = "PodUID")]
    pub(super) pod_uid: String,
    pub(super) node: String,
}

/// The answer to `bindVerb`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bound {
    pub(super) error: Option<String>,
}

/// A `NodeList` of whole nodes.
pub(super) fn node_list(nodes: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": nodes})
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    let mut answer = serde_json::from_str(text)?;
    lower_case(&mut answer, 2);
    serde_json::from_value(answer)
}

/// Turns field names to lower case, down to the objects of a list; the keys of maps by node name stay as they are.
fn lower_case(value: &mut Value, depth: usize) {
    let by_node = |name: &str| name.starts_with("failed") || name.starts_with("nodenameto");
    match value {
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    let name = name.to_lowercase();
                    match &mut value {
                        Value::Object(nodes) if by_node(&name) => {
                            nodes.values_mut().for_each(|node| lower_case(node, depth));
                        }
                        value if depth > 0 => lower_case(value, depth - 1),
                        _ => {}
                    }
                    (name, value)
                })
                .collect();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| lower_case(item, depth)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_are_upstreams() {
        let arguments = Arguments { pod: json!({}), nodes: None, node_names: Some(vec!["n".to_owned()]) };
        assert_eq!(json!(arguments), json!({"Pod": {}, "Nodes": null, "NodeNames": ["n"]}));
        let text = |text: &str| text.to_owned();
        let victims = Victims { pods: vec![MetaPod { uid: "u".to_owned() }], violations: 1 };
        let arguments = PreemptionArguments {
            pod: json!({}),
            node_name_to_victims: None,
            node_name_to_meta_victims: Some(BTreeMap::from([("n".to_owned(), victims)])),
        };
        assert_eq!(
            json!(arguments),
            json!({"Pod": {}, "NodeNameToVictims": null,
                "NodeNameToMetaVictims": {"n": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}}})
        );
        let binding =
            Binding { pod_name: text("p"), pod_namespace: text("d"), pod_uid: text("u"), node: text("n") };
        assert_eq!(json!(binding), json!({"PodName": "p", "PodNamespace": "d", "PodUID": "u", "Node": "n"}));
    }

    #[test]
    fn answers_are_read_whatever_their_case() {
        for text in [
            r#"{"NodeNames": ["A"], "FailedNodes": {"B": "No"}, "FailedAndUnresolvableNodes": {"C": "Never"}, "Error": ""}"#,
            r#"{"nodenames": ["A"], "failedNodes": {"B": "No"}, "failedAndUnresolvableNodes": {"C": "Never"}, "more": 1}"#,
        ] {
            let read: Filtered = read(text).unwrap();
            assert_eq!(read.node_names, Some(vec!["A".to_owned()]));
            assert_eq!(read.failed.unwrap()["B"], "No");
            assert_eq!(read.hopeless.unwrap()["C"], "Never");
        }
        let read: Filtered = read(r#"{"Nodes": {"items": [{"metadata": {"name": "A"}}]}}"#).unwrap();
        assert_eq!(read.nodes.unwrap().items.unwrap()[0].metadata.name, "A");
        let read: Preempted = super::read(
            r#"{"NodeNameToMetaVictims": {"A": {"Pods": [{"UID": "Uid-1"}], "NumPDBViolations": 2}, "B": null}}"#,
        )
        .unwrap();
        let mut by_node = read.by_node.unwrap();
        let victims = by_node.remove("A").flatten().unwrap();
        assert_eq!((victims.pods.unwrap()[0].uid.as_str(), victims.violations), ("Uid-1", 2));
        assert!(by_node["B"].is_none());
        let scores: Vec<HostPriority> = super::read(r#"[{"Host": "A", "Score": 7}]"#).unwrap();
        assert_eq!((scores[0].host.as_str(), scores[0].score), ("A", 7));
    }
}
