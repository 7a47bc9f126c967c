//! DefaultTolerationSeconds: pods stay five minutes on a node that does not answer, unless they say otherwise.
//!
//! Source: kubernetes `plugin/pkg/admission/defaulttolerationseconds`.

use serde_json::{Value, json};

use super::Attributes;
use crate::kinds::read::Read;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Value) {
    if attributes.is("", "pods") {
        add(pod);
    }
}

fn add(pod: &mut Value) {
    for taint in TAINTS {
        let spec = &mut pod["spec"];
        let tolerates = |one: &Value| {
            matches!(one.text("effect"), "" | "NoExecute")
                && (one.text("key").is_empty() || one.text("key") == taint)
        };
        if spec.list("tolerations").iter().any(tolerates) {
            continue;
        }
        let toleration =
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        match spec.get_mut("tolerations").and_then(Value::as_array_mut) {
            Some(all) => all.push(toleration),
            None => spec["tolerations"] = json!([toleration]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_said_is_added() {
        let count = |tolerations: Value| {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            add(&mut pod);
            pod["spec"]["tolerations"].as_array().map(Vec::len)
        };
        assert_eq!(count(json!(null)), Some(2));
        assert_eq!(count(json!([{"operator": "Exists"}])), Some(1));
        assert_eq!(count(json!([{"key": TAINTS[0], "operator": "Exists"}])), Some(2));
        assert_eq!(count(json!([{"key": TAINTS[0], "effect": "NoSchedule"}])), Some(3));
    }
}
