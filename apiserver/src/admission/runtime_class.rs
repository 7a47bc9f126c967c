//! RuntimeClass: what running a pod in its class costs, and on which nodes it can.
//!
//! Source: kubernetes `plugin/pkg/admission/runtimeclass`.

use serde_json::{Value, json};

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::{Read, child};
use crate::kinds::resources;
use crate::status::ApiResult;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    if !attributes.is("", "pods") || attributes.verb != Verb::Create {
        return Ok(());
    }
    let name = pod["spec"].text("runtimeClassName").to_owned();
    let class = match name.as_str() {
        "" => Value::Null,
        name => attributes.get("node.k8s.io", "runtimeclasses", "", name).ok_or_else(|| {
            attributes.forbid(pod, &format!("pod rejected: RuntimeClass {name:?} not found"))
        })?,
    };
    apply(pod, &class).map_err(|why| attributes.forbid(pod, &why))
}

fn apply(pod: &mut Value, class: &Value) -> Result<(), String> {
    let spec = child(pod, "spec");
    let fixed = &class["overhead"]["podFixed"];
    match (fixed.is_null(), spec.has("overhead")) {
        (true, true) if class.is_null() => {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                .to_owned());
        }
        (true, true) => return Err(MISMATCH.to_owned()),
        (false, true) if !same_amounts(fixed, &spec["overhead"]) => return Err(MISMATCH.to_owned()),
        (false, false) => spec["overhead"] = fixed.clone(),
        (false, true) | (true, false) => {}
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling.entries("nodeSelector") {
        match spec["nodeSelector"].get(key) {
            Some(there) if there != value => {
                let (value, there) = (value.as_str().unwrap_or_default(), there.as_str().unwrap_or_default());
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {there}"
                ));
            }
            Some(_) => {}
            None => child(spec, "nodeSelector")[key] = value.clone(),
        }
    }
    for toleration in scheduling.list("tolerations") {
        match spec.get_mut("tolerations").and_then(Value::as_array_mut) {
            Some(all) if all.contains(toleration) => {}
            Some(all) => all.push(toleration.clone()),
            None => spec["tolerations"] = json!([toleration]),
        }
    }
    Ok(())
}

fn same_amounts(a: &Value, b: &Value) -> bool {
    let amounts = |map: &Value| -> Vec<_> {
        map.as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), resources::parse(value)))
            .collect()
    };
    let (mut a, mut b) = (amounts(a), amounts(b));
    a.sort_by(|a, b| a.0.cmp(&b.0));
    b.sort_by(|a, b| a.0.cmp(&b.0));
    a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_states_overhead_and_nodes() {
        let class = json!({"overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"runtimeClassName": "kata"}});
        assert_eq!(apply(&mut pod, &class), Ok(()));
        let expected = json!({"runtimeClassName": "kata", "overhead": {"cpu": "250m"}, "nodeSelector": {"kata": "yes"},
            "tolerations": [{"key": "kata", "operator": "Exists"}]});
        assert_eq!(pod["spec"], expected);
        pod["spec"]["overhead"] = json!({"cpu": "0.25"});
        assert_eq!(apply(&mut pod, &class), Ok(()));
        pod["spec"]["overhead"] = json!({"cpu": "1"});
        assert_eq!(apply(&mut pod, &class), Err(MISMATCH.to_owned()));
        assert!(apply(&mut pod, &Value::Null).is_err());
        let mut other = json!({"spec": {"nodeSelector": {"kata": "no"}}});
        let why =
            "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no";
        assert_eq!(apply(&mut other, &class), Err(why.to_owned()));
    }
}
