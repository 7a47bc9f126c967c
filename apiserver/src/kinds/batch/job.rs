//! Job.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::{self, SelectableField};
use crate::kinds::pod;
use crate::kinds::read::{Read, default, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.batch.v1.JobSpec";
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const STATUS: &str = "io.k8s.api.batch.v1.JobStatus";

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::text("Status", "Status of the job."),
        Column::field("Completions", STATUS, "succeeded"),
        Column::text("Duration", "Time required to complete the job."),
        columns::age(),
        containers,
        images,
        Column::field("Selector", SPEC, "selector").wide(),
    ];
    Row::namespaced(V1, "Job", "jobs")
        .category("all")
        .subresources(&[Subresource::Status])
        .fields([SelectableField::computed("status.successful", |job| {
            fields::text(&columns::number(&job["status"]["succeeded"]))
        })])
        .strategy(Rules { defaults, create, ..Rules::SPEC_AND_STATUS })
        .columns(columns, cells)
}

fn defaults(job: &mut Value) {
    let spec = &mut job["spec"];
    if !spec.has("parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let per_index = spec.has("backoffLimitPerIndex");
    default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let replacement = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default_text(spec, "podReplacementPolicy", replacement);
    if spec.has("podFailurePolicy") {
        for rule in items_mut(&mut spec["podFailurePolicy"], "rules") {
            items_mut(rule, "onPodConditions").for_each(|one| default_text(one, "status", "True"));
        }
    }
    pod::defaults::template(&mut spec["template"]);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let unlabelled = job["metadata"]["labels"].as_object().is_none_or(Map::is_empty);
    if unlabelled && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        job["metadata"]["labels"] = labels;
    }
}

/// Unless the user picks the pods, a job picks them by its own uid, so that no two jobs share any.
fn create(job: &mut Value) {
    if job["spec"].flag("manualSelector") {
        return;
    }
    let (name, uid) = (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone());
    let labels = &mut job["spec"]["template"]["metadata"]["labels"];
    for (label, value) in
        [(UID_LABEL, &uid), ("controller-uid", &uid), (NAME_LABEL, &name), ("job-name", &name)]
    {
        labels[label] = value.clone();
    }
    job["spec"]["selector"]["matchLabels"][UID_LABEL] = uid;
    defaults(job);
}

fn cells(job: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = columns::container_cells(&job["spec"]["template"]["spec"]);
    vec![
        job["metadata"]["name"].clone(),
        state(job).into(),
        completions(job).into(),
        duration(&job["status"], now).into(),
        columns::age_of(job, now),
        containers,
        images,
        columns::selector(&job["spec"]["selector"]).into(),
    ]
}

fn state(job: &Value) -> &'static str {
    let conditions = job["status"].list("conditions");
    let is =
        |kind: &str| conditions.iter().any(|one| one.text("type") == kind && one.text("status") == "True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job["metadata"].has("deletionTimestamp") {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let done = job["status"].int("succeeded").unwrap_or_default();
    match (job["spec"].int("completions"), job["spec"].int("parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let time = |key: &str| status.text(key).parse::<Timestamp>().ok();
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => columns::human_duration(end.unwrap_or(now).as_second() - start.as_second()),
    }
}
