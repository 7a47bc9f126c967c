//! flowcontrol.apiserver.k8s.io/v1: FlowSchema and PriorityLevelConfiguration.

use jiff::Timestamp;
use serde_json::Value;

use super::Subresource;
use super::columns::{self, Column};
use super::names::NameRule;
use super::read::{Read, child, default};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api =
    Api { group: "flowcontrol.apiserver.k8s.io", version: "v1", package: "io.k8s.api.flowcontrol.v1" };
const SCHEMA: &str = "io.k8s.api.flowcontrol.v1.FlowSchemaSpec";
const QUEUING: &str = "io.k8s.api.flowcontrol.v1.QueuingConfiguration";

pub(super) fn rows() -> Vec<Row> {
    vec![schemas(), levels()]
}

fn schemas() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("PriorityLevel", "The name of the priority level that requests of this schema go to"),
        Column::field("MatchingPrecedence", SCHEMA, "matchingPrecedence"),
        Column::field("DistinguisherMethod", SCHEMA, "distinguisherMethod"),
        columns::age(),
        Column::text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
    ];
    Row::cluster(V1, "FlowSchema", "flowschemas")
        .name_rule(NameRule::Subdomain)
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            unconditional_update: false,
            defaults: |schema| {
                if schema["spec"].int("matchingPrecedence").unwrap_or_default() == 0 {
                    schema["spec"]["matchingPrecedence"] = 1000.into();
                }
            },
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, schema_cells)
}

fn schema_cells(schema: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &schema["spec"];
    let dangling = schema["status"].list("conditions").iter().find(|one| one.text("type") == "Dangling");
    vec![
        schema["metadata"]["name"].clone(),
        spec["priorityLevelConfiguration"].text("name").into(),
        columns::number(&spec["matchingPrecedence"]),
        columns::or_none(spec["distinguisherMethod"].text("type")),
        columns::age_of(schema, now),
        dangling.map_or("?", |one| one.text("status")).into(),
    ]
}

fn levels() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Type", "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type"),
        Column::field(
            "NominalConcurrencyShares",
            "io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration",
            "nominalConcurrencyShares",
        ),
        Column::field("Queues", QUEUING, "queues"),
        Column::field("HandSize", QUEUING, "handSize"),
        Column::field("QueueLengthLimit", QUEUING, "queueLengthLimit"),
        columns::age(),
    ];
    Row::cluster(V1, "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .name_rule(NameRule::Subdomain)
        .subresources(&[Subresource::Status])
        .strategy(Rules { unconditional_update: false, defaults: level_defaults, ..Rules::SPEC_AND_STATUS })
        .columns(columns, level_cells)
}

fn level_defaults(level: &mut Value) {
    let spec = child(level, "spec");
    if spec.has("exempt") {
        default(&mut spec["exempt"], "nominalConcurrencyShares", 0);
        default(&mut spec["exempt"], "lendablePercent", 0);
    }
    if !spec.has("limited") {
        return;
    }
    default(&mut spec["limited"], "nominalConcurrencyShares", 30);
    default(&mut spec["limited"], "lendablePercent", 0);
    if spec["limited"]["limitResponse"].has("queuing") {
        let queuing = &mut spec["limited"]["limitResponse"]["queuing"];
        for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            if queuing.int(field).unwrap_or_default() == 0 {
                queuing[field] = value.into();
            }
        }
    }
}

fn level_cells(level: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &level["spec"];
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let or_none = |value: &Value| if value.is_null() { "<none>".into() } else { value.clone() };
    vec![
        level["metadata"]["name"].clone(),
        spec.text("type").into(),
        or_none(&limited["nominalConcurrencyShares"]),
        or_none(&queuing["queues"]),
        or_none(&queuing["handSize"]),
        or_none(&queuing["queueLengthLimit"]),
        columns::age_of(level, now),
    ]
}
