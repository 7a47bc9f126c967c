//! Job.

use jiff::Timestamp;
use objects::validity;
use serde_json::{Map, Value, json};

use super::{V1, policy};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::{self, SelectableField};
use crate::kinds::metadata;
use crate::kinds::pod;
use crate::kinds::pod::validate;
use crate::kinds::read::{Read, default, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;

const SPEC: &str = "io.k8s.api.batch.v1.JobSpec";
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const STATUS: &str = "io.k8s.api.batch.v1.JobStatus";
/// Pods of an indexed job that may run at once.
const MOST_AT_ONCE: i64 = 100_000;

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
        .strategy(Rules {
            defaults,
            create,
            validate: check,
            validate_update: check_update,
            ..Rules::SPEC_AND_STATUS
        })
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
    let uid = job["metadata"]["uid"].clone();
    let own = own_labels(job);
    let labels = &mut job["spec"]["template"]["metadata"]["labels"];
    for (label, value) in own.as_object().into_iter().flatten() {
        labels[label] = value.clone();
    }
    job["spec"]["selector"]["matchLabels"][UID_LABEL] = uid;
    defaults(job);
}

/// The labels by which a job knows its pods.
fn own_labels(job: &Value) -> Value {
    let (name, uid) = (&job["metadata"]["name"], &job["metadata"]["uid"]);
    json!({UID_LABEL: uid, "controller-uid": uid, NAME_LABEL: name, "job-name": name})
}

fn check(job: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &job["spec"];
    if !spec.flag("manualSelector") && !checks::selects(&spec["selector"], &own_labels(job)) {
        let shown = spec["selector"].clone();
        errors.push(FieldError::invalid(AT.child("selector"), shown, "`selector` not auto-generated"));
    }
    if let (Some("Indexed"), Some(last)) =
        (spec["completionMode"].as_str(), spec.int("completions").map(|n| n - 1))
    {
        let host = format!("{}-{last}", job["metadata"].text("name"));
        if last >= 0 && !validity::is_dns_label(&host) {
            let complaints = validity::dns_label(&host).join(",");
            let why = format!("will not able to create pod with invalid DNS label: {host}: {complaints}");
            errors.push(FieldError::invalid(
                Path::root("metadata").child("name"),
                job["metadata"].text("name"),
                why,
            ));
        }
    }
    self::spec(AT, spec, errors);
    if spec["selector"].is_null() {
        errors.push(FieldError::required(AT.child("selector"), ""));
    } else {
        checks::selector(AT.child("selector"), &spec["selector"], errors);
    }
    workload::selects_its_template(AT.child("template"), &spec["selector"], &spec["template"], errors);
}

/// The spec of a job, or of the jobs of a CronJob.
pub(super) fn spec(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    const NUMBERS: [&str; 7] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    checks::none_negative(at, spec, &NUMBERS, errors);
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(at.child("backoffLimitPerIndex"), why));
    }
    let mode = spec.text("completionMode");
    checks::maybe_one_of(at.child("completionMode"), mode, &["Indexed", "NonIndexed"], errors);
    if mode == "Indexed" {
        indexed(at, spec, errors);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if spec.has(field) {
                let why = "requires indexed completion mode";
                errors.push(FieldError::invalid(at.child(field), spec[field].clone(), why));
            }
        }
    }
    if spec.has("podFailurePolicy") {
        policy::failure(at.child("podFailurePolicy"), spec, errors);
    }
    match (spec.has("successPolicy"), mode) {
        (true, "Indexed") => policy::success(at.child("successPolicy"), spec, errors),
        (true, _) => {
            let (at, shown) = (at.child("successPolicy"), spec["successPolicy"].clone());
            errors.push(FieldError::invalid(at, shown, "requires indexed completion mode"));
        }
        (false, _) => {}
    }
    let replacement = spec.text("podReplacementPolicy");
    let words: &[&str] =
        if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    checks::maybe_one_of(at.child("podReplacementPolicy"), replacement, words, errors);
    let template_at = at.child("template");
    validate::template(template_at, &spec["template"], errors);
    let policy_at = template_at.child("spec.restartPolicy");
    match spec["template"]["spec"].text("restartPolicy") {
        "" | "Always" => {
            let why = "valid values: \"OnFailure\", \"Never\"";
            errors.push(FieldError::required(policy_at, why));
        }
        "OnFailure" if spec.has("podFailurePolicy") => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(policy_at, "OnFailure", why));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(policy_at, other, &["OnFailure", "Never"])),
    }
}

fn indexed(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let Some(completions) = spec.int("completions") else {
        return errors.push(FieldError::required(at.child("completions"), "when completion mode is Indexed"));
    };
    if let Some(parallelism) = spec.int("parallelism").filter(|parallelism| *parallelism > MOST_AT_ONCE) {
        let why = format!("must be less than or equal to {MOST_AT_ONCE} when completion mode is Indexed");
        errors.push(FieldError::invalid(at.child("parallelism"), parallelism, why));
    }
    let Some(failed) = spec.int("maxFailedIndexes") else { return };
    if failed > completions {
        let why = "must be less than or equal to completions";
        errors.push(FieldError::invalid(at.child("maxFailedIndexes"), failed, why));
    }
    if failed > MOST_AT_ONCE {
        let why = format!("must be less than or equal to {MOST_AT_ONCE}");
        errors.push(FieldError::invalid(at.child("maxFailedIndexes"), failed, why));
    }
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    // An indexed job may grow and shrink as a whole.
    let elastic = new.text("completionMode") == "Indexed" && new["completions"] == new["parallelism"];
    if !elastic {
        metadata::immutable(AT.child("completions"), &new["completions"], &old["completions"], errors);
    }
    // Where the pods of a job may go can change as long as it has not started.
    let suspended = old.flag("suspend") && new.flag("suspend");
    if !suspended {
        metadata::immutable(AT.child("template"), &new["template"], &old["template"], errors);
    }
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        metadata::immutable(AT.child(field), &new[field], &old[field], errors);
    }
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
