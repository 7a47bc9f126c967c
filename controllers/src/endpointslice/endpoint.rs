//! The endpoints a Service should have: each pod that it selects, once an address family, with the ports that the
//! Service's target ports mean on that pod. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::pod;
use objects::views::{Node, Pod};

use super::diff::Group;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The address families a Service has slices for: `IPv4`, `IPv6` or both.
pub(super) fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let named = spec.ip_families.iter().flatten().filter_map(|family| match family.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    });
    let named: Vec<&str> = named.collect();
    if !named.is_empty() {
        return named;
    }
    match spec.cluster_ip.as_deref().and_then(|address| address.parse().ok()) {
        Some(address) => vec![family(&address)],
        // Headless, from before Services had families: whatever the pods have.
        None => vec!["IPv4", "IPv6"],
    }
}

/// The wanted endpoints, by family and ports. `node` finds a pod's node. Also tells whether a pod was left out
/// because its node is not known (yet).
pub(super) fn groups(
    service: &Service,
    families: &[&'static str],
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> (Vec<Group>, bool) {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut left_out = false;
    let Some(spec) = &service.spec else { return (Vec::new(), false) };
    for found in pods.iter().filter(|found| !pod::is_finished(found)) {
        let on = found.node_name().map(|name| (name, node(name)));
        if matches!(on, Some((_, None))) && spec.publish_not_ready_addresses != Some(true) {
            left_out = true;
            continue;
        }
        let zone = on.as_ref().and_then(|(_, node)| node.as_ref()?.label(ZONE_LABEL).map(str::to_owned));
        let ports = ports(spec, found);
        for family in families {
            let Some(endpoint) = endpoint(service, spec, found, family, zone.clone()) else { continue };
            let group = groups.entry(format!("{family} {ports:?}")).or_insert_with(|| Group {
                family,
                ports: ports.clone(),
                endpoints: Vec::new(),
            });
            group.endpoints.push(endpoint);
        }
    }
    (groups.into_values().collect(), left_out)
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    found: &Pod,
    wanted: &str,
    zone: Option<String>,
) -> Option<Endpoint> {
    let ips = found.status.pod_ips.iter().map(|ip| ip.ip.as_str());
    let addresses: Vec<String> = ips
        .filter(|ip| ip.parse().is_ok_and(|address| family(&address) == wanted))
        .map(str::to_owned)
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let (serving, terminating) = (pod::is_ready(found), pod::is_terminating(found));
    let ready = spec.publish_not_ready_addresses == Some(true) || (serving && !terminating);
    let named = found.spec.hostname.as_ref().filter(|name| !name.is_empty());
    let in_domain = found.spec.subdomain.is_some() && found.spec.subdomain == service.metadata.name;
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: named.filter(|_| in_domain).cloned(),
        node_name: found.node_name().map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: found.metadata.namespace.clone(),
            name: found.metadata.name.clone(),
            uid: found.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        hints: hints(spec.traffic_distribution.as_deref(), ready, zone.as_deref(), found.node_name()),
        zone,
        ..Endpoint::default()
    })
}

/// Where an endpoint should be used first, by the Service's `trafficDistribution`. Same-node traffic also names the
/// zone, for proxies that only know zones.
fn hints(wish: Option<&str>, ready: bool, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let near_node = match wish? {
        "PreferClose" | "PreferSameZone" => false,
        "PreferSameNode" => true,
        _ => return None,
    };
    let zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let nodes = node.filter(|_| near_node).map(|node| vec![ForNode { name: node.to_owned() }]);
    let any = ready && (zones.is_some() || nodes.is_some());
    any.then_some(EndpointHints { for_nodes: nodes, for_zones: zones })
}

/// The Service's ports on this pod. A named target port that the pod does not have is left out.
fn ports(spec: &ServiceSpec, found: &Pod) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target(port, found)?),
                protocol: Some(protocol(port.protocol.as_ref()).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn target(port: &ServicePort, found: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let sidecars = found.spec.init_containers.iter();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = found.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
    let wanted = protocol(port.protocol.as_ref());
    ports
        .find(|port| port.name.as_ref() == Some(name) && protocol(port.protocol.as_ref()) == wanted)
        .map(|port| port.container_port)
}

fn protocol(protocol: Option<&String>) -> &str {
    protocol.map_or("TCP", String::as_str)
}

fn family(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
            .unwrap()
    }

    fn found(name: &str, extra: impl FnOnce(&mut Value)) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": "n1", "containers": [{"ports": [
                {"name": "http", "containerPort": 8080}, {"name": "http", "containerPort": 8081, "protocol": "UDP"},
            ]}]},
            "status": {
                "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        extra(&mut pod);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn node(name: &str) -> Option<Arc<Node>> {
        let node = json!({"metadata": {"name": name, "labels": {ZONE_LABEL: "z1"}}});
        (name == "n1").then(|| Arc::new(serde_json::from_value(node).unwrap()))
    }

    /// ready, serving, terminating
    fn conditions(endpoint: &Endpoint) -> [bool; 3] {
        let found = endpoint.conditions.as_ref().unwrap();
        [found.ready, found.serving, found.terminating].map(Option::unwrap)
    }

    #[test]
    fn families_of_services() {
        for (spec, expected) in [
            (json!({"ipFamilies": ["IPv4"]}), vec!["IPv4"]),
            (json!({"ipFamilies": ["IPv6", "IPv4"], "clusterIP": "fd00::9"}), vec!["IPv6", "IPv4"]),
            (json!({"clusterIP": "10.96.0.9"}), vec!["IPv4"]),
            (json!({"clusterIP": "None"}), vec!["IPv4", "IPv6"]),
        ] {
            assert_eq!(families(service(spec).spec.as_ref().unwrap()), expected);
        }
    }

    #[test]
    fn conditions_of_endpoints() {
        let unready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
        let going = |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (publish, change, expected) in [
            (false, (|_| {}) as fn(&mut Value), [true, true, false]),
            (false, unready, [false, false, false]),
            (true, unready, [true, false, false]),
            (false, going, [false, true, true]),
        ] {
            let service = service(json!({"publishNotReadyAddresses": publish}));
            let (groups, left_out) = groups(&service, &["IPv4"], &[found("a", change)], node);
            assert_eq!(conditions(&groups[0].endpoints[0]), expected);
            assert!(!left_out);
        }
    }

    #[test]
    fn an_endpoint_says_where_it_is() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "http", "name": "web"}]}));
        let pod = found("a", |pod| {
            pod["spec"]["hostname"] = json!("a-0");
            pod["spec"]["subdomain"] = json!("web");
        });
        let (groups, _) = groups(&service, &["IPv4", "IPv6"], &[pod], node);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[1].endpoints[0].addresses, ["fd00::1"]);
        let endpoint = &groups[0].endpoints[0];
        assert_eq!((&*endpoint.addresses[0], endpoint.hostname.as_deref()), ("10.0.0.1", Some("a-0")));
        assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("n1"), Some("z1")));
        assert_eq!(endpoint.target_ref.as_ref().unwrap().name.as_deref(), Some("a"));
        assert_eq!((groups[0].ports[0].port, groups[0].ports[0].name.as_deref()), (Some(8080), Some("web")));
    }

    #[test]
    fn hints_follow_the_traffic_distribution() {
        for (wish, ready, zones, nodes) in [
            (None, true, None, None),
            (Some("PreferClose"), true, Some("z1"), None),
            (Some("PreferSameZone"), true, Some("z1"), None),
            (Some("PreferSameNode"), true, Some("z1"), Some("n1")),
            (Some("PreferClose"), false, None, None),
        ] {
            let found = hints(wish, ready, Some("z1"), Some("n1")).unwrap_or_default();
            let zone = found.for_zones.map(|zones| zones[0].name.clone());
            let node = found.for_nodes.map(|nodes| nodes[0].name.clone());
            assert_eq!((zone.as_deref(), node.as_deref()), (zones, nodes), "{wish:?}");
        }
        assert_eq!(hints(Some("PreferClose"), true, None, Some("n1")), None);
    }

    #[test]
    fn ports_by_number_name_and_protocol() {
        for (port, expected) in [
            (json!({"port": 80}), Some(80)),
            (json!({"port": 80, "targetPort": 81}), Some(81)),
            (json!({"port": 80, "targetPort": "http"}), Some(8080)),
            (json!({"port": 80, "targetPort": "http", "protocol": "UDP"}), Some(8081)),
            (json!({"port": 80, "targetPort": "http", "protocol": "SCTP"}), None),
            (json!({"port": 80, "targetPort": "grpc"}), None),
        ] {
            let service = service(json!({"ports": [port]}));
            let ports = ports(service.spec.as_ref().unwrap(), &found("a", |_| {}));
            assert_eq!(ports.first().and_then(|port| port.port), expected, "{service:?}");
        }
    }

    #[test]
    fn pods_that_are_no_endpoints() {
        let service = service(json!({}));
        let pods = [
            found("done", |pod| pod["status"]["phase"] = json!("Succeeded")),
            found("no-address", |pod| pod["status"]["podIPs"] = json!([])),
        ];
        assert!(groups(&service, &["IPv4"], &pods, node).0.is_empty());
        let lost = [found("lost", |pod| pod["spec"]["nodeName"] = json!("n2"))];
        let (none, left_out) = groups(&service, &["IPv4"], &lost, node);
        assert!(none.is_empty() && left_out);
    }

    #[test]
    fn pods_with_other_ports_go_to_another_slice() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "http"}]}));
        let other = found("b", |pod| pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090));
        let (groups, _) = groups(&service, &["IPv4"], &[found("a", |_| {}), other], node);
        assert_eq!(
            groups.iter().map(|group| group.ports[0].port).collect::<Vec<_>>(),
            [Some(8080), Some(9090)]
        );
    }
}
