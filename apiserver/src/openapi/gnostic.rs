//! The protobuf form of an OpenAPI v2 document, the only one that client-go asks for.
//!
//! Numbers from gnostic's `OpenAPIv2.proto`. Empty fields are left out, as proto3 does; values of any shape (defaults,
//! words of an enumeration, extensions) are YAML text, which JSON is.

use serde_json::{Map, Value};

use crate::schema::protobuf::Writer;

/// The media types clients ask with and the one they are answered with.
pub(super) const ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
pub(super) const SENT: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Writes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    message(|out| {
        text(out, 1, &document["swagger"]);
        out.bytes(
            2,
            &message(|info| {
                text(info, 1, &document["info"]["title"]);
                text(info, 2, &document["info"]["version"]);
            }),
        );
        out.bytes(8, &message(|paths| named(paths, 2, &document["paths"], path_item)));
        out.bytes(9, &message(|definitions| named(definitions, 1, &document["definitions"], schema)));
    })
}

fn path_item(item: &Value) -> Vec<u8> {
    const METHODS: [(u32, &str); 7] =
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    message(|out| {
        for (number, method) in METHODS {
            if let Some(found) = item.get(method) {
                out.bytes(number, &operation(found));
            }
        }
        each(out, 9, &item["parameters"], parameter);
    })
}

fn operation(value: &Value) -> Vec<u8> {
    message(|out| {
        texts(out, 1, &value["tags"]);
        text(out, 3, &value["description"]);
        text(out, 5, &value["operationId"]);
        texts(out, 6, &value["produces"]);
        texts(out, 7, &value["consumes"]);
        each(out, 8, &value["parameters"], parameter);
        out.bytes(9, &message(|responses| named(responses, 1, &value["responses"], response)));
        texts(out, 10, &value["schemes"]);
        extensions(out, 13, value);
    })
}

/// A `ParametersItem` that holds a `Parameter`, which is a body or one of four other places.
fn parameter(value: &Value) -> Vec<u8> {
    let place = value["in"].as_str().unwrap_or_default();
    let inner = message(|out| match place {
        "body" => out.bytes(
            1,
            &message(|body| {
                text(body, 1, &value["description"]);
                text(body, 2, &value["name"]);
                text(body, 3, &value["in"]);
                flag(body, 4, &value["required"]);
                body.bytes(5, &schema(&value["schema"]));
            }),
        ),
        _ => out.bytes(
            2,
            &message(|other| {
                // A path parameter has no "allow empty value", so its type has another number.
                let (number, ty, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
                other.bytes(
                    number,
                    &message(|parameter| {
                        flag(parameter, 1, &value["required"]);
                        text(parameter, 2, &value["in"]);
                        text(parameter, 3, &value["description"]);
                        text(parameter, 4, &value["name"]);
                        text(parameter, ty, &value["type"]);
                        flag(parameter, unique, &value["uniqueItems"]);
                    }),
                );
            }),
        ),
    });
    message(|out| out.bytes(1, &inner))
}

/// A `ResponseValue` that holds a `Response`.
fn response(value: &Value) -> Vec<u8> {
    let inner = message(|out| {
        text(out, 1, &value["description"]);
        if let Some(found) = value.get("schema") {
            out.bytes(2, &message(|item| item.bytes(1, &schema(found))));
        }
    });
    message(|out| out.bytes(1, &inner))
}

fn schema(value: &Value) -> Vec<u8> {
    message(|out| {
        text(out, 1, &value["$ref"]);
        text(out, 2, &value["format"]);
        text(out, 4, &value["description"]);
        if let Some(default) = value.get("default") {
            out.bytes(5, &any(default));
        }
        texts(out, 19, &value["required"]);
        each(out, 20, &value["enum"], any);
        if let Some(values) = value.get("additionalProperties") {
            out.bytes(21, &message(|item| item.bytes(1, &schema(values))));
        }
        if value["type"].is_string() {
            out.bytes(22, &message(|item| text(item, 1, &value["type"])));
        }
        if let Some(items) = value.get("items") {
            out.bytes(23, &message(|item| item.bytes(1, &schema(items))));
        }
        if let Some(properties) = value.get("properties") {
            out.bytes(25, &message(|all| named(all, 1, properties, schema)));
        }
        extensions(out, 31, value);
    })
}

/// `x-...` keys as a list of names and values.
fn extensions(out: &mut Writer, number: u32, value: &Value) {
    let all = value.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-"));
    let all: Map<String, Value> = all.map(|(key, value)| (key.clone(), value.clone())).collect();
    named(out, number, &Value::Object(all), any);
}

fn any(value: &Value) -> Vec<u8> {
    message(|out| out.text(2, &value.to_string()))
}

fn message(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

fn named(out: &mut Writer, number: u32, map: &Value, write: impl Fn(&Value) -> Vec<u8>) {
    for (name, value) in map.as_object().into_iter().flatten() {
        out.bytes(
            number,
            &message(|entry| {
                entry.text(1, name);
                entry.bytes(2, &write(value));
            }),
        );
    }
}

fn each(out: &mut Writer, number: u32, list: &Value, write: impl Fn(&Value) -> Vec<u8>) {
    list.as_array().into_iter().flatten().for_each(|item| out.bytes(number, &write(item)));
}

fn text(out: &mut Writer, number: u32, value: &Value) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        out.text(number, text);
    }
}

fn texts(out: &mut Writer, number: u32, list: &Value) {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).for_each(|item| out.text(number, item));
}

fn flag(out: &mut Writer, number: u32, value: &Value) {
    if value.as_bool() == Some(true) {
        out.int(number, 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_has_the_bytes_of_gnostic() {
        let value = json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#/d" } }, "x-k": [1] });
        let bytes = schema(&value);
        // 19: required; 22: type.
        assert!(bytes.starts_with(b"\x9a\x01\x01a\xb2\x01\x08\x0a\x06object"), "{bytes:x?}");
        // 25: properties, one entry named a with $ref as field 1; 31: the extension as YAML.
        let rest =
            b"\xca\x01\x0c\x0a\x0a\x0a\x01a\x12\x05\x0a\x03#/d\xfa\x01\x0c\x0a\x03x-k\x12\x05\x12\x03[1]";
        assert!(bytes.ends_with(rest), "{bytes:x?}");
    }

    #[test]
    fn parameters_of_each_place_have_their_own_message() {
        let query = parameter(&json!({ "in": "query", "name": "q", "type": "string" }));
        // parameter(1) > non body(2) > query(3) > in(2), name(4), type(6)
        assert_eq!(query, b"\x0a\x16\x12\x14\x1a\x12\x12\x05query\x22\x01q\x32\x06string");
        let path = parameter(&json!({ "in": "path", "name": "p", "type": "string", "required": true }));
        // parameter(1) > non body(2) > path(4) > required(1), in(2), name(4), type(5)
        assert_eq!(path, b"\x0a\x17\x12\x15\x22\x13\x08\x01\x12\x04path\x22\x01p\x2a\x06string");
    }
}
