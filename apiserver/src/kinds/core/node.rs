//! Node: what it looks like in the table and which of its fields may change.

use jiff::Timestamp;
use objects::validity;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::read::Read;
use crate::kinds::resources;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const SYSTEM_INFO: &str = "io.k8s.api.core.v1.NodeSystemInfo";
const STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Status", "The status of the node"),
        Column::text("Roles", "The roles of the node"),
        columns::age(),
        Column::field("Version", SYSTEM_INFO, "kubeletVersion"),
        Column::field("Internal-IP", STATUS, "addresses").wide(),
        Column::field("External-IP", STATUS, "addresses").wide(),
        Column::field("OS-Image", SYSTEM_INFO, "osImage").wide(),
        Column::field("Kernel-Version", SYSTEM_INFO, "kernelVersion").wide(),
        Column::field("Container-Runtime", SYSTEM_INFO, "containerRuntimeVersion").wide(),
    ];
    Row::cluster(V1, "Node", "nodes")
        .short(&["no"])
        .subresources(&[Subresource::Proxy, Subresource::Status])
        .fields([SelectableField::computed("spec.unschedulable", |node| {
            node["spec"].flag("unschedulable").to_string()
        })])
        // The kubelet registers a node together with its status.
        .strategy(RULES)
        .columns(columns, cells)
}

const RULES: Rules = Rules {
    update: |node, old| crate::object::carry_over(node, old, "status"),
    validate: check,
    validate_update: check_update,
    ..Rules::PLAIN
};

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let or_unknown = |text: &str| Value::from(if text.is_empty() { "<unknown>" } else { text });
    vec![
        node["metadata"]["name"].clone(),
        status(node).into(),
        roles(node).into(),
        columns::age_of(node, now),
        info.text("kubeletVersion").into(),
        columns::or_none(address(node, "InternalIP")),
        columns::or_none(address(node, "ExternalIP")),
        or_unknown(info.text("osImage")),
        or_unknown(info.text("kernelVersion")),
        or_unknown(info.text("containerRuntimeVersion")),
    ]
}

fn status(node: &Value) -> String {
    let ready = node["status"].list("conditions").iter().find(|one| one.text("type") == "Ready");
    let mut status = match ready.map(|one| one.text("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"].flag("unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = node["metadata"]
        .entries("labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => Some(role),
            _ if key == ROLE_LABEL => value.as_str().filter(|role| !role.is_empty()),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = node["status"].list("addresses");
    addresses.iter().find(|one| one.text("type") == kind).map(|one| one.text("address")).unwrap_or_default()
}

fn check(node: &Value, errors: &mut FieldErrors) {
    // Upstream looks for taints in metadata.
    let at = Path::root("metadata");
    taints(at.child("taints"), node["spec"].list("taints"), errors);
    let status_at = Path::root("status");
    for field in ["capacity", "allocatable"] {
        let at = status_at.child(field);
        for (resource, value) in node["status"].entries(field) {
            resources::amount(at.child(resource), resource, value, errors);
        }
    }
    let spec_at = Path::root("spec");
    let cidrs_at = spec_at.child("podCIDRs");
    for (index, cidr) in node["spec"].list("podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        checks::cidr(cidrs_at.index(index), cidr, errors);
    }
}

fn taints(at: Path<'_>, taints: &[Value], errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (index, taint) in taints.iter().enumerate() {
        let at = at.index(index);
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        checks::qualified(at.child("key"), key, errors);
        let complaints = validity::label_value(taint.text("value"));
        if !complaints.is_empty() {
            errors.push(FieldError::invalid(at.child("value"), taint.text("value"), complaints.join(";")));
        }
        checks::one_of(at.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"], errors);
        if seen.contains(&(key, effect)) {
            let why = "taints must be unique by key and effect pair";
            // Upstream shows its internal struct.
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}",
                taint["key"],
                Value::from(taint.text("value")),
                taint["effect"]
            );
            errors.push(FieldError::duplicate_as(at, shown).with_detail(why));
        }
        seen.push((key, effect));
    }
}

/// Where a node is, once known, stays.
fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    if !old.list("podCIDRs").is_empty() && new["podCIDRs"] != old["podCIDRs"] {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(at.child("podCIDRs"), why));
    }
    if !old.text("providerID").is_empty() && new["providerID"] != old["providerID"] {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(at.child("providerID"), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_prints_its_state_and_roles() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let node = json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"}},
        });
        let want = json!([
            "n",
            "Ready,SchedulingDisabled",
            "control-plane,worker",
            "5s",
            "v1",
            "10.0.0.1",
            "<none>",
            "Debian",
            "<unknown>",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells(&node, now)), want);
        assert_eq!(status(&json!({})), "Unknown");
    }
}
