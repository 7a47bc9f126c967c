//! Any sequence of changes, applied as differences, ends in the kernel's state that one fresh sync makes.
//!
//! The sequences are random, from printed seeds: addresses, ports, policies, endpoints and settings change, services
//! come, go and claim each other's node ports. The kernel's state is read in two ways: by the back end, which has
//! nothing left to do, and by nft, which shows the same in both namespaces.

use std::sync::Arc;

use component::informers::Key;
use component::random::Random;
use node_agent::proxy::model::{
    Changes, DataPlane, EndpointSlice, Service, ServicePlan, Settings, plan_service,
};
use node_agent::proxy::{Backend, Nftables, Report};
use serde_json::{Value, json};

use crate::cases;
use crate::namespace::{in_new_namespace, ruleset};
use crate::table::node;

const SEQUENCES: u64 = 20;
const STEPS: usize = 25;
const SERVICES: u64 = 12;

#[test]
fn differences_end_where_a_fresh_sync_ends() {
    for seed in 0..SEQUENCES {
        let (plane, by_differences) = in_new_namespace(|| {
            let mut backend = Nftables::open().unwrap();
            let plane = walk(&Random::from_seed(seed), &mut backend);
            // Nothing is left to do for one who compares everything, be it the same process or its successor.
            for backend in [&mut backend, &mut Nftables::open().unwrap()] {
                let report = backend.sync(&plane, &Changes::everything()).unwrap();
                assert_eq!(report, Report::default(), "seed {seed}");
            }
            (plane, ruleset())
        });
        let fresh = in_new_namespace(|| {
            Nftables::open().unwrap().sync(&plane, &Changes::everything()).unwrap();
            ruleset()
        });
        assert_eq!(normal(&by_differences), normal(&fresh), "seed {seed}");
    }
}

/// Random changes, each synced.
fn walk(random: &Random, backend: &mut Nftables) -> DataPlane {
    let mut plane = DataPlane::new(cases::settings());
    for _ in 0..STEPS {
        let mut changes = Changes::default();
        if one_in(random, 10) {
            let all: Vec<Key> = plane.services().cloned().collect();
            plane.settings = settings(random);
            // Plans depend on settings; whoever changes them plans all services anew.
            for key in all {
                plane.set(&key, planned(random, &key, &plane.settings), &mut changes);
            }
        }
        for _ in 0..=random.below(3) {
            let key = Key::new("default", format!("s{}", random.below(SERVICES)));
            let plan = if one_in(random, 4) {
                ServicePlan::default()
            } else {
                planned(random, &key, &plane.settings)
            };
            plane.set(&key, plan, &mut changes);
        }
        backend.sync(&plane, &changes).unwrap();
    }
    plane
}

fn settings(random: &Random) -> Settings {
    Settings {
        masquerade_all: one_in(random, 2),
        node_port_addresses: if one_in(random, 2) {
            vec!["192.168.50.0/24".parse().unwrap()]
        } else {
            Settings::default().node_port_addresses
        },
        ..cases::settings()
    }
}

fn planned(random: &Random, key: &Key, settings: &Settings) -> ServicePlan {
    let number: u64 = key.name[1..].parse().unwrap();
    let (v4, v6) = (format!("10.96.0.{number}"), format!("fd00:96::{number:x}"));
    let mut spec = json!({"type": pick(random, &["ClusterIP", "NodePort", "LoadBalancer"]), "clusterIP": v4,
        "clusterIPs": if one_in(random, 2) { json!([v4]) } else { json!([v4, v6]) },
        "sessionAffinity": pick(random, &["None", "ClientIP"]),
        "internalTrafficPolicy": pick(random, &["Cluster", "Local"]),
        "externalTrafficPolicy": pick(random, &["Cluster", "Local"])});
    // Few node ports and external addresses for many services: some claim the same.
    let port = |name: &str, protocol: &str, port: u16| json!({"name": name, "protocol": protocol, "port": port, "nodePort": 30000 + random.below(6)});
    spec["ports"] = json!([port("", "TCP", 80), port("udp", "UDP", 53), port("sctp", "SCTP", 9)]);
    if one_in(random, 3) {
        spec["externalIPs"] = json!([format!("198.51.100.{}", random.below(3))]);
    }
    if one_in(random, 3) {
        spec["loadBalancerSourceRanges"] =
            json!([pick(random, &["10.0.0.0/8", "192.168.50.0/24"]), "10.1.0.0/16"]);
    }
    let status = json!({"loadBalancer": {"ingress": [{"ip": format!("203.0.113.{}", random.below(4))}]}});
    let whole =
        json!({"metadata": {"name": key.name, "namespace": "default"}, "spec": spec, "status": status});
    let service: Service = serde_json::from_value(whole).unwrap();
    let slices = [slice(random, "IPv4", "10.244"), slice(random, "IPv6", "fd00:244:")];
    plan_service(&service, &slices, &node(), settings)
}

fn slice(random: &Random, family: &str, prefix: &str) -> Arc<EndpointSlice> {
    let separator = if family == "IPv4" { "." } else { ":" };
    let endpoint = |_| {
        let here = one_in(random, 2);
        let net = u8::from(!here);
        json!({"addresses": [format!("{prefix}{separator}{net}{separator}{}", 1 + random.below(5))],
            "nodeName": if here { "node" } else { "other" },
            "conditions": {"ready": !one_in(random, 4), "serving": true, "terminating": one_in(random, 3)}})
    };
    let endpoints: Vec<Value> = (0..random.below(5)).map(endpoint).collect();
    let ports = json!([{"name": "", "port": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 5353, "protocol": "UDP"}, {"name": "sctp", "port": 9, "protocol": "SCTP"}]);
    let whole =
        json!({"metadata": {"name": "x"}, "addressType": family, "endpoints": endpoints, "ports": ports});
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn one_in(random: &Random, n: u64) -> bool {
    random.below(n) == 0
}

fn pick<'a>(random: &Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// Elements and sets without the order in which the kernel happens to hold them.
pub(crate) fn normal(shown: &str) -> Vec<String> {
    let mut parts: Vec<String> = shown
        .split(['\n', ','])
        .map(|part| part.trim().trim_start_matches("elements = {").trim_end_matches('}').trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort();
    // While the kernel's hash table grows, a listing may meet an element twice.
    parts.dedup();
    parts
}
