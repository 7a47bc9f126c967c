//! CronJob.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
use crate::kinds::names::NameRule;
use crate::kinds::pod;
use crate::kinds::read::{Read, default, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SPEC: &str = "io.k8s.api.batch.v1.CronJobSpec";
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
        .strategy(Rules { defaults, ..Rules::SPEC_AND_STATUS })
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
