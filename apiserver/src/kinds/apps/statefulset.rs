//! StatefulSet.

use jiff::Timestamp;
use serde_json::Value;

use super::{SCALE, V1};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::pod;
use crate::kinds::pod::validate;
use crate::kinds::read::{Read, child, default, default_text, items_mut};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;
use crate::kinds::workload;
use crate::object;

pub(super) fn row() -> Row {
    let [containers, images] = columns::containers();
    let columns = vec![
        columns::name(),
        Column::text("Ready", "Number of the pod with ready state"),
        columns::age(),
        containers,
        images,
    ];
    Row::namespaced(V1, "StatefulSet", "statefulsets")
        .short(&["sts"])
        .category("all")
        .subresources(&[SCALE, Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"replicas": 0, "availableReplicas": 0}"#),
            defaults,
            validate: check,
            validate_update: check_update,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

fn defaults(set: &mut Value) {
    let spec = &mut set["spec"];
    default(spec, "replicas", 1);
    default_text(spec, "podManagementPolicy", "OrderedReady");
    default_text(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"].text("type") == "RollingUpdate" {
        default(child(&mut spec["updateStrategy"], "rollingUpdate"), "partition", 0);
    }
    default(spec, "revisionHistoryLimit", 10);
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    default_text(retention, "whenDeleted", "Retain");
    default_text(retention, "whenScaled", "Retain");
    pod::defaults::template(&mut spec["template"]);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["apiVersion"] = "v1".into();
        default_text(child(claim, "spec"), "volumeMode", "Filesystem");
        default_text(child(claim, "status"), "phase", "Pending");
    }
}

fn check(set: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &set["spec"];
    const POLICIES: [&str; 2] = ["OrderedReady", "Parallel"];
    let policy = spec.text("podManagementPolicy");
    if !POLICIES.contains(&policy) {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid(AT.child("podManagementPolicy"), policy, why));
    }
    update_strategy(AT.child("updateStrategy"), &spec["updateStrategy"], errors);
    let retention_at = AT.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let word = spec["persistentVolumeClaimRetentionPolicy"].text(field);
        checks::maybe_one_of(retention_at.child(field), word, &["Retain", "Delete"], errors);
    }
    checks::none_negative(AT, spec, &["replicas", "minReadySeconds", "revisionHistoryLimit"], errors);
    checks::not_negative(AT.child("ordinals.start"), spec["ordinals"].int("start"), errors);
    let empty = "empty selector is invalid for statefulset";
    workload::selector(AT.child("selector"), &spec["selector"], empty, errors);
    let template_at = AT.child("template");
    workload::selects_its_template(template_at, &spec["selector"], &spec["template"], errors);
    validate::template_metadata(template_at, &spec["template"], errors);
    workload::lasting(template_at, &spec["template"], "StatefulSet", errors);
}

fn update_strategy(at: Path<'_>, strategy: &Value, errors: &mut FieldErrors) {
    let rolling_at = at.child("rollingUpdate");
    let rolling = &strategy["rollingUpdate"];
    match strategy.text("type") {
        "OnDelete" if !rolling.is_null() => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(rolling_at, rolling.clone(), why));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            checks::not_negative(rolling_at.child("partition"), rolling.int("partition"), errors);
            checks::count_or_percent(rolling_at.child("maxUnavailable"), &rolling["maxUnavailable"], errors);
        }
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(at, strategy.clone(), why));
        }
    }
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    const MAY_CHANGE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let mut rest = new["spec"].clone();
    MAY_CHANGE.iter().for_each(|field| object::carry_over(&mut rest, &old["spec"], field));
    if rest != old["spec"] {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(Path::root("spec"), why));
    }
}

fn cells(set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [containers, images] = columns::container_cells(&spec["template"]["spec"]);
    let (ready, desired) = (status.int("readyReplicas"), spec.int("replicas"));
    vec![
        set["metadata"]["name"].clone(),
        format!("{}/{}", ready.unwrap_or_default(), desired.unwrap_or_default()).into(),
        columns::age_of(set, now),
        containers,
        images,
    ]
}
