//! JSON patch (RFC 6902): a list of operations, all or none.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::schema::decode;
use crate::status::{ApiError, ApiResult};

/// The most operations a patch may have (upstream's `maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;

/// One operation, not yet looked into: whether it can be done is answered differently from whether it can be read.
pub(super) type Operation = Value;

/// Reads the list, and notes fields that operations do not have.
pub(super) fn read(body: &[u8]) -> ApiResult<(Vec<Operation>, Vec<String>)> {
    let unreadable =
        |why: &dyn std::fmt::Display| ApiError::bad_request(format!("error decoding patch: {why}"));
    let decoded = decode::json(body, None).map_err(|error| unreadable(&error))?;
    let operations = match decoded.value {
        Value::Array(operations) => operations,
        other => {
            let found = kind_of(&other);
            let text = format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
            return Err(unreadable(&text));
        }
    };
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "Request entity is too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    let mut problems: Vec<String> =
        decoded.problems.iter().map(|problem| format!("json patch {problem}")).collect();
    for (at, operation) in operations.iter().enumerate() {
        let Value::Object(fields) = operation else {
            let found = kind_of(operation);
            return Err(unreadable(&format!(
                "json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp"
            )));
        };
        for (key, value) in fields {
            match key.as_str() {
                "value" => {}
                "op" | "path" | "from" if value.is_string() => {}
                "op" | "path" | "from" => {
                    let found = kind_of(value);
                    let text = format!(
                        "json: cannot unmarshal {found} into Go struct field jsonPatchOp.{key} of type string"
                    );
                    return Err(unreadable(&text));
                }
                _ => problems.push(format!("json patch unknown field \"[{at}].{key}\"")),
            }
        }
    }
    Ok((operations, problems))
}

/// The object after all operations. What cannot be done, a failed test too, is 422 without details, as upstream's.
pub(super) fn apply(operations: &[Operation], old: &Value) -> ApiResult<Value> {
    let mut new = old.clone();
    let mut steps = Vec::with_capacity(operations.len());
    for operation in operations {
        let step: PatchOperation =
            serde_json::from_value(absolute(operation, old)).map_err(|_| ApiError::unprocessable())?;
        steps.push(step);
    }
    json_patch::patch(&mut new, &steps).map_err(|_| ApiError::unprocessable())?;
    Ok(new)
}

/// Upstream's library counts `/-1` from the end of a list; RFC 6902 does not know that.
fn absolute(operation: &Operation, old: &Value) -> Value {
    let mut operation = operation.clone();
    for key in ["path", "from"] {
        let Some(path) = operation.get(key).and_then(Value::as_str) else { continue };
        let Some((parent, last)) = path.rsplit_once('/') else { continue };
        let back = last.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok());
        let length = old.pointer(parent).and_then(Value::as_array).map(Vec::len);
        if let (Some(back), Some(length)) = (back, length)
            && back > 0
            && back <= length
        {
            operation[key] = json!(format!("{parent}/{}", length - back));
        }
    }
    operation
}

/// What Go's decoder calls a value.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
