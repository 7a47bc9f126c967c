//! A pod template as the server's JSON: equality that ignores the hash label, the hash itself, and the pod
//! made from it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use objects::names;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The label that tells the pods of one ReplicaSet of a Deployment from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// `spec.template` of a workload, as the server sent it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Template(Value);

impl Template {
    /// The template's labels.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.0.pointer("/metadata/labels").and_then(Value::as_object);
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// The same template with one more label.
    pub(crate) fn with_label(&self, key: &str, value: &str) -> Self {
        let mut template = self.0.clone();
        if !template.is_object() {
            template = json!({});
        }
        let metadata = &mut template["metadata"];
        if !metadata.is_object() {
            *metadata = json!({});
        }
        if !metadata["labels"].is_object() {
            metadata["labels"] = json!({});
        }
        metadata["labels"][key] = json!(value);
        Self(template)
    }

    /// Whether both make the same pods; the hash label does not count.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }

    /// The value of the `pod-template-hash` label. Deterministic; `collisions` gives another value when a
    /// ReplicaSet of the first name belongs to somebody else.
    pub(crate) fn hash(&self, collisions: Option<i32>) -> String {
        // serde_json keeps the fields of a value in the order of their names.
        names::hash(self.canonical().to_string().as_bytes(), collisions)
    }

    /// The pod to create for `owner`, whose name begins with `prefix`.
    pub(crate) fn pod(&self, prefix: &str, owner: &OwnerReference) -> Value {
        let mut metadata = Map::new();
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) =
                self.0.pointer(&format!("/metadata/{field}")).filter(|value| !value.is_null())
            {
                metadata.insert(field.into(), value.clone());
            }
        }
        metadata.insert("generateName".into(), json!(format!("{prefix}-")));
        metadata.insert("ownerReferences".into(), json!([owner]));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.0["spec"]})
    }

    /// What equality and hash look at: no hash label, no nulls (older servers send `creationTimestamp: null`).
    fn canonical(&self) -> Value {
        let mut template = without_nulls(&self.0);
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
            if labels.is_empty() {
                template["metadata"].as_object_mut().map(|metadata| metadata.remove("labels"));
            }
        }
        template
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> Template {
        Template(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        }))
    }

    #[test]
    fn hash_label_and_nulls_do_not_count() {
        let plain = template("web:1");
        let mut labelled = plain.with_label(HASH_LABEL, "abc");
        labelled.0["metadata"]["creationTimestamp"] = Value::Null;
        assert!(plain.same_as(&labelled));
        assert_eq!(plain.hash(None), labelled.hash(None));
        assert!(!plain.same_as(&template("web:2")));
        assert_ne!(plain.hash(None), template("web:2").hash(None));
    }

    #[test]
    fn a_collision_gives_another_hash() {
        let hashes = [None, Some(0), Some(1)].map(|collisions| template("web:1").hash(collisions));
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[1], hashes[2]);
    }

    /// Names in clusters depend on it.
    #[test]
    fn hash_stays_what_it_is() {
        assert_eq!(template("web:1").hash(None), "794686fc5b");
    }

    #[test]
    fn a_pod_takes_labels_annotations_and_spec() {
        let owner = OwnerReference { name: "web-1".into(), ..OwnerReference::default() };
        let pod = template("web:1").with_label(HASH_LABEL, "abc").pod("web-1", &owner);
        assert_eq!(pod["metadata"]["generateName"], "web-1-");
        assert_eq!(pod["metadata"]["labels"], json!({"app": "web", HASH_LABEL: "abc"}));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "web-1");
        assert_eq!(pod["spec"]["containers"][0]["image"], "web:1");
    }
}
