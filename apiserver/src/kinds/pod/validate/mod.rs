//! What is wrong with a pod, or with the pod template of a workload.
//!
//! Promise: errors come in upstream's order with upstream's texts.
//! Source: kubernetes `pkg/apis/core/validation` (`ValidatePodSpec` and below).

mod affinity;
mod container;
mod environment;
mod handler;
mod security;
mod spread;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::metadata;
use crate::kinds::names;
use crate::kinds::read::Read;
use crate::kinds::resources;

pub(in crate::kinds) use affinity::{node_selector, tolerations};

const SPEC: Path<'static> = Path::root("spec");
/// Deadlines are seconds that fit 32 bits.
const DEADLINE_MAX: i64 = i32::MAX as i64;

/// Whose spec it is: some rules hold for pods only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kinds) enum Owner {
    Pod,
    Template,
}

/// A pod as it is created.
pub(super) fn pod(pod: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    of_pod(pod, &mut errors);
    let spec = &pod["spec"];
    if !spec.list("ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(SPEC.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(SPEC.child("nodeName"), why));
    }
    errors
}

/// What holds for a pod at any time.
pub(super) fn of_pod(pod: &Value, errors: &mut FieldErrors) {
    let spec = &pod["spec"];
    let name = pod["metadata"].text("name");
    self::spec(SPEC, spec, Some(name), Owner::Pod, errors);
    if spec.text("serviceAccountName").is_empty() {
        token_without_account(spec, errors);
    }
    for list in ["containers", "initContainers"] {
        let at = SPEC.child(list);
        for (index, container) in spec.list(list).iter().enumerate() {
            untrimmed_image(at.index(index), container, errors);
        }
    }
}

/// A pod template: its metadata and its spec.
pub(in crate::kinds) fn template(at: Path<'_>, template: &Value, errors: &mut FieldErrors) {
    let meta = &template["metadata"];
    metadata::labels(at.child("labels"), &meta["labels"], errors);
    metadata::annotations(at.child("annotations"), &meta["annotations"], errors);
    let spec_at = at.child("spec");
    spec(spec_at, &template["spec"], None, Owner::Template, errors);
    if !template["spec"].list("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(spec_at.child("ephemeralContainers"), why));
    }
}

/// Labels and annotations of a template, where the rest is not looked at.
pub(in crate::kinds) fn template_metadata(at: Path<'_>, template: &Value, errors: &mut FieldErrors) {
    let meta = &template["metadata"];
    metadata::labels(at.child("labels"), &meta["labels"], errors);
    metadata::annotations(at.child("annotations"), &meta["annotations"], errors);
}

fn spec(at: Path<'_>, spec: &Value, pod_name: Option<&str>, owner: Owner, errors: &mut FieldErrors) {
    let volumes = volumes::volumes(at.child("volumes"), spec.list("volumes"), pod_name, errors);
    let claims = resource_claims(at.child("resourceClaims"), spec.list("resourceClaims"), errors);
    let setting = container::Setting { spec, volumes: &volumes, claims: &claims };
    container::containers(at.child("containers"), &setting, errors);
    container::init_containers(at.child("initContainers"), &setting, errors);
    container::ephemeral_containers(at.child("ephemeralContainers"), &setting, errors);
    host_network_ports(at, spec, owner, errors);
    checks::one_of(
        at.child("restartPolicy"),
        spec.text("restartPolicy"),
        &["Always", "OnFailure", "Never"],
        errors,
    );
    const DNS: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    checks::one_of(at.child("dnsPolicy"), spec.text("dnsPolicy"), &DNS, errors);
    metadata::labels(at.child("nodeSelector"), &spec["nodeSelector"], errors);
    security::of_pod(at.child("securityContext"), spec, errors);
    affinity::affinity(at.child("affinity"), &spec["affinity"], errors);
    dns_config(at.child("dnsConfig"), spec, errors);
    readiness_gates(at.child("readinessGates"), spec.list("readinessGates"), errors);
    scheduling_gates(at.child("schedulingGates"), spec.list("schedulingGates"), errors);
    spread::constraints(
        at.child("topologySpreadConstraints"),
        spec.list("topologySpreadConstraints"),
        errors,
    );
    scheduling_group(at.child("schedulingGroup"), &spec["schedulingGroup"], errors);
    host_users(at, spec, errors);
    names_and_numbers(at, spec, errors);
    tolerations(at.child("tolerations"), spec.list("tolerations"), errors);
    host_aliases(at.child("hostAliases"), spec.list("hostAliases"), errors);
    classes(at, spec, errors);
    if spec.has("overhead") {
        let overhead_at = at.child("overhead");
        let limits_at = overhead_at.child("limits");
        for (name, value) in spec.entries("overhead") {
            resources::of_container(limits_at.key(name), name, errors);
            resources::amount(limits_at.key(name), name, value, errors);
        }
    }
    operating_system(at.child("os"), &spec["os"], errors);
}

fn resource_claims<'a>(at: Path<'_>, claims: &'a [Value], errors: &mut FieldErrors) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let at = at.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(at.child("name"), name));
        } else {
            checks::label(at.child("name"), name, errors);
            seen.push(name);
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.has(field) {
                checks::subdomain(at.child(field), claim.text(field), errors);
            }
        }
        let why = match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            (false, false) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            _ => continue,
        };
        errors.push(FieldError::invalid(at, claim.clone(), why));
    }
    seen
}

/// On the host's network a container's port is the host's port.
fn host_network_ports(at: Path<'_>, spec: &Value, owner: Owner, errors: &mut FieldErrors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    let at = at.child("containers");
    for (index, container) in spec.list("containers").iter().enumerate() {
        let at = at.index(index);
        let at = at.child("ports");
        for (index, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or_default();
            let same = host == port.int("containerPort").unwrap_or_default();
            if !same && (owner == Owner::Pod || host != 0) {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(at.index(index).child("hostPort"), host, why));
            }
        }
    }
}

fn dns_config(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    const SEARCH_CHARS: usize = 2048;
    let config = &spec["dnsConfig"];
    let (servers, searches) = (config.list("nameservers"), config.list("searches"));
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(at, why));
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(at.child("nameservers"), why));
            return;
        }
    }
    let servers_at = at.child("nameservers");
    if servers.len() > NAMESERVERS {
        let why = format!("must not have more than {NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(servers_at, config["nameservers"].clone(), why));
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        checks::ip(servers_at.index(index), server, errors);
    }
    let searches_at = at.child("searches");
    if searches.len() > SEARCHES {
        let why = format!("must not have more than {SEARCHES} search paths");
        errors.push(FieldError::invalid(searches_at, config["searches"].clone(), why));
    }
    let chars: usize = searches.iter().filter_map(Value::as_str).map(|search| search.len() + 1).sum();
    if chars > SEARCH_CHARS + 1 {
        let why = format!(
            "must not have more than {SEARCH_CHARS} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(searches_at, config["searches"].clone(), why));
    }
    for (index, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            checks::complain(
                searches_at.index(index),
                search,
                names::subdomain_with_underscores(search),
                errors,
            );
        }
    }
    let options_at = at.child("options");
    for (index, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(FieldError::required(options_at.index(index), "must not be empty"));
        }
    }
}

fn readiness_gates(at: Path<'_>, gates: &[Value], errors: &mut FieldErrors) {
    for (index, gate) in gates.iter().enumerate() {
        checks::qualified(at.index(index).child("conditionType"), gate.text("conditionType"), errors);
    }
}

fn scheduling_gates(at: Path<'_>, gates: &[Value], errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        checks::qualified(at.index(index), name, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(at.index(index), name));
        }
    }
}

/// The group that the pod starts with.
fn scheduling_group(at: Path<'_>, group: &Value, errors: &mut FieldErrors) {
    if group.has("podGroupName") {
        checks::subdomain(at.child("podGroupName"), group.text("podGroupName"), errors);
    } else if !group.is_null() {
        errors.push(FieldError::invalid(at, "", "must specify one of: `podGroupName`"));
    }
}

fn host_users(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    if spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errors.push(FieldError::forbidden(at.child(shown), "when `pod.Spec.HostUsers` is false"));
        }
    }
}

fn names_and_numbers(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    for field in ["serviceAccountName", "nodeName"] {
        if !spec.text(field).is_empty() {
            checks::subdomain(at.child(field), spec.text(field), errors);
        }
    }
    if let Some(seconds) = spec.int("activeDeadlineSeconds") {
        checks::within(at.child("activeDeadlineSeconds"), seconds, 1, DEADLINE_MAX, errors);
    }
    for field in ["hostname", "subdomain"] {
        if !spec.text(field).is_empty() {
            checks::label(at.child(field), spec.text(field), errors);
        }
    }
}

fn host_aliases(at: Path<'_>, aliases: &[Value], errors: &mut FieldErrors) {
    for (index, alias) in aliases.iter().enumerate() {
        let at = at.index(index);
        checks::ip(at.child("ip"), alias.text("ip"), errors);
        let at = at.child("hostnames");
        for (index, name) in alias.list("hostnames").iter().filter_map(Value::as_str).enumerate() {
            checks::subdomain(at.index(index), name, errors);
        }
    }
}

fn classes(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    if !spec.text("priorityClassName").is_empty() {
        checks::subdomain(at.child("priorityClassName"), spec.text("priorityClassName"), errors);
    }
    if spec.has("runtimeClassName") {
        checks::subdomain(at.child("runtimeClassName"), spec.text("runtimeClassName"), errors);
    }
    if spec.has("preemptionPolicy") {
        const POLICIES: [&str; 2] = ["PreemptLowerPriority", "Never"];
        checks::one_of(at.child("preemptionPolicy"), spec.text("preemptionPolicy"), &POLICIES, errors);
    }
}

fn operating_system(at: Path<'_>, os: &Value, errors: &mut FieldErrors) {
    if os.is_null() {
        return;
    }
    match os.text("name") {
        "" => errors.push(FieldError::required(at.child("name"), "cannot be empty")),
        name => checks::maybe_one_of(at, name, &["linux", "windows"], errors),
    }
}

fn token_without_account(spec: &Value, errors: &mut FieldErrors) {
    let at = SPEC.child("volumes");
    for (index, volume) in spec.list("volumes").iter().enumerate() {
        let at = at.index(index);
        let at = at.child("projected");
        let at = at.child("sources");
        for (index, source) in volume["projected"].list("sources").iter().enumerate() {
            if source.has("serviceAccountToken") {
                let why = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(at.index(index).child("serviceAccountToken"), why));
            }
        }
    }
}

/// Upstream's look at images when a pod, not a template, is written.
pub(super) fn untrimmed_image(at: Path<'_>, container: &Value, errors: &mut FieldErrors) {
    let image = container.text("image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(at.child("image"), image, why));
    }
}

/// The sources a volume name stands for.
type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The errors of a pod with this spec, after defaults.
    fn texts(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
        crate::kinds::pod::defaults::pod(&mut object);
        pod(&object).iter().map(ToString::to_string).collect()
    }

    fn with(container: Value) -> Value {
        let mut object = json!({"name": "c", "image": "a"});
        for (key, value) in container.as_object().unwrap() {
            object[key] = value.clone();
        }
        json!({"containers": [object]})
    }

    #[test]
    fn errors_read_as_upstreams() {
        let table = [
            (json!({"containers": []}), "spec.containers: Required value"),
            (with(json!({"image": ""})), "spec.containers[0].image: Required value"),
            (
                json!({"containers": [{"name": "c", "image": "a"}, {"name": "c", "image": "a"}]}),
                "spec.containers[1].name: Duplicate value: \"c\"",
            ),
            (with(json!({"env": [{"value": "x"}]})), "spec.containers[0].env[0].name: Required value"),
            (
                with(json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]})),
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ),
            (
                with(json!({"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"},
                    {"containerPort": 81, "hostPort": 80, "protocol": "TCP"}]})),
                "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\"",
            ),
            (
                with(json!({"livenessProbe": {}})),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                json!({"containers": [{"name": "c", "image": "a"}],
                    "volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            ),
            (
                json!({"containers": [{"name": "c", "image": "a"}], "tolerations": [{"operator": "Exists", "value": "x"}]}),
                "spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
            ),
            (
                json!({"containers": [{"name": "c", "image": "a"}], "hostNetwork": true, "restartPolicy": "Sometimes"}),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
        ];
        for (spec, text) in table {
            assert_eq!(texts(spec.clone()), [text], "{spec}");
        }
        assert!(texts(with(json!({}))).is_empty());
    }

    #[test]
    fn constraints_report_everything_at_once() {
        let mut spec = with(json!({}));
        spec["topologySpreadConstraints"] =
            json!([{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Never"}]);
        assert_eq!(
            texts(spec),
            [
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported values: \
             \"DoNotSchedule\", \"ScheduleAnyway\"",
            ]
        );
    }
}
