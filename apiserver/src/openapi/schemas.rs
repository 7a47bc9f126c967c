//! Definitions as JSON schemas, the way upstream's documents write them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::kinds::Kinds;
use crate::schema::{Definition, Descriptions, Field, GroupVersionKind, List, Registry, Structure, Type};

const PREFIX: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// `{"$ref": ...}`.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{name}") })
}

/// Collects the names that references inside `value` lead to.
pub(super) fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) =
                map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix(PREFIX))
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// The schemas of these names and of all that they refer to.
pub(super) fn reachable(
    mut wanted: BTreeSet<String>,
    kinds: &Kinds,
    descriptions: &Descriptions,
) -> Map<String, Value> {
    let mut schemas = Map::new();
    while let Some(name) = wanted.pop_first() {
        let Some(definition) = Registry::builtin().definition(&name) else { continue };
        let schema = schema(definition, descriptions, kinds);
        let mut found = BTreeSet::new();
        references(&schema, &mut found);
        schemas.insert(name, schema);
        wanted.extend(found.into_iter().filter(|name| !schemas.contains_key(name)));
    }
    schemas
}

fn schema(definition: &Definition, descriptions: &Descriptions, kinds: &Kinds) -> Value {
    let mut schema = scalar(definition).unwrap_or_else(|| object(definition, descriptions));
    let about = descriptions.of(&definition.name);
    if !about.is_empty() {
        schema["description"] = about.into();
    }
    let served = served_as(definition, kinds);
    if !served.is_empty() {
        schema["x-kubernetes-group-version-kind"] = served.into();
    }
    schema
}

/// Definitions that are one JSON value.
fn scalar(definition: &Definition) -> Option<Value> {
    let string_or = |other: &str| json!([{ "type": "string" }, { "type": other }]);
    Some(match definition.short_name() {
        _ if !definition.fields.is_empty() => return None,
        "Time" | "MicroTime" => json!({ "type": "string", "format": "date-time" }),
        "Quantity" => json!({ "oneOf": string_or("number") }),
        "IntOrString" => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        name if name.starts_with("JSON") => json!({}),
        _ => json!({ "type": "object" }),
    })
}

fn object(definition: &Definition, descriptions: &Descriptions) -> Value {
    let mut properties = Map::new();
    for field in &definition.fields {
        let about = descriptions.of_field(&definition.name, &field.json);
        properties.insert(field.json.to_string(), property(field, about));
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    let required: Vec<&str> =
        definition.fields.iter().filter(|field| field.required).map(|field| field.json.as_ref()).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if let Some(word) = structure(definition.structure) {
        schema["x-kubernetes-map-type"] = word.into();
    }
    if let Some(discriminator) = &definition.union {
        schema["x-kubernetes-unions"] = json!([union(definition, discriminator)]);
    }
    schema
}

fn property(field: &Field, about: String) -> Value {
    let mut property = ty(&field.ty, &field.values);
    // Nothing may stand beside a reference, so it is wrapped as soon as there is more to say.
    if property.get("$ref").is_some() && (!about.is_empty() || field.default.is_some()) {
        property = json!({ "allOf": [property] });
    }
    if !about.is_empty() {
        property["description"] = about.into();
    }
    if let Some(default) = &field.default {
        property["default"] = default.clone();
    }
    match &field.list {
        List::Unstated => {}
        List::Atomic => property["x-kubernetes-list-type"] = "atomic".into(),
        List::Set => property["x-kubernetes-list-type"] = "set".into(),
        List::Map(keys) => {
            property["x-kubernetes-list-type"] = "map".into();
            property["x-kubernetes-list-map-keys"] = keys.iter().map(|key| key.as_ref()).collect();
        }
    }
    if let Some(word) = structure(field.map) {
        property["x-kubernetes-map-type"] = word.into();
    }
    if let Some(patch) = &field.patch {
        if !patch.strategy.is_empty() {
            property["x-kubernetes-patch-strategy"] = patch.strategy.as_ref().into();
        }
        if let Some(key) = &patch.key {
            property["x-kubernetes-patch-merge-key"] = key.as_ref().into();
        }
    }
    property
}

fn ty(ty_: &Type, values: &[std::borrow::Cow<'static, str>]) -> Value {
    match ty_ {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int32 => json!({ "type": "integer", "format": "int32" }),
        Type::Int64 => json!({ "type": "integer", "format": "int64" }),
        Type::Float64 => json!({ "type": "number", "format": "double" }),
        Type::String if values.is_empty() => json!({ "type": "string" }),
        Type::String => json!({ "type": "string", "enum": values }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::List(items) => json!({ "type": "array", "items": ty(items, values) }),
        Type::Map(inner) => json!({ "type": "object", "additionalProperties": ty(inner, values) }),
        Type::Wrapped(list) => ty(list, values),
        Type::Quantity => reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        Type::IntOrString => reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
        Type::Time => reference(&format!("{META}Time")),
        Type::MicroTime => reference(&format!("{META}MicroTime")),
        Type::RawObject(name) => reference(name),
        Type::RawValue => reference("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"),
        Type::Object(definition) => reference(definition.name()),
        Type::OrBool(props) => reference(&format!("{}OrBool", props.name())),
        Type::OrList(props) => reference(&format!("{}OrArray", props.name())),
        Type::OrStrings(props) => reference(&format!("{}OrStringArray", props.name())),
    }
}

fn structure(structure: Structure) -> Option<&'static str> {
    match structure {
        Structure::Unstated => None,
        Structure::Granular => Some("granular"),
        Structure::Atomic => Some("atomic"),
    }
}

/// One member of the union is set; the discriminator, if there is one, says which.
fn union(definition: &Definition, discriminator: &str) -> Value {
    let members = definition.fields.iter().filter(|field| field.json != discriminator);
    let by: Map<String, Value> =
        members.map(|field| (field.json.to_string(), upper_first(&field.json).into())).collect();
    let mut union = json!({ "fields-to-discriminateBy": by });
    if !discriminator.is_empty() {
        union["discriminator"] = discriminator.into();
    }
    union
}

pub(super) fn upper_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The kinds a definition is sent as. Options and watch events belong to every group.
fn served_as(definition: &Definition, kinds: &Kinds) -> Vec<Value> {
    let everywhere = ["DeleteOptions", "WatchEvent"].contains(&definition.short_name());
    if everywhere && definition.name.starts_with(META) {
        let mut versions: BTreeSet<(&str, &str)> = BTreeSet::new();
        versions.extend(kinds.all().iter().map(|kind| (kind.group.as_ref(), kind.version.as_ref())));
        let kind = definition.short_name();
        return versions.iter().map(|(group, version)| gvk(group, version, kind)).collect();
    }
    let own = |kind: &GroupVersionKind| gvk(&kind.group, &kind.version, &kind.kind);
    definition.kind.iter().map(own).collect()
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}
