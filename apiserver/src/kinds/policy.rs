//! policy/v1: PodDisruptionBudget.

use jiff::Timestamp;
use serde_json::Value;

use super::Subresource;
use super::checks;
use super::columns::{self, Column};
use super::fields;
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

const V1: Api = Api { group: "policy", version: "v1", package: "io.k8s.api.policy.v1" };
const NEW_STATUS: &str =
    r#"{"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}"#;

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::text("Min Available", "The minimum number of pods that must be available."),
        Column::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        Column::text("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.")
            .of("integer"),
        columns::age(),
    ];
    vec![
        Row::namespaced(V1, "PodDisruptionBudget", "poddisruptionbudgets")
            .short(&["pdb"])
            .subresources(&[Subresource::Status])
            .strategy(Rules {
                status: Some(NEW_STATUS),
                unconditional_update: false,
                validate: check,
                ..Rules::SPEC_AND_STATUS
            })
            .columns(columns, cells),
    ]
}

fn cells(budget: &Value, now: Timestamp) -> Vec<Value> {
    let limit = |key: &str| match fields::text(&budget["spec"][key]) {
        empty if empty.is_empty() => "N/A".to_owned(),
        text => text,
    };
    vec![
        budget["metadata"]["name"].clone(),
        limit("minAvailable").into(),
        limit("maxUnavailable").into(),
        columns::number(&budget["status"]["disruptionsAllowed"]),
        columns::age_of(budget, now),
    ]
}

fn check(budget: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &budget["spec"];
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        // Upstream shows its internal struct.
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            spec["minAvailable"],
            spec["selector"],
            spec["maxUnavailable"],
            spec["unhealthyPodEvictionPolicy"]
        );
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid_as(AT, shown, why));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if spec.has(field) {
            checks::count_or_percent(AT.child(field), &spec[field], errors);
            checks::at_most_everything(AT.child(field), &spec[field], errors);
        }
    }
    checks::selector(AT.child("selector"), &spec["selector"], errors);
    let policy = spec.text("unhealthyPodEvictionPolicy");
    const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
    checks::maybe_one_of(AT.child("unhealthyPodEvictionPolicy"), policy, &POLICIES, errors);
}
