//! Tables from upstream's documentation of strategic merge patch, and from what its server answers.

use serde_json::json;

use super::*;
use crate::schema::Registry;

fn pod() -> &'static Definition {
    Registry::builtin().for_kind("", "v1", "Pod").unwrap()
}

fn config_map() -> &'static Definition {
    Registry::builtin().for_kind("", "v1", "ConfigMap").unwrap()
}

/// Applies a strategic patch to the `spec` of a pod.
fn spec(old: Value, patch: Value) -> Result<Value, StrategicError> {
    let patch = json!({ "spec": patch });
    let new = strategic(pod(), &json!({ "spec": old }), patch.as_object().unwrap())?;
    Ok(new["spec"].clone())
}

fn containers(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
}

#[test]
fn lists_with_a_merge_key_merge_by_it() {
    let old = json!({"containers": containers(&[("a", "1"), ("b", "1")])});
    for (what, patch, wanted) in [
        ("change", json!([{"name": "b", "image": "2"}]), containers(&[("a", "1"), ("b", "2")])),
        (
            "add: before what the server has alone",
            json!([{"name": "c", "image": "1"}]),
            containers(&[("c", "1"), ("a", "1"), ("b", "1")]),
        ),
        ("delete", json!([{"name": "a", "$patch": "delete"}]), containers(&[("b", "1")])),
        (
            "delete what is not there",
            json!([{"name": "x", "$patch": "delete"}]),
            containers(&[("a", "1"), ("b", "1")]),
        ),
        ("replace", json!([{"$patch": "replace"}, {"name": "c", "image": "3"}]), containers(&[("c", "3")])),
        ("replace by nothing", json!([{"$patch": "replace"}]), json!([])),
        ("replace one item", json!([{"name": "a", "$patch": "replace", "image": "9"}]), json!([])),
    ] {
        let new = spec(old.clone(), json!({ "containers": patch })).unwrap();
        assert_eq!(new["containers"], wanted, "{what}");
    }
}

#[test]
fn a_field_of_an_item_can_be_removed_and_replaced() {
    let old = json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "args": ["x", "y"]}]});
    let patch = json!({"containers": [{"name": "a", "image": null, "env": [{"name": "Y", "value": "2"}], "args": ["z"]}]});
    let wanted = json!([{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "args": ["z"]}]);
    assert_eq!(spec(old, patch).unwrap()["containers"], wanted);
}

#[test]
fn the_order_of_elements_can_be_set() {
    let old = json!({"containers": containers(&[("a", "1"), ("b", "1"), ("c", "1")])});
    for (what, order, patch, wanted) in [
        ("reorder", json!(["c", "b", "a"]), json!([]), vec!["c", "b", "a"]),
        (
            "reorder some: the others stay where the server has them",
            json!(["c", "a"]),
            json!([]),
            vec!["b", "c", "a"],
        ),
        ("add in the middle", json!(["a", "d", "b", "c"]), json!([{"name": "d"}]), vec!["a", "d", "b", "c"]),
        (
            "add, and keep one the patch does not know",
            json!(["a", "d", "c"]),
            json!([{"name": "d"}]),
            vec!["a", "d", "b", "c"],
        ),
        (
            "delete",
            json!(["b"]),
            json!([{"name": "a", "$patch": "delete"}, {"name": "c", "$patch": "delete"}]),
            vec!["b"],
        ),
    ] {
        let order: Value = order.as_array().unwrap().iter().map(|name| json!({"name": name})).collect();
        let new =
            spec(old.clone(), json!({"$setElementOrder/containers": order, "containers": patch})).unwrap();
        let names: Vec<&str> =
            new["containers"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{what}");
    }
    let wrong = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": containers(&[("a", "2"), ("b", "2")])});
    assert!(matches!(spec(old, wrong), Err(StrategicError::OrderMismatch { .. })));
}

#[test]
fn lists_of_scalars_merge_as_sets() {
    let meta = |old: Value, patch: Value| {
        let patch = json!({ "metadata": patch });
        let new =
            strategic(pod(), &json!({"metadata": {"finalizers": old}}), patch.as_object().unwrap()).unwrap();
        new["metadata"]["finalizers"].clone()
    };
    for (what, old, patch, wanted) in [
        ("add", json!(["a", "b"]), json!({"finalizers": ["c"]}), json!(["c", "a", "b"])),
        ("add what is there", json!(["a", "b"]), json!({"finalizers": ["b"]}), json!(["a", "b"])),
        (
            "delete",
            json!(["a", "b", "a"]),
            json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
            json!(["b"]),
        ),
        (
            "delete from nothing",
            json!(null),
            json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
            json!(null),
        ),
        (
            "delete, add and order",
            json!(["a", "b", "c"]),
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["d", "b"], "finalizers": ["d"]}),
            json!(["d", "b", "c"]),
        ),
    ] {
        assert_eq!(meta(old, patch), wanted, "{what}");
    }
}

#[test]
fn maps_merge_unless_a_directive_says_otherwise() {
    for (what, old, patch, wanted) in [
        (
            "merge",
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"b": "2", "c": "3"}}),
        ),
        (
            "replace",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "replace", "c": "3"}}),
            json!({"nodeSelector": {"c": "3"}}),
        ),
        (
            "delete",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            "nothing there: nulls and directives go",
            json!({}),
            json!({"nodeSelector": {"a": null, "b": "1"}, "securityContext": {"$patch": "delete"}}),
            json!({"nodeSelector": {"b": "1"}}),
        ),
        (
            "list without strategy",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "another type",
            json!({"nodeName": "a"}),
            json!({"nodeName": {"x": 1}}),
            json!({"nodeName": {"x": 1}}),
        ),
    ] {
        assert_eq!(spec(old, patch).unwrap(), wanted, "{what}");
    }
}

#[test]
fn retained_keys_clear_the_members_of_a_union() {
    let old = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let patch =
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]});
    assert_eq!(
        spec(old.clone(), patch).unwrap()["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/x"}}])
    );
    let wrong = json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/x"}}]});
    assert_eq!(spec(old, wrong), Err(StrategicError::RetainKeys));
}

#[test]
fn bad_strategic_patches_are_refused() {
    let old = json!({"containers": containers(&[("a", "1")])});
    for (patch, text) in [
        (
            json!({"containers": [{"image": "x"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "bogus"}]}),
            "unknown patch type: bogus in map: map[$patch:bogus name:a]",
        ),
        (json!({"$patch": "bogus"}), "unknown patch type: bogus in map: map[$patch:bogus]"),
        (json!({"containers": ["x"]}), "list element types are not identical: [map[image:1 name:a] x]"),
        (json!({"containers": [["x"]]}), "lists of lists are not supported"),
        (json!({"$setElementOrder/containers": "x"}), "invalid patch format of setElementOrder list"),
    ] {
        assert_eq!(spec(old.clone(), patch).unwrap_err().to_string(), text);
    }
}

fn apply(media_type: &str, patch: &Value, strict: bool) -> ApiResult<Value> {
    let old = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let patch = Patch::read(media_type, patch.to_string().as_bytes()).unwrap()?;
    patch.apply(config_map(), &old, strict).map(|patched| patched.object)
}

#[test]
fn json_patches_apply_all_or_nothing() {
    let data = |patch: Value| apply(JSON_PATCH, &patch, false).map(|object| object["data"].clone());
    let good = json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "copy", "from": "/data/a", "path": "/data/b"},
        {"op": "move", "from": "/data/a", "path": "/data/c"},
        {"op": "replace", "path": "/data/b", "value": "2"},
    ]);
    assert_eq!(data(good).unwrap(), json!({"b": "2", "c": "1"}));
    for bad in [
        json!([{"op": "test", "path": "/data/a", "value": "9"}]),
        json!([{"op": "remove", "path": "/data/zz"}]),
        json!([{"op": "bogus", "path": "/x"}]),
        json!([{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "add", "path": "/no/where", "value": 1}]),
    ] {
        let error = data(bad.clone()).unwrap_err();
        assert_eq!(
            error.message(),
            "the server rejected our request due to an error in our request",
            "{bad}"
        );
    }
    let error = data(json!({"op": "x"})).unwrap_err();
    assert_eq!(
        error.message(),
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    let many: Value =
        std::iter::repeat_n(json!({"op": "test", "path": "/data/a", "value": "1"}), 10_001).collect();
    assert_eq!(data(many).unwrap_err().code(), 413);
}

#[test]
fn the_end_of_a_list_can_be_named_backwards() {
    let old = json!({"metadata": {"finalizers": ["a/a", "b/b"]}});
    let patch = json!([{"op": "remove", "path": "/metadata/finalizers/-1"}]);
    let patch = Patch::read(JSON_PATCH, patch.to_string().as_bytes()).unwrap().unwrap();
    assert_eq!(
        patch.apply(config_map(), &old, false).unwrap().object,
        json!({"metadata": {"finalizers": ["a/a"]}})
    );
}

#[test]
fn merge_patches_delete_by_null() {
    let new = apply(MERGE_PATCH, &json!({"data": {"a": null, "c": "3"}}), false).unwrap();
    assert_eq!(new["data"], json!({"c": "3"}));
    assert_eq!(
        apply(MERGE_PATCH, &json!({"data": null}), false).unwrap(),
        json!({"metadata": {"name": "c"}})
    );
    assert_eq!(
        apply(MERGE_PATCH, &json!([]), false).unwrap_err().message(),
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
    );
}

#[test]
fn strict_readers_see_what_they_could_not_use() {
    let error = apply(STRATEGIC_MERGE_PATCH, &json!({"bogus": 1}), true).unwrap_err();
    assert_eq!(
        error.message(),
        " \"\" is invalid: patch: Invalid value: \"map[bogus:1]\": strict decoding error: unknown field \"bogus\""
    );
    let error = apply(MERGE_PATCH, &json!({"bogus": 1}), true).unwrap_err();
    assert_eq!(
        error.message(),
        " \"\" is invalid: patch: Invalid value: \"{\\\"bogus\\\":1,\\\"data\\\":{\\\"a\\\":\\\"1\\\"},\\\"metadata\\\":{\\\"name\\\":\\\"c\\\"}}\": \
         strict decoding error: unknown field \"bogus\""
    );
    let patch = Patch::read(MERGE_PATCH, br#"{"bogus":1,"data":{"x":"1","x":"2"}}"#).unwrap().unwrap();
    let patched = patch.apply(config_map(), &json!({"metadata": {"name": "c"}}), false).unwrap();
    assert_eq!(patched.problems, ["duplicate field \"data.x\"", "unknown field \"bogus\""]);
    assert_eq!(patched.object, json!({"metadata": {"name": "c"}, "data": {"x": "2"}}));
}

#[test]
fn a_patch_that_breaks_the_type_is_invalid() {
    let error = apply(MERGE_PATCH, &json!({"data": 5}), false).unwrap_err();
    assert_eq!(error.code(), 422);
    assert!(error.message().ends_with(
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string"
    ));
}
