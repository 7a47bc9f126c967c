//! Containers: regular, init and ephemeral ones.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Volumes, environment, handler, security, untrimmed_image};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;
use crate::kinds::resources;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// What a container added for debugging may not have.
const NOT_EPHEMERAL: [&str; 7] =
    ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"];

/// What the containers of a pod refer to.
pub(super) struct Setting<'a> {
    pub(super) spec: &'a Value,
    pub(super) volumes: &'a Volumes<'a>,
    /// Names of the pod's resource claims.
    pub(super) claims: &'a [&'a str],
}

pub(super) fn containers(at: Path<'_>, setting: &Setting<'_>, errors: &mut FieldErrors) {
    let containers = setting.spec.list("containers");
    if containers.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = at.index(index);
        common(at, container, setting, errors);
        unique(at, container, &mut names, errors);
        handler::lifecycle_and_probes(at, container, setting.spec, errors);
        if container.has("restartPolicy") && !container.has("restartPolicyRules") {
            let words = ["Always", "OnFailure", "Never"];
            checks::one_of(at.child("restartPolicy"), container.text("restartPolicy"), &words, errors);
        }
    }
    host_ports(at, containers, errors);
}

pub(super) fn init_containers(at: Path<'_>, setting: &Setting<'_>, errors: &mut FieldErrors) {
    let mut names: BTreeSet<&str> =
        setting.spec.list("containers").iter().map(|one| one.text("name")).collect();
    for (index, container) in setting.spec.list("initContainers").iter().enumerate() {
        let here = at.index(index);
        common(here, container, setting, errors);
        if container.has("restartPolicy") {
            let words = ["Always", "OnFailure", "Never"];
            checks::one_of(here.child("restartPolicy"), container.text("restartPolicy"), &words, errors);
        }
        unique(here, container, &mut names, errors);
        host_ports(at, std::slice::from_ref(container), errors);
        if container.text("restartPolicy") == "Always" {
            handler::lifecycle_and_probes(here, container, setting.spec, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(here.child(field), why));
            }
        }
    }
}

pub(super) fn ephemeral_containers(at: Path<'_>, setting: &Setting<'_>, errors: &mut FieldErrors) {
    let others = || {
        let lists = ["containers", "initContainers"];
        lists.into_iter().flat_map(|list| setting.spec.list(list)).map(|one| one.text("name"))
    };
    let mut names: BTreeSet<&str> = others().collect();
    for (index, container) in setting.spec.list("ephemeralContainers").iter().enumerate() {
        let at = at.index(index);
        common(at, container, setting, errors);
        untrimmed_image(at, container, errors);
        unique(at, container, &mut names, errors);
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others().any(|name| name == target) {
            errors.push(FieldError::not_found(at.child("targetContainerName"), target));
        }
        for field in NOT_EPHEMERAL {
            let empty = match &container[field] {
                Value::Null => true,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if !empty {
                errors
                    .push(FieldError::forbidden(at.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
        let at = at.child("volumeMounts");
        for (index, mount) in container.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    let why = "cannot be set for an Ephemeral Container";
                    errors.push(FieldError::forbidden(at.index(index).child(field), why));
                }
            }
        }
    }
}

fn unique<'a>(at: Path<'_>, container: &'a Value, names: &mut BTreeSet<&'a str>, errors: &mut FieldErrors) {
    let name = container.text("name");
    if !name.is_empty() && !names.insert(name) {
        errors.push(FieldError::duplicate(at.child("name"), name));
    }
}

fn common(at: Path<'_>, container: &Value, setting: &Setting<'_>, errors: &mut FieldErrors) {
    let name = container.text("name");
    if name.is_empty() {
        errors.push(FieldError::required(at.child("name"), ""));
    } else {
        checks::label(at.child("name"), name, errors);
    }
    checks::required(at.child("image"), container.text("image"), errors);
    let policy_at = at.child("terminationMessagePolicy");
    const POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
    checks::one_of(policy_at, container.text("terminationMessagePolicy"), &POLICIES, errors);
    ports(at.child("ports"), container.list("ports"), errors);
    environment::variables(at.child("env"), container.list("env"), errors);
    environment::sources(at.child("envFrom"), container.list("envFrom"), errors);
    mounts(at.child("volumeMounts"), container, setting.volumes, errors);
    devices(at.child("volumeDevices"), container, setting.volumes, errors);
    const PULL: [&str; 3] = ["Always", "IfNotPresent", "Never"];
    checks::one_of(at.child("imagePullPolicy"), container.text("imagePullPolicy"), &PULL, errors);
    resources::requirements(at.child("resources"), &container["resources"], setting.claims, errors);
    resize_policy(at.child("resizePolicy"), container, setting.spec, errors);
    security::of_container(at.child("securityContext"), &container["securityContext"], setting.spec, errors);
}

fn ports(at: Path<'_>, ports: &[Value], errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let complaints = checks::port_name(name);
            if complaints.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(at.child("name"), name));
            }
            checks::complain(at.child("name"), name, complaints, errors);
        }
        match port.int("containerPort").unwrap_or_default() {
            0 => errors.push(FieldError::required(at.child("containerPort"), "")),
            number => checks::port_number(at.child("containerPort"), number, errors),
        }
        match port.int("hostPort").unwrap_or_default() {
            0 => {}
            number => checks::port_number(at.child("hostPort"), number, errors),
        }
        checks::one_of(at.child("protocol"), port.text("protocol"), &PROTOCOLS, errors);
    }
}

/// No two containers of a pod may want the same port of the host.
fn host_ports(at: Path<'_>, containers: &[Value], errors: &mut FieldErrors) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = at.index(index);
        let at = at.child("ports");
        for (index, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or_default();
            let wanted = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if number != 0 && !taken.insert(wanted.clone()) {
                errors.push(FieldError::duplicate(at.index(index).child("hostPort"), wanted));
            }
        }
    }
}

fn mounts(at: Path<'_>, container: &Value, volumes: &Volumes<'_>, errors: &mut FieldErrors) {
    let mut paths = BTreeSet::new();
    let devices = container.list("volumeDevices");
    for (index, mount) in container.list("volumeMounts").iter().enumerate() {
        let here = at.index(index);
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        checks::required(here.child("name"), name, errors);
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(here.child("name"), name));
        }
        checks::required(here.child("mountPath"), path, errors);
        if !paths.insert(path) {
            errors.push(FieldError::invalid(here.child("mountPath"), path, "must be unique"));
        }
        if devices.iter().any(|device| device.text("name") == name) {
            let why = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(here.child("name"), name, why));
        }
        if devices.iter().any(|device| device.text("devicePath") == path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(here.child("mountPath"), path, why));
        }
        sub_paths(at, here, mount, errors);
        propagation(at.child("mountPropagation"), mount, container, errors);
    }
}

/// Upstream names the list, not the mount, in some of these.
fn sub_paths(at: Path<'_>, here: Path<'_>, mount: &Value, errors: &mut FieldErrors) {
    let (plain, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    if !plain.is_empty() {
        super::volumes::local_path(at.child("subPath"), plain, errors);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(here.child("subPathExpr"), expression, why));
        }
        super::volumes::local_path(at.child("subPathExpr"), expression, errors);
    }
}

fn propagation(at: Path<'_>, mount: &Value, container: &Value, errors: &mut FieldErrors) {
    let mode = mount.text("mountPropagation");
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    checks::maybe_one_of(at, mode, &MODES, errors);
    if mode == "Bidirectional" && !container["securityContext"].flag("privileged") {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(at, why));
    }
}

fn devices(at: Path<'_>, container: &Value, volumes: &Volumes<'_>, errors: &mut FieldErrors) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.list("volumeDevices").iter().enumerate() {
        let at = at.index(index);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        checks::required(at.child("name"), name, errors);
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::invalid(at.child("name"), name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(at.child("name"), name)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(at.child("name"), name, why));
            }
            Some(_) => {}
        }
        checks::required(at.child("devicePath"), path, errors);
        if !paths.insert(path) {
            errors.push(FieldError::invalid(at.child("devicePath"), path, "must be unique"));
        }
        if path.split('/').any(|part| part == "..") {
            let why = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(at.child("devicePath"), path, why));
        }
    }
}

fn resize_policy(at: Path<'_>, container: &Value, spec: &Value, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, policy) in container.list("resizePolicy").iter().enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(at.index(index), resource));
        }
        checks::one_of(at, resource, &["cpu", "memory"], errors);
        checks::one_of(at, restart, &["NotRequired", "RestartContainer"], errors);
        if spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(at, restart, why));
        }
    }
}
