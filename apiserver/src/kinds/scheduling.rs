//! scheduling.k8s.io/v1: PriorityClass.

use serde_json::Value;

use super::checks;
use super::columns::{self, Column};
use super::metadata;
use super::read::{Read, default_text};
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

const V1: Api = Api { group: "scheduling.k8s.io", version: "v1", package: "io.k8s.api.scheduling.v1" };
const CLASS: &str = "io.k8s.api.scheduling.v1.PriorityClass";

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Value", CLASS, "value").of("integer"),
        Column::field("Global-Default", CLASS, "globalDefault").of("boolean"),
        columns::age(),
        Column::field("PreemptionPolicy", CLASS, "preemptionPolicy"),
    ];
    vec![
        Row::cluster(V1, "PriorityClass", "priorityclasses")
            .short(&["pc"])
            .strategy(Rules {
                generation: true,
                generation_of: &[],
                validate: check,
                validate_update: check_update,
                defaults: |class| default_text(class, "preemptionPolicy", "PreemptLowerPriority"),
                ..Rules::PLAIN
            })
            .columns(columns, |class, now| {
                vec![
                    class["metadata"]["name"].clone(),
                    columns::number(&class["value"]),
                    class.flag("globalDefault").into(),
                    columns::age_of(class, now),
                    class.text("preemptionPolicy").into(),
                ]
            }),
    ]
}

/// The highest priority that users may give.
const USER_MAX: i64 = 1_000_000_000;
/// The classes whose names begin with `system-`, which the server makes itself.
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn check(class: &Value, errors: &mut FieldErrors) {
    let name = class["metadata"].text("name");
    let value = class.int("value").unwrap_or_default();
    let known = SYSTEM.iter().any(|(system, priority)| *system == name && *priority == value);
    if name.starts_with("system-") {
        if !known {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            let at = Path::root("metadata");
            errors.push(FieldError::forbidden(at.child("name"), why));
        }
    } else if value > USER_MAX {
        let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden(Path::root("value"), why));
    }
    let policy = class.text("preemptionPolicy");
    checks::one_of(Path::root("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"], errors);
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new.int("value") != old.int("value") {
        errors.push(FieldError::forbidden(Path::root("value"), "may not be changed in an update."));
    }
    let at = Path::root("preemptionPolicy");
    metadata::immutable(at, &new["preemptionPolicy"], &old["preemptionPolicy"], errors);
}
