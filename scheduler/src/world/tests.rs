//! Files as kubectl writes them, and what is wrong with those that it did not write.

use super::*;
use component::telemetry::chain;
use std::path::Path;

fn names(text: &str) -> Result<Vec<String>, String> {
    let objects = dump::parse(text, Path::new("F")).map_err(|error| chain(&error))?;
    Ok(objects
        .iter()
        .map(|object| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
        })
        .collect())
}

#[test]
fn reads_lists_and_documents() {
    let list = "apiVersion: v1\nkind: List\nitems:\n\
        - {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {apiVersion: v1, kind: Node, metadata: {name: b}}\n";
    let documents = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n# nothing\n---\n\
        apiVersion: v1\nkind: Node\nmetadata: {name: b}\n";
    let json = r#"{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}]}
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}"#;
    for text in [list, documents, json] {
        assert_eq!(names(text).unwrap(), ["Pod/a", "Node/b"], "{text}");
    }
}

#[test]
fn says_what_is_wrong_with_a_file() {
    for (text, want) in [
        ("", "F has no objects in it"),
        ("kind: List\napiVersion: v1\nitems: []\n", "F has no objects in it"),
        ("hello", "document 1 of F is no Kubernetes object: it has no kind"),
        ("kind: Pod\n", "document 1 of F is no Kubernetes object: it has no apiVersion"),
        ("{apiVersion: v1, kind: Pod}", "document 1 of F is no Kubernetes object: it has no metadata.name"),
        (
            "kind: List\napiVersion: v1\nitems: 3\n",
            "document 1 of F is no Kubernetes object: it has no items",
        ),
    ] {
        assert_eq!(names(text).unwrap_err(), want, "{text:?}");
    }
    let broken = names("{\"kind\": ").unwrap_err();
    assert!(broken.starts_with("F is neither JSON nor YAML: "), "{broken}");
}

#[test]
fn an_object_of_another_shape_is_named() {
    let mut world = World::default();
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"},
        "spec": {"containers": 3}});
    let error = chain(&world.add(pod).unwrap_err());
    assert!(error.starts_with("Pod n/a is not valid: invalid type: integer `3`"), "{error}");
    let other = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    assert!(!world.add(other).unwrap(), "nothing to do with scheduling");
    assert_eq!(world.priorities.of(Some("system-node-critical")), Some(2_000_001_000));
    assert_eq!(world.priorities.of(Some("none-such")), None);
}
