//! Which nodes a pod may run on by labels: `nodeSelector` and node affinity.
//!
//! Promise: the terms of a node selector are alternatives, the parts of a term must all hold, and a term without
//! parts holds for no node, as in upstream's `component-helpers/scheduling/corev1/nodeaffinity`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::views::PodSpec;

/// The only field that `matchFields` may name.
pub const NAME_FIELD: &str = "metadata.name";

/// Whether a node with this metadata fulfils the pod's `nodeSelector` and its required node affinity.
#[must_use]
pub fn required_matches(pod: &PodSpec, node: &ObjectMeta) -> bool {
    let selected = pod.node_selector.iter().all(|(key, value)| label(node, key) == Some(value));
    selected && required(pod.affinity.as_deref()).is_none_or(|selector| selector_matches(selector, node))
}

/// The required part of the node affinity.
#[must_use]
pub fn required(affinity: Option<&Affinity>) -> Option<&NodeSelector> {
    affinity?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// The preferred part of the node affinity.
#[must_use]
pub fn preferred(affinity: Option<&Affinity>) -> &[PreferredSchedulingTerm] {
    affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

/// The sum of the weights of the preferred terms that the node fulfils.
#[must_use]
pub fn preferred_weight(affinity: Option<&Affinity>, node: &ObjectMeta) -> i64 {
    let fulfilled = |term: &&PreferredSchedulingTerm| term_matches(&term.preference, node);
    preferred(affinity).iter().filter(fulfilled).map(|term| i64::from(term.weight)).sum()
}

/// Whether any term of the selector holds.
#[must_use]
pub fn selector_matches(selector: &NodeSelector, node: &ObjectMeta) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// Whether every part of the term holds, and it has one.
#[must_use]
pub fn term_matches(term: &NodeSelectorTerm, node: &ObjectMeta) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let name = |key: &str| node.name.as_ref().filter(|_| key == NAME_FIELD);
    labels.iter().all(|part| holds(part, label(node, &part.key)))
        && fields.iter().all(|part| holds(part, name(&part.key)))
}

/// The node names that the required terms ask for, if every term asks for names; the scheduler then need not look
/// at other nodes.
#[must_use]
pub fn named_nodes(affinity: Option<&Affinity>) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for term in &required(affinity)?.node_selector_terms {
        let field = |part: &&NodeSelectorRequirement| part.key == NAME_FIELD && part.operator == "In";
        let part = term.match_fields.iter().flatten().find(field)?;
        names.extend(part.values.iter().flatten().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn label<'a>(node: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    node.labels.as_ref().and_then(|labels: &BTreeMap<String, String>| labels.get(key))
}

fn holds(part: &NodeSelectorRequirement, given: Option<&String>) -> bool {
    let values = part.values.as_deref().unwrap_or_default();
    match part.operator.as_str() {
        "In" => given.is_some_and(|given| values.contains(given)),
        "NotIn" => given.is_none_or(|given| !values.contains(given)),
        "Exists" => given.is_some(),
        "DoesNotExist" => given.is_none(),
        "Gt" => compare(given, values, |given, wanted| given > wanted),
        "Lt" => compare(given, values, |given, wanted| given < wanted),
        _ => false,
    }
}

fn compare(given: Option<&String>, values: &[String], holds: impl Fn(i64, i64) -> bool) -> bool {
    let [wanted] = values else { return false };
    let given = given.and_then(|given| given.parse().ok());
    given.zip(wanted.parse().ok()).is_some_and(|(given, wanted)| holds(given, wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> ObjectMeta {
        serde_json::from_value(json!({"name": "n1", "labels": {"zone": "a", "cores": "8"}})).unwrap()
    }

    fn term(labels: &serde_json::Value, fields: &serde_json::Value) -> NodeSelectorTerm {
        serde_json::from_value(json!({"matchExpressions": labels, "matchFields": fields})).unwrap()
    }

    #[test]
    fn term_table() {
        let part =
            |key, operator, values: &[&str]| json!([{"key": key, "operator": operator, "values": values}]);
        let none = json!([]);
        let table = [
            (part("zone", "In", &["a", "b"]), none.clone(), true),
            (part("zone", "In", &["b"]), none.clone(), false),
            (part("zone", "NotIn", &["b"]), none.clone(), true),
            (part("gpu", "NotIn", &["b"]), none.clone(), true),
            (part("zone", "Exists", &[]), none.clone(), true),
            (part("gpu", "DoesNotExist", &[]), none.clone(), true),
            (part("cores", "Gt", &["4"]), none.clone(), true),
            (part("cores", "Lt", &["8"]), none.clone(), false),
            (part("zone", "Gt", &["4"]), none.clone(), false),
            (none.clone(), part("metadata.name", "In", &["n1"]), true),
            (part("zone", "Exists", &[]), part("metadata.name", "NotIn", &["n1"]), false),
            (none.clone(), none.clone(), false),
        ];
        for (labels, fields, expected) in table {
            assert_eq!(term_matches(&term(&labels, &fields), &node()), expected, "{labels} {fields}");
        }
    }

    #[test]
    fn selector_and_affinity_must_both_hold() {
        let spec = |selector: serde_json::Value, zones: &[&str]| -> PodSpec {
            let terms: Vec<_> = zones
                .iter()
                .map(
                    |zone| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}),
                )
                .collect();
            let required =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            let affinity = (!zones.is_empty()).then(|| json!({"nodeAffinity": required}));
            serde_json::from_value(json!({"nodeSelector": selector, "affinity": affinity})).unwrap()
        };
        assert!(required_matches(&spec(json!({}), &[]), &node()));
        assert!(required_matches(&spec(json!({"zone": "a"}), &["b", "a"]), &node()));
        assert!(!required_matches(&spec(json!({"zone": "b"}), &["a"]), &node()));
        assert!(!required_matches(&spec(json!({}), &["b"]), &node()));
    }

    #[test]
    fn weights_and_names() {
        let affinity: Affinity = serde_json::from_value(json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2", "n1"]}]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}},
                {"weight": 5, "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}}],
        }}))
        .unwrap();
        assert_eq!(preferred_weight(Some(&affinity), &node()), 10);
        assert_eq!(named_nodes(Some(&affinity)).unwrap(), ["n1", "n2"]);
        assert_eq!(named_nodes(None), None);
    }
}
