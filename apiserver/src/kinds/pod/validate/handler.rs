//! Probes and lifecycle hooks, and what they call.

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;

const OF_PROBES: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const OF_HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

pub(super) fn lifecycle_and_probes(at: Path<'_>, container: &Value, spec: &Value, errors: &mut FieldErrors) {
    let grace = spec.int("terminationGracePeriodSeconds");
    let lifecycle_at = at.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        let handler_of = &container["lifecycle"][hook];
        if !handler_of.is_null() {
            handler(lifecycle_at.child(hook), handler_of, &OF_HOOKS, grace, errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            probe(at.child(name), name, &container[name], errors);
        }
    }
}

fn probe(at: Path<'_>, name: &str, probe: &Value, errors: &mut FieldErrors) {
    handler(at, probe, &OF_PROBES, None, errors);
    const NUMBERS: [&str; 5] =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    checks::none_negative(at, probe, &NUMBERS, errors);
    let grace = probe.int("terminationGracePeriodSeconds");
    let grace_at = at.child("terminationGracePeriodSeconds");
    if let Some(seconds) = grace.filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(grace_at, seconds, "must be greater than 0"));
    }
    if name == "readinessProbe" {
        if let Some(seconds) = grace {
            errors.push(FieldError::invalid(grace_at, seconds, "must not be set for readinessProbes"));
        }
    } else if let Some(threshold) = probe.int("successThreshold").filter(|threshold| *threshold != 1) {
        errors.push(FieldError::invalid(at.child("successThreshold"), threshold, "must be 1"));
    }
}

fn handler(at: Path<'_>, handler: &Value, kinds: &[&str], grace: Option<i64>, errors: &mut FieldErrors) {
    let mut found = false;
    for kind in kinds.iter().filter(|kind| handler.has(kind)) {
        let at = at.child(kind);
        if std::mem::replace(&mut found, true) {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 handler type"));
        } else {
            action(at, kind, &handler[*kind], grace, errors);
        }
    }
    if !found {
        errors.push(FieldError::required(at, "must specify a handler type"));
    }
}

fn action(at: Path<'_>, kind: &str, action: &Value, grace: Option<i64>, errors: &mut FieldErrors) {
    match kind {
        "exec" if action.list("command").is_empty() => {
            errors.push(FieldError::required(at.child("command"), ""));
        }
        "httpGet" => {
            checks::required(at.child("path"), action.text("path"), errors);
            checks::port(at.child("port"), &action["port"], errors);
            let scheme = action.text("scheme");
            if !matches!(scheme, "HTTP" | "HTTPS") {
                errors.push(FieldError::not_supported(at.child("scheme"), scheme, &["HTTP", "HTTPS"]));
            }
            for header in action.list("httpHeaders") {
                let name = header.text("name");
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    errors.push(FieldError::invalid(at.child("httpHeaders"), name, HEADER));
                }
            }
        }
        "tcpSocket" | "grpc" => checks::port(at.child("port"), &action["port"], errors),
        "sleep" => {
            let seconds = action.int("seconds").unwrap_or_default();
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let why =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(FieldError::invalid(at, seconds, why));
            }
        }
        _ => {}
    }
}
