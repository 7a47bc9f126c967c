//! Ingress and IngressClass.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::Subresource;
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::metadata;
use crate::kinds::names;
use crate::kinds::read::{Read, default_text};
use crate::kinds::row::Row;
use crate::kinds::service::ingress_points;
use crate::kinds::strategy::Rules;

/// How many hosts the table shows.
const SHOWN: usize = 3;

pub(super) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Class",
            "The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        Column::text("Address", "Address is a list containing ingress points for the load-balancer"),
        Column::text("Ports", "Ports of TLS configurations that open"),
        columns::age(),
    ];
    Row::namespaced(V1, "Ingress", "ingresses")
        .short(&["ing"])
        .subresources(&[Subresource::Status])
        .strategy(Rules {
            status: Some(r#"{"loadBalancer": {}}"#),
            validate: check,
            ..Rules::SPEC_AND_STATUS
        })
        .columns(columns, cells)
}

pub(super) fn classes() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Controller", "Controller that is responsible for handling this class"),
        Column::text("Parameters", "A reference to a resource with additional parameters"),
        columns::age(),
    ];
    Row::cluster(V1, "IngressClass", "ingressclasses")
        .strategy(Rules {
            generation: true,
            validate: check_class,
            validate_update: check_class_update,
            defaults: |class| {
                if class["spec"].has("parameters") {
                    default_text(&mut class["spec"]["parameters"], "scope", "Cluster");
                }
            },
            ..Rules::PLAIN
        })
        .columns(columns, |class, now| {
            vec![
                class["metadata"]["name"].clone(),
                class["spec"].text("controller").into(),
                parameters(&class["spec"]["parameters"]).into(),
                columns::age_of(class, now),
            ]
        })
}

fn cells(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &ingress["spec"];
    vec![
        ingress["metadata"]["name"].clone(),
        columns::or_none(spec.text("ingressClassName")),
        hosts(spec.list("rules")).into(),
        columns::joined(ingress_points(&ingress["status"]), ",").into(),
        if spec.list("tls").is_empty() { "80" } else { "80, 443" }.into(),
        columns::age_of(ingress, now),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let named: Vec<_> = rules.iter().map(|rule| rule.text("host")).filter(|host| !host.is_empty()).collect();
    if named.is_empty() {
        return "*".to_owned();
    }
    let text = columns::joined(named.iter().copied().take(SHOWN), ",");
    // Upstream counts the rules, not the hosts.
    if named.len() >= SHOWN && rules.len() > SHOWN {
        format!("{text} + {} more...", rules.len() - SHOWN)
    } else {
        text
    }
}

fn parameters(parameters: &Value) -> String {
    if parameters.is_null() {
        return "<none>".to_owned();
    }
    let (kind, name) = (parameters.text("kind"), parameters.text("name"));
    match parameters.text("apiGroup") {
        "" => format!("{kind}/{name}"),
        group => format!("{kind}.{group}/{name}"),
    }
}

/// Longest name of a controller.
const CONTROLLER_MAX: usize = 250;

fn check(ingress: &Value, errors: &mut FieldErrors) {
    const AT: Path<'static> = Path::root("spec");
    let spec = &ingress["spec"];
    let rules = spec.list("rules");
    if rules.is_empty() && !spec.has("defaultBackend") {
        let shown = spec.get("rules").cloned().unwrap_or(Value::Null);
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(AT, shown, why));
    }
    if spec.has("defaultBackend") {
        backend(AT.child("defaultBackend"), &spec["defaultBackend"], errors);
    }
    let rules_at = AT.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        check_rule(rules_at.index(index), rule, errors);
    }
    let tls_at = AT.child("tls");
    for (index, tls) in spec.list("tls").iter().enumerate() {
        let at = tls_at.index(index);
        let hosts_at = at.child("hosts");
        for (index, host) in tls.list("hosts").iter().filter_map(Value::as_str).enumerate() {
            check_host(hosts_at.index(index), host, errors);
        }
        if !tls.text("secretName").is_empty() {
            checks::subdomain(at.child("secretName"), tls.text("secretName"), errors);
        }
    }
    if spec.has("ingressClassName") {
        checks::subdomain(AT.child("ingressClassName"), spec.text("ingressClassName"), errors);
    }
}

fn check_host(at: Path<'_>, host: &str, errors: &mut FieldErrors) {
    if host.contains('*') {
        checks::complain(at, host, names::wildcard_subdomain(host), errors);
    } else {
        checks::subdomain(at, host, errors);
    }
}

fn check_rule(at: Path<'_>, rule: &Value, errors: &mut FieldErrors) {
    let host = rule.text("host");
    if !host.is_empty() {
        if host.parse::<std::net::IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(at.child("host"), host, why));
        }
        check_host(at.child("host"), host, errors);
    }
    if !rule.has("http") {
        return;
    }
    let at = at.child("http");
    let at = at.child("paths");
    let paths = rule["http"].list("paths");
    if paths.is_empty() {
        errors.push(FieldError::required(at, ""));
    }
    for (index, path) in paths.iter().enumerate() {
        check_path(at.index(index), path, errors);
    }
}

fn check_path(at: Path<'_>, path: &Value, errors: &mut FieldErrors) {
    let (path_at, text) = (at.child("path"), path.text("path"));
    match path.text("pathType") {
        "" => {
            errors.push(FieldError::required(at.child("pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(FieldError::invalid(path_at, text, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(*part)) {
                errors.push(FieldError::invalid(path_at, text, format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(*end)) {
                errors.push(FieldError::invalid(path_at, text, format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(FieldError::invalid(path_at, text, "must be an absolute path"));
            }
        }
        other => {
            const TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(at.child("pathType"), other, &TYPES));
        }
    }
    backend(at.child("backend"), &path["backend"], errors);
}

fn backend(at: Path<'_>, backend: &Value, errors: &mut FieldErrors) {
    match (backend.has("service"), backend.has("resource")) {
        (true, true) => {
            let why = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(at, "", why));
        }
        (false, false) => errors.push(FieldError::invalid(at, "", "resource or service backend is required")),
        (false, true) => {
            let resource_at = at.child("resource");
            for field in ["kind", "name"] {
                checks::required(resource_at.child(field), backend["resource"].text(field), errors);
            }
        }
        (true, false) => service(at.child("service"), &backend["service"], errors),
    }
}

fn service(at: Path<'_>, service: &Value, errors: &mut FieldErrors) {
    let name = service.text("name");
    if name.is_empty() {
        errors.push(FieldError::required(at.child("name"), ""));
    } else {
        checks::label(at.child("name"), name, errors);
    }
    let (port_at, port) = (at.child("port"), &service["port"]);
    match (port.text("name"), port.int("number").unwrap_or_default()) {
        ("", 0) => errors.push(FieldError::required(at, "port name or number is required")),
        ("", number) => checks::port_number(port_at.child("number"), number, errors),
        (name, 0) => checks::complain(port_at.child("name"), name, checks::port_name(name), errors),
        _ => errors.push(FieldError::invalid(at, "", "cannot set both port name & port number")),
    }
}

fn check_class(class: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    let (controller_at, controller) = (at.child("controller"), class["spec"].text("controller"));
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(controller_at, CONTROLLER_MAX));
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => errors.push(FieldError::required(controller_at, "")),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            checks::subdomain(controller_at, host, errors)
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(controller_at, controller, why));
        }
    }
    let parameters = &class["spec"]["parameters"];
    if parameters.is_null() {
        return;
    }
    let at = at.child("parameters");
    for field in ["kind", "name"] {
        checks::required(at.child(field), parameters.text(field), errors);
    }
    checks::one_of(at.child("scope"), parameters.text("scope"), &["Cluster", "Namespace"], errors);
    match (parameters.text("scope"), parameters.has("namespace")) {
        ("Namespace", false) => {
            let why = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(at.child("namespace"), why));
        }
        ("Cluster", true) => {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(at.child("namespace"), why));
        }
        _ => {}
    }
}

fn check_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::root("spec");
    metadata::immutable(
        at.child("controller"),
        &new["spec"]["controller"],
        &old["spec"]["controller"],
        errors,
    );
}
