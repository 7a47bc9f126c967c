//! Tables of Services and what they become.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn node() -> NodeFacts {
    NodeFacts {
        name: "n1".to_owned(),
        zone: "z1".to_owned(),
        addresses: vec!["192.168.0.1".parse().unwrap()],
        pod_cidrs: Vec::new(),
        leaving: false,
    }
}

/// A service `default/s` with cluster IP 10.96.0.1 and port 80, changed by `spec`.
fn service(spec: &Value, status: &Value) -> Service {
    let mut whole = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "type": "ClusterIP",
        "ports": [{"port": 80}]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let metadata = json!({"name": "s", "namespace": "default"});
    serde_json::from_value(json!({"metadata": metadata, "spec": whole, "status": status})).unwrap()
}

/// A slice; endpoints as `ADDRESS NODE [not-ready] [terminating] [zone=Z] [node=N]`.
fn slice(endpoints: &[&str]) -> Arc<EndpointSlice> {
    slice_of("IPv4", &json!([{"name": "", "port": 8080}]), endpoints)
}

fn slice_of(address_type: &str, ports: &Value, endpoints: &[&str]) -> Arc<EndpointSlice> {
    let endpoint = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let hints = |prefix: &str| -> Vec<Value> {
            let found = words.iter().filter_map(|word| word.strip_prefix(prefix));
            found.map(|name| json!({"name": name})).collect()
        };
        let has = |word: &str| words.contains(&word);
        json!({"addresses": [words[0]], "nodeName": words[1],
            "hints": {"forZones": hints("zone="), "forNodes": hints("node=")},
            "conditions": {"ready": !has("not-ready") && !has("terminating"), "serving": !has("not-ready"),
                "terminating": has("terminating")}})
    };
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    let metadata =
        json!({"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}});
    let whole =
        json!({"metadata": metadata, "addressType": address_type, "endpoints": endpoints, "ports": ports});
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn planned(spec: &Value, slices: &[Arc<EndpointSlice>]) -> ServicePlan {
    plan_service(&service(spec, &json!({})), slices, &node(), &Settings::default())
}

/// `FRONTEND KIND -> ADDRESSES` or what unserved connections get, then what else there is.
fn shown(plan: &ServicePlan) -> Vec<String> {
    let list = |endpoints: &Endpoints| -> String {
        let sockets = endpoints.iter().map(|found| SocketAddr::new(found.address, found.port).to_string());
        sockets.collect::<Vec<_>>().join(",")
    };
    let line = |(frontend, policy): &(Frontend, Arc<Policy>)| {
        let mut line = format!("{frontend} {:?} -> ", policy.kind);
        match &policy.endpoints {
            none if none.is_empty() => line += &format!("{:?}", policy.unserved),
            some => line += &list(some),
        }
        if policy.kind != Kind::ClusterIp {
            line += &format!(" masquerade {:?}", policy.masquerade);
        }
        if let Some(endpoints) = &policy.from_cluster {
            line += &format!(" from cluster {}", list(endpoints));
        }
        if let Some(timeout) = policy.affinity {
            line += &format!(" affinity {}", timeout.as_secs());
        }
        if let Some(sources) = &policy.sources {
            line += &format!(" sources {sources:?}");
        }
        line
    };
    plan.frontends.iter().map(line).collect()
}

const ALL_OVER: &[&str] = &["10.244.0.1 n1", "10.244.1.1 n2"];

#[test]
fn cluster_ip_policies_and_conditions() {
    let table: &[(Value, &[&str], &str)] = &[
        (json!({}), ALL_OVER, "10.244.0.1:8080,10.244.1.1:8080"),
        (json!({}), &[], "Reject"),
        (json!({"internalTrafficPolicy": "Local"}), ALL_OVER, "10.244.0.1:8080"),
        (json!({"internalTrafficPolicy": "Local"}), &["10.244.1.1 n2"], "Drop"),
        (json!({"internalTrafficPolicy": "Local"}), &[], "Reject"),
        (json!({}), &["10.244.0.1 n1 not-ready", "10.244.1.1 n2"], "10.244.1.1:8080"),
        (json!({}), &["10.244.0.1 n1 terminating", "10.244.1.1 n2"], "10.244.1.1:8080"),
        (json!({}), &["10.244.0.1 n1 terminating", "10.244.1.1 n2 not-ready"], "10.244.0.1:8080"),
        (json!({}), &["10.244.0.1 n1 terminating not-ready"], "Reject"),
        // Terminating here is better than ready elsewhere, if only here counts.
        (
            json!({"internalTrafficPolicy": "Local"}),
            &["10.244.0.1 n1 terminating", "10.244.1.1 n2"],
            "10.244.0.1:8080",
        ),
        (json!({}), &["10.244.0.1 n1 zone=z1", "10.244.1.1 n2 zone=z2"], "10.244.0.1:8080"),
        // A hint is missing, or none fits: hints do not count.
        (json!({}), &["10.244.0.1 n1 zone=z1", "10.244.1.1 n2"], "10.244.0.1:8080,10.244.1.1:8080"),
        (json!({}), &["10.244.0.1 n1 zone=z3", "10.244.1.1 n2 zone=z2"], "10.244.0.1:8080,10.244.1.1:8080"),
        (json!({}), &["10.244.0.1 n1 node=n1 zone=z1", "10.244.1.1 n2 node=n2 zone=z1"], "10.244.0.1:8080"),
        // No endpoint for this node: the zone's.
        (json!({}), &["10.244.2.1 n3 node=n3 zone=z2", "10.244.1.1 n2 node=n2 zone=z1"], "10.244.1.1:8080"),
        (json!({}), &["10.244.0.1 n1", "10.244.0.1 n1", "10.244.0.1 n1 terminating"], "10.244.0.1:8080"),
    ];
    for (spec, endpoints, wanted) in table {
        let plan = planned(spec, &[slice(endpoints)]);
        assert_eq!(shown(&plan), [format!("Tcp 10.96.0.1:80 ClusterIp -> {wanted}")], "{spec} {endpoints:?}");
        assert!(plan.problems.is_empty());
    }
}

#[test]
fn addresses_from_outside() {
    let spec = json!({"type": "LoadBalancer", "externalIPs": ["198.51.100.1"],
        "ports": [{"port": 80, "nodePort": 30080}], "loadBalancerSourceRanges": ["203.0.113.0/24"]});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.2", "ipMode": "VIP"},
        {"ip": "198.51.100.3", "ipMode": "Proxy"}, {"hostname": "x"}]}});
    let plan = |spec: &Value, endpoints: &[&str]| {
        let plan = plan_service(&service(spec, &status), &[slice(endpoints)], &node(), &Settings::default());
        shown(&plan)
    };
    let both = "10.244.0.1:8080,10.244.1.1:8080";
    assert_eq!(
        plan(&spec, ALL_OVER),
        [
            format!("Tcp 10.96.0.1:80 ClusterIp -> {both}"),
            format!("Tcp 198.51.100.1:80 ExternalIp -> {both} masquerade Always"),
            format!("Tcp 198.51.100.2:80 LoadBalancer -> {both} masquerade Always sources [203.0.113.0/24]"),
            format!("Tcp 0.0.0.0:30080 NodePort -> {both} masquerade Always"),
        ]
    );
    let mut local = spec;
    local["externalTrafficPolicy"] = json!("Local");
    local["loadBalancerSourceRanges"] = json!(["192.168.0.0/24"]);
    assert_eq!(
        plan(&local, &["10.244.1.1 n2"])[1..],
        [
            "Tcp 198.51.100.1:80 ExternalIp -> Drop masquerade Never from cluster 10.244.1.1:8080",
            // The node is in the ranges, so its connections from the address itself are let in.
            "Tcp 198.51.100.2:80 LoadBalancer -> Drop masquerade Never from cluster 10.244.1.1:8080 \
             sources [192.168.0.0/24, 198.51.100.2/32]",
            "Tcp 0.0.0.0:30080 NodePort -> Drop masquerade Never from cluster 10.244.1.1:8080",
        ]
    );
    assert_eq!(plan(&local, &[])[3], "Tcp 0.0.0.0:30080 NodePort -> Reject masquerade Never");
}

#[test]
fn named_ports_protocols_and_families() {
    let spec = json!({"clusterIPs": ["10.96.0.1", "fd00:96::1"], "ports": [
        {"name": "web", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "sig", "port": 36412, "protocol": "SCTP"}]});
    let ports = json!([{"name": "web", "port": 8080, "protocol": "TCP"},
        {"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "sig", "port": 36412, "protocol": "SCTP"}]);
    let slices = [
        slice_of("IPv4", &ports, &["10.244.0.1 n1"]),
        slice_of("IPv6", &ports, &["fd00:244::1 n1"]),
        // The same port is another number in these pods.
        slice_of("IPv4", &json!([{"name": "web", "port": 9090, "protocol": "TCP"}]), &["10.244.0.2 n1"]),
        slice_of("FQDN", &ports, &["example.com n1"]),
    ];
    assert_eq!(
        shown(&planned(&spec, &slices)),
        [
            "Tcp 10.96.0.1:80 ClusterIp -> 10.244.0.1:8080,10.244.0.2:9090",
            "Tcp [fd00:96::1]:80 ClusterIp -> [fd00:244::1]:8080",
            "Udp 10.96.0.1:53 ClusterIp -> 10.244.0.1:5353",
            "Udp [fd00:96::1]:53 ClusterIp -> [fd00:244::1]:5353",
            "Sctp 10.96.0.1:36412 ClusterIp -> 10.244.0.1:36412",
            "Sctp [fd00:96::1]:36412 ClusterIp -> [fd00:244::1]:36412",
        ]
    );
}

#[test]
fn affinity_and_its_timeout() {
    let spec = json!({"sessionAffinity": "ClientIP"});
    assert!(shown(&planned(&spec, &[slice(ALL_OVER)]))[0].ends_with("affinity 10800"));
    let spec =
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}});
    assert!(shown(&planned(&spec, &[slice(ALL_OVER)]))[0].ends_with("affinity 5"));
}

#[test]
fn services_without_a_proxy() {
    let slices = [slice(ALL_OVER)];
    for spec in [
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        json!({"type": "ExternalName", "externalName": "example.com", "clusterIP": "", "clusterIPs": []}),
        json!({"clusterIP": "", "clusterIPs": null}),
    ] {
        assert_eq!(planned(&spec, &slices), ServicePlan::default(), "{spec}");
    }
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        let mut other = service(&json!({}), &json!({}));
        other.metadata.labels = Some([(label.to_owned(), "x".to_owned())].into());
        let plan = plan_service(&other, &slices, &node(), &Settings::default());
        assert_eq!(plan, ServicePlan::default(), "{label}");
    }
}

#[test]
fn health_checks_count_ready_endpoints_here() {
    let check = |spec: &Value, endpoints: &[&str]| planned(spec, &[slice(endpoints)]).health_check;
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
        "ports": [{"port": 80}, {"name": "b", "port": 81}]});
    let here = ["10.244.0.1 n1", "10.244.0.2 n1 terminating", "10.244.0.3 n1", "10.244.1.1 n2"];
    assert_eq!(check(&spec, &here), Some(HealthCheck { port: 32000, local_endpoints: 2 }));
    assert_eq!(check(&spec, &[]), Some(HealthCheck { port: 32000, local_endpoints: 0 }));
    assert_eq!(check(&json!({"type": "LoadBalancer", "healthCheckNodePort": 32000}), &here), None);
}

#[test]
fn bad_input_is_named_and_the_rest_is_done() {
    let spec = json!({"externalIPs": ["nonsense", "127.0.0.1", "198.51.100.1"], "type": "LoadBalancer",
        "loadBalancerSourceRanges": ["10.0.0.0/99", "10.0.0.0/8"],
        "ports": [{"port": 80}, {"name": "odd", "port": 81, "protocol": "DCCP"}]});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.2"}]}});
    let slices =
        [slice(&["fd00::1 n1", "10.244.0.300 n1", "169.254.0.1 n1", "127.0.0.1 n1", "10.244.0.1 n1"])];
    let plan = plan_service(&service(&spec, &status), &slices, &node(), &Settings::default());
    assert_eq!(
        shown(&plan),
        [
            "Tcp 10.96.0.1:80 ClusterIp -> 10.244.0.1:8080",
            "Tcp 198.51.100.1:80 ExternalIp -> 10.244.0.1:8080 masquerade Always",
            "Tcp 198.51.100.2:80 LoadBalancer -> 10.244.0.1:8080 masquerade Always sources [10.0.0.0/8]",
        ]
    );
    let problems: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 8, "{problems:?}");
    for text in
        ["nonsense", "externalIPs has \"127.0.0.1\"", "fd00::1", "10.244.0.300", "169.254.0.1", "DCCP"]
    {
        assert!(problems.iter().any(|problem| problem.contains(text)), "{text}: {problems:?}");
    }
    // No range that parses lets nobody in; it does not let everybody in.
    let closed = json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["x"]});
    let plan = plan_service(&service(&closed, &status), &slices, &node(), &Settings::default());
    assert!(shown(&plan)[1].ends_with("sources []"));
}
