//! Environment variables and where their values come from.

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::names;
use crate::kinds::read::Read;

/// Fields of the pod that a variable may show.
const OF_VARIABLES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const OF_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// Units in which a resource may be shown.
const DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn variables(at: Path<'_>, variables: &[Value], errors: &mut FieldErrors) {
    for (index, variable) in variables.iter().enumerate() {
        let at = at.index(index);
        let name = variable.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        } else {
            checks::complain(at.child("name"), name, names::variable(name), errors);
        }
        if variable.has("valueFrom") {
            value_from(at.child("valueFrom"), variable, errors);
        }
    }
}

pub(super) fn sources(at: Path<'_>, sources: &[Value], errors: &mut FieldErrors) {
    for (index, source) in sources.iter().enumerate() {
        let here = at.index(index);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            checks::complain(here.child("prefix"), prefix, names::variable(prefix), errors);
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            if source.has(field) {
                count += 1;
                let at = here.child(field);
                let name = source[field].text("name");
                if name.is_empty() {
                    errors.push(FieldError::required(at.child("name"), ""));
                } else {
                    checks::subdomain(at.child("name"), name, errors);
                }
            }
        }
        let why = match count {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(at, "", why));
    }
}

fn value_from(at: Path<'_>, variable: &Value, errors: &mut FieldErrors) {
    let from = &variable["valueFrom"];
    let mut count = 0;
    if from.has("fieldRef") {
        count += 1;
        field(at.child("fieldRef"), &from["fieldRef"], &OF_VARIABLES, errors);
    }
    if from.has("resourceFieldRef") {
        count += 1;
        resource(at.child("resourceFieldRef"), &from["resourceFieldRef"], false, errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(key) {
            count += 1;
            key_of(at.child(key), &from[key], errors);
        }
    }
    count += usize::from(from.has("fileKeyRef"));
    let why = if count == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !variable.text("value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if count > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.push(FieldError::invalid(at, "", why));
}

/// A reference to a field of the pod.
pub(super) fn field(at: Path<'_>, reference: &Value, allowed: &[&str], errors: &mut FieldErrors) {
    for field in ["apiVersion", "fieldPath"] {
        if reference.text(field).is_empty() {
            errors.push(FieldError::required(at.child(field), ""));
            return;
        }
    }
    let path = reference.text("fieldPath");
    if let Some((map, subscript)) = subscripted(path) {
        match map {
            "metadata.annotations" => checks::qualified(at, &subscript.to_lowercase(), errors),
            "metadata.labels" => checks::qualified(at, subscript, errors),
            _ => errors.push(FieldError::invalid(at, map, "does not support subscript")),
        }
        return;
    }
    const KNOWN: [&str; 3] = ["metadata.labels", "metadata.annotations", "spec.restartPolicy"];
    if !OF_VARIABLES.contains(&path) && !KNOWN.contains(&path) {
        let why = format!("error converting fieldPath: field label not supported: {path}");
        errors.push(FieldError::invalid(at.child("fieldPath"), path, why));
    } else if !allowed.contains(&path) {
        errors.push(FieldError::not_supported(at.child("fieldPath"), path, allowed));
    }
}

/// `metadata.labels['x']` is the map and the key.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A reference to what a container requests; volumes must say which container.
pub(super) fn resource(at: Path<'_>, reference: &Value, of_volume: bool, errors: &mut FieldErrors) {
    let name = reference.text("resource");
    let huge_pages = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if of_volume && reference.text("containerName").is_empty() {
        errors.push(FieldError::required(at.child("containerName"), ""));
    } else if name.is_empty() {
        errors.push(FieldError::required(at.child("resource"), ""));
    } else if !OF_RESOURCES.contains(&name) && !huge_pages {
        errors.push(FieldError::not_supported(at.child("resource"), name, &OF_RESOURCES));
    }
    let divisor = reference.text("divisor");
    if matches!(divisor, "" | "0") {
        return;
    }
    let why = match name.split_once('.').map(|(_, resource)| resource) {
        Some("cpu") if !matches!(divisor, "1m" | "1") => {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        Some(other) if other != "cpu" && !DIVISORS.contains(&divisor) => {
            let shown = match other {
                "ephemeral-storage" => "local ephemeral storage",
                "memory" => "memory",
                _ => "hugepages",
            };
            format!("only divisor's values {} are supported with the {shown} resource", DIVISORS.join(", "))
        }
        _ => return,
    };
    errors.push(FieldError::invalid(at.child("divisor"), name, why));
}

fn key_of(at: Path<'_>, reference: &Value, errors: &mut FieldErrors) {
    checks::subdomain(at.child("name"), reference.text("name"), errors);
    let key = reference.text("key");
    if key.is_empty() {
        errors.push(FieldError::required(at.child("key"), ""));
    } else {
        checks::complain(at.child("key"), key, names::config_key(key), errors);
    }
}
