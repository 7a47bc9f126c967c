//! What `kubectl get services` shows.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::columns::{self, Column};
use crate::kinds::read::Read;

const SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";

pub(super) fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        Column::field("Type", SPEC, "type"),
        Column::field("Cluster-IP", SPEC, "clusterIP"),
        Column::field("External-IP", SPEC, "externalIPs"),
        Column::field("Port(s)", SPEC, "ports"),
        columns::age(),
        Column::field("Selector", SPEC, "selector").wide(),
    ]
}

pub(super) fn cells(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    vec![
        service["metadata"]["name"].clone(),
        spec.text("type").into(),
        columns::or_none(spec.text("clusterIP")),
        external_ips(service).into(),
        ports(spec.list("ports")).into(),
        columns::age_of(service, now),
        columns::labels(&spec["selector"]).into(),
    ]
}

fn external_ips(service: &Value) -> String {
    let spec = &service["spec"];
    let own = || spec.list("externalIPs").iter().filter_map(Value::as_str);
    match spec.text("type") {
        "ClusterIP" | "NodePort" if own().next().is_some() => columns::joined(own(), ","),
        "ClusterIP" | "NodePort" => "<none>".to_owned(),
        "LoadBalancer" => {
            let all = columns::joined(ingress_points(&service["status"]).chain(own()), ",");
            if all.is_empty() { "<pending>".to_owned() } else { all }
        }
        "ExternalName" => spec.text("externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or names of a load balancer's status.
pub(in crate::kinds) fn ingress_points(status: &Value) -> impl Iterator<Item = &str> {
    status["loadBalancer"].list("ingress").iter().filter_map(|point| {
        [point.text("ip"), point.text("hostname")].into_iter().find(|text| !text.is_empty())
    })
}

fn ports(ports: &[Value]) -> String {
    let texts: Vec<_> = ports
        .iter()
        .map(|port| {
            let (number, protocol) = (port.int("port").unwrap_or_default(), port.text("protocol"));
            match port.int("nodePort").unwrap_or_default() {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_show_where_they_are_reached() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let table = [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 80, "protocol": "TCP"}]}),
                json!([null, "ClusterIP", "10.96.0.1", "<none>", "80/TCP", "<unknown>", "<none>"]),
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.2", "selector": {"a": "b"},
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
                json!([
                    null,
                    "LoadBalancer",
                    "10.96.0.2",
                    "<pending>",
                    "80:30080/TCP,53/UDP",
                    "<unknown>",
                    "a=b"
                ]),
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!([null, "ExternalName", "<none>", "a.b", "<none>", "<unknown>", "<none>"]),
            ),
        ];
        for (spec, want) in table {
            assert_eq!(Value::from(cells(&json!({"metadata": {}, "spec": spec}), now)), want);
        }
    }
}
