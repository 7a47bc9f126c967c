//! Reading and writing fields of an object that is still a `serde_json::Value`.
//!
//! Promise: reads never fail (a missing or mistyped field reads as absent), writes create the
//! objects on the way. No knowledge of kinds beyond `metadata`.

use serde_json::{Map, Value};

/// The object's `metadata`, or null.
pub fn meta(object: &Value) -> &Value {
    object.get("metadata").unwrap_or(&Value::Null)
}

/// The object's `metadata` for writing; made when absent or not an object.
pub fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    child_mut(object, "metadata")
}

/// `metadata.name`, or empty.
pub fn name(object: &Value) -> &str {
    meta_str(object, "name")
}

/// `metadata.namespace`, or empty.
pub fn namespace(object: &Value) -> &str {
    meta_str(object, "namespace")
}

/// `metadata.uid`, or empty.
pub fn uid(object: &Value) -> &str {
    meta_str(object, "uid")
}

/// `metadata.resourceVersion`, or empty.
pub fn resource_version(object: &Value) -> &str {
    meta_str(object, "resourceVersion")
}

/// A string of `metadata`, or empty.
pub fn meta_str<'a>(object: &'a Value, key: &str) -> &'a str {
    meta(object).get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    meta(object).get("labels").and_then(Value::as_object)
}

/// `metadata.finalizers`, in order.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    meta(object).get("finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_deleting(object: &Value) -> bool {
    !meta_str(object, "deletionTimestamp").is_empty()
}

/// The value at a path of keys.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key)).filter(|v| !v.is_null())
}

/// The string at a path of keys, or empty.
pub fn str_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path of keys.
pub fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// The boolean at a path of keys, false when absent.
pub fn bool_at(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a path of keys, empty when absent.
pub fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Writes a value at a path of keys, making the objects on the way.
pub fn set_at(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut here = object;
    for key in parents {
        let map = as_map(here);
        here = map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    as_map(here).insert((*last).to_owned(), value.into());
}

/// Takes the value at a path of keys away.
pub fn remove_at(object: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(object, |value, key| value.get_mut(key))?;
    parent.as_object_mut()?.remove(*last)
}

/// Copies the field `key` of `from` onto `to`, or removes it where `from` has none.
pub fn carry_over(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => {
            as_map(to).insert(key.to_owned(), value.clone());
        }
        None => {
            as_map(to).remove(key);
        }
    }
}

/// The object under `key` for writing; made when absent or of another type.
pub fn child_mut<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    as_map(as_map(object).entry(key.to_owned()).or_insert(Value::Null))
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_of_absent_fields_are_empty() {
        let object = json!({"metadata": {"name": 3}});
        assert_eq!(name(&object), "");
        assert_eq!(str_at(&object, &["spec", "nodeName"]), "");
        assert!(list_at(&object, &["spec", "containers"]).is_empty());
    }

    #[test]
    fn writes_make_the_objects_on_the_way() {
        let mut object = json!({"spec": null});
        set_at(&mut object, &["spec", "a", "b"], 1);
        assert_eq!(object, json!({"spec": {"a": {"b": 1}}}));
        assert_eq!(remove_at(&mut object, &["spec", "a", "b"]), Some(json!(1)));
        assert_eq!(remove_at(&mut object, &["no", "such"]), None);
    }
}
