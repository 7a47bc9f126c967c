//! TaintNodesByCondition: a node is not ready before something says so.
//!
//! Source: kubernetes `plugin/pkg/admission/nodetaint`.

use serde_json::{Value, json};

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::Read;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) fn admit(attributes: &Attributes<'_>, node: &mut Value) {
    if attributes.is("", "nodes") && attributes.verb == Verb::Create {
        taint(node);
    }
}

fn taint(node: &mut Value) {
    let taints = node["spec"].list("taints");
    if taints.iter().any(|one| one.text("key") == NOT_READY && one.text("effect") == "NoSchedule") {
        return;
    }
    let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
    match node["spec"].get_mut("taints").and_then(Value::as_array_mut) {
        Some(taints) => taints.push(taint),
        None => node["spec"]["taints"] = json!([taint]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_added_once() {
        let mut node = json!({"metadata": {"name": "n"}});
        taint(&mut node);
        taint(&mut node);
        assert_eq!(node["spec"]["taints"], json!([{"key": NOT_READY, "effect": "NoSchedule"}]));
    }
}
