//! OpenAPI v2 (Swagger): one document of everything, for clients from before v3.
//!
//! kubectl up to 1.23 (Debian 12 has 1.20) checks what it sends against it and refuses to work without. Made from the
//! documents of version 3, whose parts it spells differently.

use serde_json::{Map, Value, json};

/// Turns the paths and schemas of version 3 into one document of version 2.
pub(super) fn document(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> Value {
    let paths: Map<String, Value> =
        paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
    let definitions: Map<String, Value> =
        schemas.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": "1.36" },
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": { "BearerToken": {
            "type": "apiKey",
            "description": "Bearer Token authentication",
            "name": "authorization",
            "in": "header",
        } },
        "security": [{ "BearerToken": [] }],
    })
}

fn path_item(item: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in item.as_object().into_iter().flatten() {
        let converted = match key.as_str() {
            "parameters" => value.as_array().into_iter().flatten().map(parameter).collect(),
            _ => operation(value),
        };
        out.insert(key.clone(), converted);
    }
    out.into()
}

fn operation(three: &Value) -> Value {
    let mut out = three.clone();
    let Value::Object(operation) = &mut out else { return out };
    let mut parameters: Vec<Value> =
        three["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    if let Some(Value::Object(body)) = operation.remove("requestBody") {
        let content = body.get("content").and_then(Value::as_object);
        let media_types: Vec<&String> = content.into_iter().flat_map(Map::keys).collect();
        operation.insert("consumes".into(), json!(media_types));
        let first = content.and_then(|content| content.values().next());
        let mut parameter = json!({ "in": "body", "name": "body", "schema": schema(&first.unwrap_or(&Value::Null)["schema"]) });
        if body.contains_key("required") {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    if parameters.is_empty() {
        operation.remove("parameters");
    } else {
        operation.insert("parameters".into(), parameters.into());
    }
    let mut produces = Vec::new();
    let mut responses = Map::new();
    for (code, answer) in three["responses"].as_object().into_iter().flatten() {
        let mut response = json!({ "description": answer["description"] });
        if let Some(content) = answer["content"].as_object() {
            produces = content.keys().cloned().collect();
            if let Some(first) = content.values().next() {
                response["schema"] = schema(&first["schema"]);
            }
        }
        responses.insert(code.clone(), response);
    }
    operation.insert("responses".into(), responses.into());
    operation.insert("produces".into(), produces.into());
    operation.insert("schemes".into(), json!(["https"]));
    out
}

/// The type of a parameter stands in it, not in a schema of its own.
fn parameter(three: &Value) -> Value {
    let mut out = three.clone();
    if let Value::Object(parameter) = &mut out
        && let Some(Value::Object(schema)) = parameter.remove("schema")
    {
        parameter.extend(schema);
    }
    out
}

/// References have another prefix and need no wrapping; alternatives are strings.
fn schema(three: &Value) -> Value {
    match three {
        Value::Array(list) => list.iter().map(schema).collect(),
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(name)) => {
                        out.insert(
                            key.clone(),
                            name.replace("#/components/schemas/", "#/definitions/").into(),
                        );
                    }
                    ("allOf", Value::Array(parts)) => {
                        let parts = parts.iter().map(schema);
                        out.extend(parts.filter_map(|part| part.as_object().cloned()).flatten());
                    }
                    ("oneOf", _) => {
                        out.insert("type".into(), "string".into());
                    }
                    // Properties may be called like keywords.
                    ("properties", Value::Object(properties)) => {
                        let properties = properties.iter().map(|(name, value)| (name.clone(), schema(value)));
                        out.insert(key.clone(), Value::Object(properties.collect()));
                    }
                    // A default may hold any key.
                    ("default" | "enum" | "x-kubernetes-group-version-kind", value) => {
                        out.insert(key.clone(), value.clone());
                    }
                    (_, value) => {
                        out.insert(key.clone(), schema(value));
                    }
                }
            }
            out.into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_lose_their_wrapping() {
        let three = json!({ "properties": {
            "spec": { "allOf": [{ "$ref": "#/components/schemas/a.Spec" }], "default": {}, "description": "d" },
            "port": { "oneOf": [{ "type": "integer" }, { "type": "string" }], "format": "int-or-string" },
            "items": { "type": "array", "items": { "$ref": "#/components/schemas/a.Item" } },
            "default": { "$ref": "#/components/schemas/a.Item" },
        } });
        assert_eq!(
            schema(&three),
            json!({ "properties": {
                "spec": { "$ref": "#/definitions/a.Spec", "default": {}, "description": "d" },
                "port": { "type": "string", "format": "int-or-string" },
                "items": { "type": "array", "items": { "$ref": "#/definitions/a.Item" } },
                "default": { "$ref": "#/definitions/a.Item" },
            } })
        );
    }

    #[test]
    fn bodies_become_parameters() {
        let three = json!({
            "operationId": "x",
            "parameters": [{ "in": "query", "name": "dryRun", "schema": { "type": "string", "uniqueItems": true } }],
            "requestBody": { "required": true, "content": { "*/*": { "schema": { "$ref": "#/components/schemas/a" } } } },
            "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/a" } } } } },
        });
        assert_eq!(
            operation(&three),
            json!({
                "operationId": "x",
                "parameters": [
                    { "in": "query", "name": "dryRun", "type": "string", "uniqueItems": true },
                    { "in": "body", "name": "body", "required": true, "schema": { "$ref": "#/definitions/a" } },
                ],
                "consumes": ["*/*"],
                "produces": ["application/json"],
                "schemes": ["https"],
                "responses": { "200": { "description": "OK", "schema": { "$ref": "#/definitions/a" } } },
            })
        );
    }
}
