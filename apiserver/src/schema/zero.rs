//! Zero values and stated defaults: what is left out of an answer, what is there although nobody sent it.
//!
//! Upstream decodes into Go structs and encodes those, so an answer never has an empty list under `omitempty`
//! and always has the fields that Go writes (`"resources": {}`, `"rules": null`). Defaults that the schema states
//! (`"protocol": "TCP"`) come the same way; the richer ones are the kinds' own. [`settle`] brings a value that
//! was changed in memory into that form; what came through [`super::check`] already is.

use serde_json::{Map, Value};

use super::definition::{Definition, Field, Presence, Type};

/// Drops what upstream leaves out, adds what it always writes and the stated defaults, everywhere below `object`.
pub fn settle(definition: &Definition, object: &mut Value) {
    let Value::Object(object) = object else { return };
    for field in &definition.fields {
        let Some(value) = object.get_mut(field.json.as_ref()) else { continue };
        settle_value(&field.ty, value);
        if is_absent(field, value) {
            object.remove(field.json.as_ref());
        }
    }
    fill(definition, object);
}

fn settle_value(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (
            Type::Object(definition)
            | Type::OrBool(definition)
            | Type::OrList(definition)
            | Type::OrStrings(definition),
            value @ Value::Object(_),
        ) => settle(definition, value),
        (Type::OrList(definition), Value::Array(list)) => {
            list.iter_mut().for_each(|item| settle(definition, item))
        }
        (Type::List(items), Value::Array(list)) if holds_objects(items) => {
            list.iter_mut().for_each(|item| settle_value(items, item));
        }
        (Type::Map(values), Value::Object(map)) if holds_objects(values) => {
            map.values_mut().for_each(|value| settle_value(values, value));
        }
        _ => {}
    }
}

fn holds_objects(ty: &Type) -> bool {
    match ty {
        Type::Object(_) | Type::OrBool(_) | Type::OrList(_) | Type::OrStrings(_) => true,
        Type::List(inner) | Type::Map(inner) => holds_objects(inner),
        _ => false,
    }
}

/// Adds the fields that have a default or are always written, and are not there.
pub(super) fn fill(definition: &Definition, object: &mut Map<String, Value>) {
    for field in &definition.fields {
        let missing = match (stated_default(field), field.presence) {
            (Some(default), _) => default.clone(),
            (None, Presence::Written) => zero(&field.ty),
            (None, Presence::Nullable) => Value::Null,
            (None, Presence::Dropped | Presence::Kept) => continue,
        };
        if !object.contains_key(field.json.as_ref()) {
            object.insert(field.json.clone().into_owned(), missing);
        }
    }
}

/// A default that says more than the zero OpenAPI states for every value Go always writes.
fn stated_default(field: &Field) -> Option<&Value> {
    let default = field.default.as_ref()?;
    let nothing = match default {
        Value::Object(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(value) => !value,
        _ => false,
    };
    (!nothing || field.presence == Presence::Kept).then_some(default)
}

/// Whether the value counts as not set.
pub(super) fn is_absent(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::Dropped => is_empty(&field.ty, value),
        // An empty list is stored as none: upstream's storage format cannot tell them apart.
        Presence::Written => value.is_null() || (is_collection(&field.ty) && is_empty(&field.ty, value)),
        Presence::Kept | Presence::Nullable => value.is_null(),
    }
}

fn is_collection(ty: &Type) -> bool {
    matches!(ty, Type::List(_) | Type::Map(_) | Type::Wrapped(_))
}

/// What Go writes for a value nobody set.
pub(super) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Float64 | Type::IntOrString => Value::from(0),
        Type::String => Value::from(""),
        Type::Quantity => Value::from("0"),
        Type::Object(definition) => zero_object(definition),
        _ => Value::Null,
    }
}

pub(super) fn zero_object(definition: &Definition) -> Value {
    let mut object = Map::new();
    fill(definition, &mut object);
    Value::Object(object)
}

/// Whether Go's `omitempty` leaves the value out. Structs are never empty to it.
fn is_empty(ty: &Type, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => {
            number.as_f64() == Some(0.0) && !matches!(ty, Type::IntOrString | Type::RawValue)
        }
        Value::String(text) => text.is_empty() && matches!(ty, Type::String | Type::Bytes),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty() && matches!(ty, Type::Map(_)),
    }
}
