//! What is wrong with the rules by which a Job fails or succeeds early.
//!
//! Source: kubernetes `pkg/apis/batch/validation`.

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;

const RULES: usize = 20;
const CODES: usize = 255;
const CONDITIONS: usize = 20;

/// `podFailurePolicy`, in a job's spec.
pub(super) fn failure(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let rules_at = at.child("rules");
    let rules = spec["podFailurePolicy"].list("rules");
    if rules.len() > RULES {
        errors.push(FieldError::too_many(rules_at, rules.len(), RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = rules_at.index(index);
        action(at.child("action"), rule.text("action"), spec, errors);
        match (rule.has("onExitCodes"), !rule.list("onPodConditions").is_empty()) {
            (true, true) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid_unshown(at, why));
            }
            (false, false) => {
                let why = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid_unshown(at, why));
            }
            _ => {}
        }
        if rule.has("onExitCodes") {
            exit_codes(at.child("onExitCodes"), &rule["onExitCodes"], spec, errors);
        }
        conditions(at.child("onPodConditions"), rule.list("onPodConditions"), errors);
    }
}

fn action(at: Path<'_>, action: &str, spec: &Value, errors: &mut FieldErrors) {
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    match action {
        "" => errors.push(FieldError::required(at, valid_values(&ACTIONS))),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            errors.push(FieldError::invalid(at, action, "requires the backoffLimitPerIndex to be set"));
        }
        _ => checks::maybe_one_of(at, action, &ACTIONS, errors),
    }
}

fn exit_codes(at: Path<'_>, on: &Value, spec: &Value, errors: &mut FieldErrors) {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    match on.text("operator") {
        "" => errors.push(FieldError::required(at.child("operator"), valid_values(&OPERATORS))),
        operator => checks::maybe_one_of(at.child("operator"), operator, &OPERATORS, errors),
    }
    let template = &spec["template"]["spec"];
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| template.list(list));
    let name = on.text("containerName");
    if on.has("containerName") && !containers.into_iter().any(|container| container.text("name") == name) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(at.child("containerName"), name, why));
    }
    let values_at = at.child("values");
    let values: Vec<i64> = on.list("values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(FieldError::invalid(values_at, values.clone(), "at least one value is required"));
    } else if values.len() > CODES {
        errors.push(FieldError::too_many(values_at, values.len(), CODES));
    }
    for (index, value) in values.iter().enumerate() {
        if on.text("operator") == "In" && *value == 0 {
            errors.push(FieldError::invalid(values_at.index(index), 0, "must not be 0 for the In operator"));
        }
        if values[..index].contains(value) {
            errors.push(FieldError::duplicate(values_at.index(index), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(values_at, values, "must be ordered"));
    }
}

fn conditions(at: Path<'_>, conditions: &[Value], errors: &mut FieldErrors) {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    if conditions.len() > CONDITIONS {
        errors.push(FieldError::too_many(at, conditions.len(), CONDITIONS));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let at = at.index(index);
        checks::qualified(at.child("type"), condition.text("type"), errors);
        match condition.text("status") {
            "" => errors.push(FieldError::required(at.child("status"), valid_values(&STATUSES))),
            status => checks::maybe_one_of(at.child("status"), status, &STATUSES, errors),
        }
    }
}

/// `successPolicy`, in a job's spec.
pub(super) fn success(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let rules_at = at.child("rules");
    let rules = spec["successPolicy"].list("rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(rules_at, why));
    }
    if rules.len() > RULES {
        errors.push(FieldError::too_many(rules_at, rules.len(), RULES));
    }
    let completions = spec.int("completions").unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let at = rules_at.index(index);
        if !rule.has("succeededCount") && !rule.has("succeededIndexes") {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(at, why));
        }
        let count_at = at.child("succeededCount");
        checks::not_negative(count_at, rule.int("succeededCount"), errors);
        if let Some(count) = rule.int("succeededCount").filter(|count| *count > completions) {
            let why =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(FieldError::invalid(count_at, count, why));
        }
    }
}

fn valid_values(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| crate::field::quote(word)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_of_failure_are_told_apart() {
        let spec = json!({"podFailurePolicy": {"rules": [
            {"action": "Foo", "onExitCodes": {"operator": "In", "values": [3, 0, 3]}},
            {"action": "FailIndex"},
            {"onPodConditions": [{"type": "DisruptionTarget"}], "onExitCodes": {"operator": "NotIn", "values": [1], "containerName": "x"}},
        ]}});
        let mut errors = Vec::new();
        failure(Path::root("p"), &spec, &mut errors);
        let told: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.body())).collect();
        let expected = [
            r#"p.rules[0].action: Unsupported value: "Foo": supported values: "Count", "FailIndex", "FailJob", "Ignore""#,
            "p.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "p.rules[0].onExitCodes.values[2]: Duplicate value: 3",
            "p.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
            r#"p.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
            "p.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            r#"p.rules[2].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#,
            "p.rules[2]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
            r#"p.rules[2].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template"#,
            r#"p.rules[2].onPodConditions[0].status: Required value: valid values: ["False" "True" "Unknown"]"#,
        ];
        assert_eq!(told, expected);
    }
}
