//! Security contexts of pods and containers.

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;

/// User and group ids are unsigned 32 bit numbers.
const ID_MAX: i64 = u32::MAX as i64;
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

pub(super) fn of_pod(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let context = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(at.child(field), context.int(field), errors);
    }
    let groups_at = at.child("supplementalGroups");
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        id(groups_at.index(index), group.as_i64(), errors);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(at.child("shareProcessNamespace"), true, why));
    }
    sysctls(at.child("sysctls"), spec, errors);
    let policy = context.text("fsGroupChangePolicy");
    checks::maybe_one_of(at.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"], errors);
    seccomp(at.child("seccompProfile"), &context["seccompProfile"], errors);
    app_armor(at.child("appArmorProfile"), &context["appArmorProfile"], errors);
    let policy = context.text("supplementalGroupsPolicy");
    checks::maybe_one_of(at.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"], errors);
    let policy = context.text("seLinuxChangePolicy");
    checks::maybe_one_of(at.child("seLinuxChangePolicy"), policy, &["MountOption", "Recursive"], errors);
}

pub(super) fn of_container(at: Path<'_>, context: &Value, spec: &Value, errors: &mut FieldErrors) {
    if context.is_null() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(at.child(field), context.int(field), errors);
    }
    let mount = context.text("procMount");
    checks::maybe_one_of(at.child("procMount"), mount, &["Default", "Unmasked"], errors);
    let own_users = spec.get("hostUsers").and_then(Value::as_bool) == Some(false);
    if mount == "Unmasked" && !own_users {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(at.child("procMount"), mount, why));
    }
    seccomp(at.child("seccompProfile"), &context["seccompProfile"], errors);
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) {
        escalation(at, context, errors);
    }
    app_armor(at.child("appArmorProfile"), &context["appArmorProfile"], errors);
}

fn escalation(at: Path<'_>, context: &Value, errors: &mut FieldErrors) {
    if context.flag("privileged") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(at, context.clone(), why));
    }
    if context["capabilities"].list("add").iter().any(|one| one == "CAP_SYS_ADMIN") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(at, context.clone(), why));
    }
}

fn id(at: Path<'_>, id: Option<i64>, errors: &mut FieldErrors) {
    if let Some(id) = id {
        checks::within(at, id, 0, ID_MAX, errors);
    }
}

fn sysctls(at: Path<'_>, spec: &Value, errors: &mut FieldErrors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, sysctl) in spec["securityContext"].list("sysctls").iter().enumerate() {
        let here = at.index(index);
        let at = here.child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(at, name, SYSCTL));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(at, name));
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.push(FieldError::invalid(at, name, "may not be specified when 'hostNetwork' is true"));
        }
        let of_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|start| dotted.starts_with(start));
        if spec.flag("hostIPC") && (of_ipc || dotted == "kernel.sem") {
            errors.push(FieldError::invalid(at, name, "may not be specified when 'hostIPC' is true"));
        }
        seen.push(name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= SYSCTL_MAX
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(edge)
                && bytes.last().is_some_and(edge)
                && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'_'))
        })
}

fn seccomp(at: Path<'_>, profile: &Value, errors: &mut FieldErrors) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    if kind.is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.push(FieldError::required(at.child("type"), why));
    }
    checks::maybe_one_of(at.child("type"), kind, &PROFILES, errors);
    let at = at.child("localhostProfile");
    match (kind, profile.has("localhostProfile")) {
        ("Localhost", false) => {
            errors.push(FieldError::required(at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", true) => super::volumes::local_path(at, profile.text("localhostProfile"), errors),
        (_, true) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(at, profile.clone(), why));
        }
        (_, false) => {}
    }
}

fn app_armor(at: Path<'_>, profile: &Value, errors: &mut FieldErrors) {
    if profile.is_null() {
        return;
    }
    let path_at = at.child("localhostProfile");
    let path = profile.text("localhostProfile");
    match profile.text("type") {
        "Localhost" if path.trim().is_empty() => {
            errors.push(FieldError::required(path_at, "must be set when AppArmor type is Localhost"));
        }
        "Localhost" if path.trim() != path => {
            errors.push(FieldError::invalid(path_at, path, "must not be padded with whitespace"));
        }
        "Localhost" => {}
        "RuntimeDefault" | "Unconfined" if profile.has("localhostProfile") => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(path_at, path, why));
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => errors
            .push(FieldError::required(at.child("type"), "type is required when appArmorProfile is set")),
        other => errors.push(FieldError::not_supported(at.child("type"), other, &PROFILES)),
    }
}
