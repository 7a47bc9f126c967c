//! Values as upstream's error texts show them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::{Definition, Type};

/// The JSON of a patched object as upstream's patch library leaves it: what the patch touched is sorted by key, what
/// it did not is in the order of the Go struct, which is that of the protobuf numbers.
pub(super) fn patched(definition: Option<&Definition>, object: &Value, patch: Option<&Value>) -> String {
    let mut out = String::new();
    write(&mut out, Shape::Struct(definition), object, patch);
    out
}

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
    }
}

#[derive(Clone, Copy)]
enum Shape<'d> {
    Struct(Option<&'d Definition>),
    Of(&'d Type),
}

impl<'d> Shape<'d> {
    fn definition(self) -> Option<&'d Definition> {
        match self {
            Self::Struct(definition) => definition,
            Self::Of(Type::Object(definition)) => Some(definition),
            Self::Of(_) => None,
        }
    }

    fn field(self, key: &str) -> Self {
        match self {
            Self::Of(Type::Map(values)) => Self::Of(values),
            _ => match self.definition().and_then(|definition| definition.field(key)) {
                Some(field) => Self::Of(&field.ty),
                None => Self::Struct(None),
            },
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Of(Type::List(items)) => Self::Of(items),
            _ => Self::Struct(None),
        }
    }
}

fn write(out: &mut String, shape: Shape<'_>, value: &Value, patch: Option<&Value>) {
    match value {
        Value::Object(map) => {
            let patch = patch.and_then(Value::as_object);
            out.push('{');
            for (at, key) in keys(shape.definition(), map, patch.is_some()).into_iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(out, "{comma}{}:", Value::from(key));
                write(out, shape.field(key), &map[key], patch.and_then(|patch| patch.get(key)));
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, shape.item(), item, None);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn keys<'m>(definition: Option<&Definition>, map: &'m Map<String, Value>, touched: bool) -> Vec<&'m str> {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
    if let (Some(definition), false) = (definition, touched) {
        keys.sort_by_key(|key| place(definition, key));
    }
    keys
}

/// Where a field stands in its struct: the type first, then by number; members of embedded structs where those are.
fn place(definition: &Definition, key: &str) -> (u32, u32) {
    let number = definition.field(key).map_or(u32::MAX, |field| field.number);
    if number != 0 {
        return (number, 0);
    }
    let embedded = definition.embedded.iter().find_map(|embedded| {
        let field = embedded.definition.field(key)?;
        Some((embedded.number, field.number))
    });
    embedded.unwrap_or(if key == "kind" { (0, 0) } else { (0, 1) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Registry;

    #[test]
    fn untouched_parts_keep_the_order_of_their_struct() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "bogus": 1, "data": {"b": "1", "a": "2"},
            "metadata": {"creationTimestamp": "t", "labels": {"z": "1"}, "name": "c", "namespace": "n", "uid": "u"},
        });
        let definition = Registry::builtin().for_kind("", "v1", "ConfigMap");
        assert_eq!(
            patched(definition, &object, Some(&json!({"bogus": 1}))),
            r#"{"apiVersion":"v1","bogus":1,"data":{"a":"2","b":"1"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"n","uid":"u","creationTimestamp":"t","labels":{"z":"1"}}}"#
        );
        let touched = json!({"metadata": {"labels": {"z": "1"}}});
        let sorted = patched(definition, &object, Some(&touched));
        assert!(
            sorted.contains(r#""metadata":{"creationTimestamp":"t","labels":{"z":"1"},"name":"c""#),
            "{sorted}"
        );
    }

    #[test]
    fn go_prints_maps_its_own_way() {
        assert_eq!(go_text(&json!({"b": [1, "x"], "a": {"n": null}})), "map[a:map[n:<nil>] b:[1 x]]");
    }
}
