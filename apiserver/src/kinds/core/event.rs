//! Event in its two versions: core/v1 with counts, events.k8s.io/v1 with series. One storage, core's shape.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::read::Read;
use crate::kinds::row::{Api, Row};
use crate::kinds::strategy::Rules;

const EVENT: &str = "io.k8s.api.core.v1.Event";
const REFERENCE: &str = "io.k8s.api.core.v1.ObjectReference";
const EVENTS_V1: Api = Api { group: "events.k8s.io", version: "v1", package: "io.k8s.api.events.v1" };

pub(super) fn core() -> Row {
    Row::namespaced(V1, "Event", "events")
        .short(&["ev"])
        .fields([
            SelectableField::at("involvedObject.kind"),
            SelectableField::at("involvedObject.namespace"),
            SelectableField::at("involvedObject.name"),
            SelectableField::at("involvedObject.uid"),
            SelectableField::at("involvedObject.apiVersion"),
            SelectableField::at("involvedObject.resourceVersion"),
            SelectableField::at("involvedObject.fieldPath"),
            SelectableField::at("reason"),
            SelectableField::computed("reportingComponent", |event| reporter(event).to_owned()),
            SelectableField::computed("source", |event| reporter(event).to_owned()),
            SelectableField::at("type"),
        ])
        .strategy(RULES)
        .columns(table(), cells)
}

pub(super) fn events_group() -> Row {
    Row::namespaced(EVENTS_V1, "Event", "events")
        .short(&["ev"])
        .fields([
            SelectableField::at("regarding.kind"),
            SelectableField::at("regarding.namespace"),
            SelectableField::at("regarding.name"),
            SelectableField::at("regarding.uid"),
            SelectableField::at("regarding.apiVersion"),
            SelectableField::at("regarding.resourceVersion"),
            SelectableField::at("regarding.fieldPath"),
            SelectableField::at("reason"),
            SelectableField::computed("reportingController", |event| reporter(event).to_owned()),
            SelectableField::at("type"),
        ])
        .strategy(RULES)
        .stored_as("")
        .columns(table(), cells)
}

const RULES: Rules = Rules { create_on_update: true, validate: check, ..Rules::PLAIN };

fn table() -> Vec<Column> {
    let mut name = columns::name();
    name.priority = 1;
    vec![
        Column::field("Last Seen", EVENT, "lastTimestamp"),
        Column::field("Type", EVENT, "type"),
        Column::field("Reason", EVENT, "reason"),
        Column::field("Object", EVENT, "involvedObject"),
        Column::field("Subobject", REFERENCE, "fieldPath").wide(),
        Column::field("Source", EVENT, "source").wide(),
        Column::field("Message", EVENT, "message"),
        Column::field("First Seen", EVENT, "firstTimestamp").wide(),
        Column::field("Count", EVENT, "count").wide(),
        name,
    ]
}

/// Reads either version: what one calls `involvedObject` the other calls `regarding`.
fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let either =
        |core: &str, new: &str| if event.has(core) { event[core].clone() } else { event[new].clone() };
    let time =
        |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(|text| columns::since(text, now));
    let unknown = || "<unknown>".to_owned();

    let first = time(&either("firstTimestamp", "deprecatedFirstTimestamp"))
        .or_else(|| time(&event["eventTime"]))
        .unwrap_or_else(unknown);
    let mut last = time(&either("lastTimestamp", "deprecatedLastTimestamp")).unwrap_or_else(|| first.clone());
    let mut count = either("count", "deprecatedCount").as_i64().unwrap_or_default();
    if event.has("series") {
        last = time(&event["series"]["lastObservedTime"]).unwrap_or_else(unknown);
        count = event["series"].int("count").unwrap_or_default();
    } else if count == 0 {
        count = 1;
    }
    let about = either("involvedObject", "regarding");
    let kind = about.text("kind").to_lowercase();
    let target = match about.text("name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let message = either("message", "note");
    vec![
        last.into(),
        event.text("type").into(),
        event.text("reason").into(),
        target.into(),
        about.text("fieldPath").into(),
        source(event).into(),
        message.as_str().unwrap_or_default().trim().into(),
        first.into(),
        count.into(),
        event["metadata"]["name"].clone(),
    ]
}

/// The component that reported: `source.component` of old events, `reportingComponent` of new ones.
fn reporter(event: &Value) -> &str {
    ["source", "deprecatedSource"]
        .iter()
        .map(|key| event[*key].text("component"))
        .chain([event.text("reportingComponent"), event.text("reportingController")])
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn source(event: &Value) -> String {
    let source = if event.has("source") { &event["source"] } else { &event["deprecatedSource"] };
    let host = match source.text("host") {
        "" => event.text("reportingInstance"),
        host => host,
    };
    match host {
        "" => reporter(event).to_owned(),
        host => format!("{}, {host}", reporter(event)),
    }
}

/// An event lives where what it is about lives; what has no namespace is told of in `default`.
fn check(event: &Value, errors: &mut FieldErrors) {
    let (field, about) = match event.get("involvedObject") {
        Some(about) => ("involvedObject", about),
        None => ("regarding", &event["regarding"]),
    };
    let (own, its) = (event["metadata"].text("namespace"), about.text("namespace"));
    let fits = if its.is_empty() { matches!(own, "default" | "kube-system" | "") } else { its == own };
    if !fits {
        let at = Path::root(field);
        errors.push(FieldError::invalid(at.child("namespace"), its, "does not match event.namespace"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_versions_print_the_same() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let core = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "R", "message": " m ",
            "type": "Normal", "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:00Z",
            "count": 3, "source": {"component": "kubelet", "host": "n"},
        });
        let new = json!({
            "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p"}, "reason": "R", "note": " m ",
            "type": "Normal", "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp": "2026-01-01T00:09:00Z", "deprecatedCount": 3,
            "deprecatedSource": {"component": "kubelet", "host": "n"},
        });
        let want = json!(["60s", "Normal", "R", "pod/p", "", "kubelet, n", "m", "10m", 3, "e"]);
        assert_eq!(Value::from(cells(&core, now)), want);
        assert_eq!(Value::from(cells(&new, now)), want);
    }
}
