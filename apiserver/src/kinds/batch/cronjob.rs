//! CronJob.

use jiff::Timestamp;
use serde_json::Value;

use super::{V1, schedule};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::names::NameRule;
use crate::kinds::pod;
use crate::kinds::read::{Read, default, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.batch.v1.CronJobSpec";
/// Longest name, so that a job has room for its time.
const NAME_MAX: usize = 52;
const STATUS: &str = "io.k8s.api.batch.v1.CronJobStatus";

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::field("Schedule", SPEC, "schedule"),
        Column::field("Timezone", SPEC, "timeZone"),
        Column::field("Suspend", SPEC, "suspend").of("boolean"),
        Column::field("Active", STATUS, "active").of("integer"),
        Column::field("Last Schedule", STATUS, "lastScheduleTime"),
        columns::age(),
        containers,
        images,
        Column::field("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
    ];
    Row::namespaced(V1, "CronJob", "cronjobs")
        .short(&["cj"])
        .category("all")
        .name_rule(NameRule::Subdomain)
        .subresources(&[Subresource::Status])
        .strategy(Rules { defaults, validate: check, ..Rules::SPEC_AND_STATUS })
        .columns(columns, cells)
}

fn defaults(cron: &mut Value) {
    let spec = &mut cron["spec"];
    default_text(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    pod::defaults::template(&mut spec["jobTemplate"]["spec"]["template"]);
}

fn check(cron: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &cron["spec"];
    // The names of its jobs are longer by the time they are for.
    let name = cron["metadata"].text("name");
    if name.len() > NAME_MAX {
        let at = Path::root("metadata");
        errors.push(FieldError::invalid(at.child("name"), name, "must be no more than 52 characters"));
    }
    let schedule_at = AT.child("schedule");
    match spec.text("schedule") {
        "" => errors.push(FieldError::required(schedule_at, "")),
        text if text.contains("TZ") => {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid(schedule_at, text, why));
        }
        text => {
            if let Err(why) = schedule::check(text) {
                errors.push(FieldError::invalid(schedule_at, text, why));
            }
        }
    }
    checks::not_negative(AT.child("startingDeadlineSeconds"), spec.int("startingDeadlineSeconds"), errors);
    const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];
    checks::one_of(AT.child("concurrencyPolicy"), spec.text("concurrencyPolicy"), &POLICIES, errors);
    checks::none_negative(AT, spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], errors);
    if spec.has("timeZone") {
        zone(AT.child("timeZone"), spec.text("timeZone"), errors);
    }
    let template_at = AT.child("jobTemplate");
    let job_at = template_at.child("spec");
    let job = &spec["jobTemplate"]["spec"];
    super::job::spec(job_at, job, errors);
    if job.has("selector") {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(job_at.child("selector"), job["selector"].clone(), why));
    }
    if job.flag("manualSelector") {
        errors.push(FieldError::not_supported(job_at.child("manualSelector"), true, &["nil", "false"]));
    }
}

fn zone(at: Path<'_>, zone: &str, errors: &mut FieldErrors) {
    let why = if zone.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if zone.eq_ignore_ascii_case("local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        format!("unknown time zone {zone}")
    } else {
        return;
    };
    errors.push(FieldError::invalid(at, zone, why));
}

fn cells(cron: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&cron["spec"], &cron["status"]);
    let job = &spec["jobTemplate"]["spec"];
    let [containers, images] = columns::container_cells(&job["template"]["spec"]);
    let last = match status.text("lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => columns::since(time, now),
    };
    let suspend = match spec.get("suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    vec![
        cron["metadata"]["name"].clone(),
        spec.text("schedule").into(),
        columns::or_none(spec.text("timeZone")),
        suspend.into(),
        columns::count(&status["active"]),
        last.into(),
        columns::age_of(cron, now),
        containers,
        images,
        columns::selector(&job["selector"]).into(),
    ]
}
