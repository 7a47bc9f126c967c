//! Binds by POST to `pods/NAME/binding`, naming the pod's UID so that a pod made anew under the name is not bound.

use crate::framework::{Bind, Plugin};
use crate::pod::{NodeName, PodInfo};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's DefaultBinder.
#[derive(Debug)]
pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

impl Bind for DefaultBinder {
    fn binding(&self, pod: &Arc<PodInfo>, node: &NodeName) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": pod.namespace(), "name": pod.name(), "uid": &*pod.uid},
            "target": {"kind": "Node", "name": &**node},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::pod;

    #[test]
    fn names_pod_and_node() {
        assert_eq!(
            DefaultBinder.binding(&pod("p", json!({})), &"n".into()),
            json!({"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"},
                "metadata": {"namespace": "default", "name": "p", "uid": "p"}})
        );
    }
}
