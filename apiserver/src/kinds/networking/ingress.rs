//! Ingress and IngressClass.

use jiff::Timestamp;
use serde_json::Value;

use super::V1;
use crate::kinds::Subresource;
use crate::kinds::columns::{self, Column};
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
        .strategy(Rules { status: Some(r#"{"loadBalancer": {}}"#), ..Rules::SPEC_AND_STATUS })
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
