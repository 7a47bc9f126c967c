//! scheduling.k8s.io/v1alpha2: PodGroup, the pods that start together or not at all, and Workload, what groups are
//! made from.
//!
//! Upstream has the version behind the gates GenericWorkload and GangScheduling, off by default; here it is served,
//! since our scheduler schedules gangs. The fields of further gates (topology constraints, claims shared by a group,
//! priority and disruption of a group) are dropped from what is written, as upstream does while those gates are off.
//! Source: kubernetes `pkg/registry/scheduling/{podgroup,workload}`, `pkg/apis/scheduling/v1alpha2`.

use serde_json::Value;

use super::Subresource;
use super::checks;
use super::columns::{self, Column};
use super::metadata;
use super::names;
use super::read::{Read, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

const V1ALPHA2: Api =
    Api { group: "scheduling.k8s.io", version: "v1alpha2", package: "io.k8s.api.scheduling.v1alpha2" };
/// Templates of one Workload.
const TEMPLATES_MAX: usize = 8;
const SPEC: Path<'static> = Path::root("spec");
/// What belongs to gates that are off.
const GATED: [&str; 5] =
    ["schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName", "priority"];

pub(super) fn rows() -> Vec<Row> {
    vec![groups(), workloads()]
}

fn groups() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Policy", "How the pods of the group are scheduled: basic or gang."),
        Column::text("Min-Count", "The number of pods that must be able to start for any to start."),
        Column::text("Scheduled", "The status of the condition PodGroupScheduled."),
        columns::age(),
    ];
    Row::namespaced(V1ALPHA2, "PodGroup", "podgroups")
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            generation: false,
            create: drop_gated_of_group,
            update: |group, _| drop_gated_of_group(group),
            validate: check_group,
            validate_update: |new, old, errors| {
                for field in ["podGroupTemplateRef", "schedulingPolicy"] {
                    metadata::immutable(SPEC.child(field), &new["spec"][field], &old["spec"][field], errors);
                }
            },
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, |group, now| {
            let policy = &group["spec"]["schedulingPolicy"];
            let (name, least) = match policy["gang"].int("minCount") {
                Some(least) => ("gang", least.into()),
                None => ("basic", Value::from("")),
            };
            let conditions = group["status"].list("conditions").iter();
            let scheduled = conditions.filter(|one| one.text("type") == "PodGroupScheduled");
            let scheduled = scheduled.map(|one| one.text("status")).next().unwrap_or_default();
            vec![
                group["metadata"]["name"].clone(),
                name.into(),
                least,
                scheduled.into(),
                columns::age_of(group, now),
            ]
        })
}

fn workloads() -> Row {
    Row::namespaced(V1ALPHA2, "Workload", "workloads").strategy(Rules {
        create: drop_gated_of_templates,
        update: |workload, _| drop_gated_of_templates(workload),
        validate: check_workload,
        validate_update: |new, old, errors| {
            for field in ["controllerRef", "podGroupTemplates"] {
                metadata::immutable(SPEC.child(field), &new["spec"][field], &old["spec"][field], errors);
            }
        },
        ..Rules::PLAIN
    })
}

fn drop_gated_of_group(group: &mut Value) {
    drop_gated(&mut group["spec"]);
}

fn drop_gated_of_templates(workload: &mut Value) {
    items_mut(&mut workload["spec"], "podGroupTemplates").for_each(drop_gated);
}

/// Takes the fields away; the one that is always written stays as null.
fn drop_gated(of: &mut Value) {
    let Some(fields) = of.as_object_mut() else { return };
    for name in GATED {
        match fields.get_mut(name) {
            Some(field) if name == "schedulingConstraints" => *field = Value::Null,
            _ => {
                fields.remove(name);
            }
        }
    }
}

fn check_group(group: &Value, errors: &mut FieldErrors) {
    let spec = &group["spec"];
    if spec.has("podGroupTemplateRef") {
        template_reference(SPEC.child("podGroupTemplateRef"), &spec["podGroupTemplateRef"], errors);
    }
    policy(SPEC.child("schedulingPolicy"), &spec["schedulingPolicy"], errors);
}

fn template_reference(at: Path<'_>, reference: &Value, errors: &mut FieldErrors) {
    if !reference.has("workload") {
        return errors.push(FieldError::invalid(at, "", "must specify one of: `workload`"));
    }
    let (at, workload) = (at.child("workload"), &reference["workload"]);
    named(at.child("workloadName"), workload.text("workloadName"), checks::subdomain, errors);
    named(at.child("podGroupTemplateName"), workload.text("podGroupTemplateName"), checks::label, errors);
}

fn policy(at: Path<'_>, policy: &Value, errors: &mut FieldErrors) {
    match (policy.has("basic"), policy.has("gang")) {
        (false, false) => {
            errors.push(FieldError::invalid(at, "", "must specify one of: `basic`, `gang`"));
        }
        (true, true) => {
            let why = "exactly one of `basic`, `gang` is required, but multiple fields are set";
            errors.push(FieldError::invalid(at, "{`basic`, `gang`}", why));
        }
        (true, false) => {}
        (false, true) => {
            let at = at.child("gang");
            match policy["gang"].int("minCount").unwrap_or_default() {
                0 => errors.push(FieldError::required(at.child("minCount"), "")),
                least if least < 0 => {
                    let why = "must be greater than or equal to 1";
                    errors.push(FieldError::invalid(at.child("minCount"), least, why));
                }
                _ => {}
            }
        }
    }
}

fn check_workload(workload: &Value, errors: &mut FieldErrors) {
    let spec = &workload["spec"];
    if spec.has("controllerRef") {
        controller(SPEC.child("controllerRef"), &spec["controllerRef"], errors);
    }
    let (at, templates) = (SPEC.child("podGroupTemplates"), spec.list("podGroupTemplates"));
    if templates.is_empty() {
        return errors.push(FieldError::required(at, ""));
    }
    if templates.len() > TEMPLATES_MAX {
        return errors.push(FieldError::too_many(at, templates.len(), TEMPLATES_MAX));
    }
    for (index, template) in templates.iter().enumerate() {
        let at = at.index(index);
        let name = template.text("name");
        if templates[..index].iter().any(|before| before.text("name") == name) {
            errors.push(FieldError::duplicate(at, template.clone()));
        }
        named(at.child("name"), name, checks::label, errors);
        policy(at.child("schedulingPolicy"), &template["schedulingPolicy"], errors);
    }
}

fn controller(at: Path<'_>, reference: &Value, errors: &mut FieldErrors) {
    let group = reference.text("apiGroup");
    if !group.is_empty() {
        checks::subdomain(at.child("apiGroup"), group, errors);
    }
    for field in ["kind", "name"] {
        named(
            at.child(field),
            reference.text(field),
            |at, text, errors| checks::complain(at, text, names::path_segment(text, false), errors),
            errors,
        );
    }
}

/// A name that must be there, and of the right form.
fn named(
    at: Path<'_>,
    name: &str,
    check: impl Fn(Path<'_>, &str, &mut FieldErrors),
    errors: &mut FieldErrors,
) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else {
        check(at, name, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Kind, Kinds};
    use serde_json::json;
    use std::sync::Arc;

    fn kind(plural: &str) -> Arc<Kind> {
        Kinds::builtin().resource("scheduling.k8s.io", "v1alpha2", plural).unwrap().clone()
    }

    fn complaints(plural: &str, spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": spec});
        kind(plural).validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn group_table() {
        let gang = |least: i64| json!({"gang": {"minCount": least}});
        let reference = |workload: &str, template: &str| {
            json!({"schedulingPolicy": {"basic": {}}, "podGroupTemplateRef":
            {"workload": {"workloadName": workload, "podGroupTemplateName": template}}})
        };
        for (spec, want) in [
            (json!({"schedulingPolicy": {"basic": {}}}), vec![]),
            (json!({"schedulingPolicy": gang(2)}), vec![]),
            (reference("job.a", "workers"), vec![]),
            (
                json!({}),
                vec!["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"],
            ),
            (
                json!({"schedulingPolicy": {"basic": {}, "gang": {"minCount": 1}}}),
                vec![
                    "spec.schedulingPolicy: Invalid value: \"{`basic`, `gang`}\": exactly one of `basic`, `gang` is \
                     required, but multiple fields are set",
                ],
            ),
            (
                json!({"schedulingPolicy": gang(0)}),
                vec!["spec.schedulingPolicy.gang.minCount: Required value"],
            ),
            (
                json!({"schedulingPolicy": gang(-1)}),
                vec![
                    "spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1",
                ],
            ),
            (
                reference("", "a.b"),
                vec![
                    "spec.podGroupTemplateRef.workload.workloadName: Required value",
                    "spec.podGroupTemplateRef.workload.podGroupTemplateName: Invalid value: \"a.b\": must not contain \
                     dots",
                ],
            ),
            (
                json!({"schedulingPolicy": {"basic": {}}, "podGroupTemplateRef": {}}),
                vec!["spec.podGroupTemplateRef: Invalid value: \"\": must specify one of: `workload`"],
            ),
        ] {
            assert_eq!(complaints("podgroups", spec.clone()), want, "{spec}");
        }
    }

    #[test]
    fn workload_table() {
        let template = |name: &str| json!({"name": name, "schedulingPolicy": {"gang": {"minCount": 4}}});
        let many: Vec<_> = (0..9).map(|number| template(&format!("t{number}"))).collect();
        let template_text = template("a").to_string();
        for (spec, want) in [
            (json!({"podGroupTemplates": [template("a"), template("b")]}), vec![]),
            (json!({}), vec!["spec.podGroupTemplates: Required value".to_owned()]),
            (
                json!({"podGroupTemplates": many}),
                vec!["spec.podGroupTemplates: Too many: 9: must have at most 8 items".to_owned()],
            ),
            (
                json!({"podGroupTemplates": [template("a"), template("a")]}),
                vec![format!("spec.podGroupTemplates[1]: Duplicate value: {template_text}")],
            ),
            (
                json!({"podGroupTemplates": [template("a")], "controllerRef": {"kind": "Job", "name": "a/b"}}),
                vec!["spec.controllerRef.name: Invalid value: \"a/b\": may not contain '/'".to_owned()],
            ),
        ] {
            assert_eq!(complaints("workloads", spec.clone()), want, "{spec}");
        }
    }

    #[test]
    fn what_a_group_asks_for_stays() {
        let group = |least: i32| {
            json!({"metadata": {"name": "g", "namespace": "d", "resourceVersion": "1"},
                "spec": {"schedulingPolicy": {"gang": {"minCount": least}}}})
        };
        let texts = |new: Value| -> Vec<String> {
            let errors = kind("podgroups").validate_update(&new, &group(2));
            errors.iter().map(ToString::to_string).collect()
        };
        assert!(texts(group(2)).is_empty());
        assert_eq!(
            texts(group(3)),
            ["spec.schedulingPolicy: Invalid value: {\"gang\":{\"minCount\":3}}: field is immutable"]
        );
    }

    #[test]
    fn fields_of_gates_that_are_off_are_dropped() {
        let mut group =
            json!({"spec": {"schedulingPolicy": {"basic": {}}, "priority": 3, "disruptionMode": "Pod"}});
        kind("podgroups").strategy.prepare_create(&mut group);
        assert_eq!(group, json!({"spec": {"schedulingPolicy": {"basic": {}}}, "status": {}}));
        let mut workload = json!({"spec": {"podGroupTemplates": [
            {"name": "a", "schedulingConstraints": {"topology": [{"key": "rack"}]}}]}});
        kind("workloads").strategy.prepare_create(&mut workload);
        assert_eq!(
            workload["spec"]["podGroupTemplates"],
            json!([{"name": "a", "schedulingConstraints": null}])
        );
    }
}
