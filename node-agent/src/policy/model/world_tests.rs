//! What is allowed between pods, as a table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use component::informers::Key;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use objects::views::Pod;
use serde_json::{Value, json};

use super::{Changes, Direction, Entry, Peers, Plane, PodFacts, Policy, Ports, World};
use crate::addresses::{Family, Protocol};

pub(super) const NODE: &str = "n1";

impl Plane {
    /// What the kernel answers who has this plane.
    pub(super) fn allows(&self, source: IpAddr, destination: IpAddr, protocol: Protocol, port: u16) -> bool {
        source == destination
            || Direction::BOTH.into_iter().all(|direction| {
                let (own, other) = match direction {
                    Direction::Ingress => (destination, source),
                    Direction::Egress => (source, destination),
                };
                let Some(id) = self.isolated.get(&(direction, own)) else { return true };
                let has = |entry: Entry| self.entries.contains_key(&entry);
                self.isolations[id].0.rules.values().any(|rule| {
                    let peer = match &rule.peers {
                        Peers::All => true,
                        Peers::Some { pods, blocks } => {
                            pods.iter().any(|group| has(Entry::Member { group: group.id, address: other }))
                                || blocks.iter().any(|blocks| self.entries.keys().any(|entry| {
                                    matches!(entry, Entry::Range { blocks: id, first, last }
                                        if *id == blocks.id && Family::of(first) == Family::of(&other)
                                            && (*first..=*last).contains(&other))
                                }))
                        }
                    };
                    let ports = match &rule.ports {
                        Ports::All => true,
                        Ports::Some(set) => {
                            has(Entry::Port { ports: set.id, protocol, port })
                                || set.named.keys().any(|name| {
                                    has(Entry::NamedPort { name: *name, address: destination, protocol, port })
                                })
                                || self.entries.keys().any(|entry| {
                                    matches!(entry, Entry::PortRange { ports, protocol: of, first, last }
                                        if *ports == set.id && *of == protocol && (*first..=*last).contains(&port))
                                })
                        }
                    };
                    peer && ports
                })
            })
    }

    /// Everything but the counts' history.
    pub(super) fn seen(
        &self,
    ) -> (BTreeMap<String, usize>, BTreeMap<String, String>, BTreeMap<String, usize>) {
        (
            self.entries.iter().map(|(entry, users)| (format!("{entry:?}"), *users)).collect(),
            self.isolated.iter().map(|(at, id)| (format!("{at:?}"), id.to_string())).collect(),
            self.isolations.iter().map(|(id, (_, users))| (id.to_string(), *users)).collect(),
        )
    }
}

/// Objects by name: the whole cluster, as the API has it.
#[derive(Clone, Default)]
pub(super) struct Cluster {
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) pods: BTreeMap<Key, Pod>,
    pub(super) policies: BTreeMap<Key, NetworkPolicy>,
}

impl Cluster {
    pub(super) fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.namespaces.insert(name.to_owned(), labels.collect());
    }

    /// `NAMESPACE/NAME`, its addresses and labels; its port `web` is 8080.
    pub(super) fn pod(&mut self, name: &str, node: &str, addresses: &[String], labels: Value) {
        let (namespace, name) = name.split_once('/').unwrap();
        let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let pod = json!({"metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": ips}});
        self.pods.insert(Key::new(namespace, name), serde_json::from_value(pod).unwrap());
    }

    pub(super) fn policy(&mut self, name: &str, spec: Value) {
        let (namespace, name) = name.split_once('/').unwrap();
        let policy = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        self.policies.insert(Key::new(namespace, name), serde_json::from_value(policy).unwrap());
    }

    pub(super) fn world(&self) -> World {
        let (mut world, mut changes) = (World::default(), Changes::default());
        for (key, policy) in &self.policies {
            world.set_policy(key, Policy::of(policy).ok());
        }
        for (key, pod) in &self.pods {
            world.set_pod(key, PodFacts::of(pod, NODE, &[]), &mut changes);
        }
        for (name, labels) in &self.namespaces {
            world.set_namespace(name, Some(labels.clone()), &mut changes);
        }
        world.settle(&mut changes);
        world
    }
}

/// Three namespaces, `c` of another team. `a/web` (1), `a/client` (2) and `b/web` (3) are pods of this node, `b/client`
/// (4) and `c/client` (5) of another.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for name in ["a", "b", "c"] {
        let team = if name == "c" { "red" } else { "blue" };
        cluster.namespace(name, &[("kubernetes.io/metadata.name", name), ("team", team)]);
    }
    for (name, node, number) in [
        ("a/web", NODE, 1),
        ("a/client", NODE, 2),
        ("b/web", NODE, 3),
        ("b/client", "n2", 4),
        ("c/client", "n2", 5),
    ] {
        let role = name.split_once('/').unwrap().1;
        cluster.pod(
            name,
            node,
            &[format!("10.0.0.{number}"), format!("fd00::{number}")],
            json!({"role": role}),
        );
    }
    cluster
}

/// Whether each of some connections is allowed; a connection is `FROM>TO:PORT[/PROTOCOL]` by the last number of their
/// addresses, 6.6.6.6 is `out`.
fn check(name: &str, policies: &[Value], allowed: &[&str], denied: &[&str]) {
    let mut cluster = cluster();
    for (index, spec) in policies.iter().enumerate() {
        cluster.policy(&format!("a/p{index}"), spec.clone());
    }
    let plane = cluster.world().plane;
    for (connections, expected) in [(allowed, true), (denied, false)] {
        for connection in connections {
            let (source, rest) = connection.split_once('>').unwrap();
            let (destination, port) = rest.split_once(':').unwrap();
            let (port, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
            let (port, protocol) = (port.parse().unwrap(), Protocol::parse(protocol).unwrap());
            for family in Family::BOTH {
                let at = |who: &str| -> IpAddr {
                    let text = match (family, who) {
                        (Family::V4, "out") => "6.6.6.6".to_owned(),
                        (Family::V6, "out") => "2001:db8::6".to_owned(),
                        (Family::V4, who) => format!("10.0.0.{who}"),
                        (Family::V6, who) => format!("fd00::{who}"),
                    };
                    text.parse().unwrap()
                };
                let answer = plane.allows(at(source), at(destination), protocol, port);
                assert_eq!(answer, expected, "{name}: {connection} {family:?}");
            }
        }
    }
}

#[test]
fn what_policies_of_one_namespace_allow() {
    let labels = |value: &str| json!({"podSelector": {"matchLabels": {"role": value}}});
    let web = json!({"matchLabels": {"role": "web"}});
    check("no policy", &[], &["5>1:80", "out>1:80", "1>out:80"], &[]);
    let deny = json!({"podSelector": {}});
    check(
        "deny all ingress",
        std::slice::from_ref(&deny),
        &["1>out:80", "1>3:80", "4>3:80", "1>1:80"],
        &["2>1:80", "1>2:80", "5>1:80", "out>1:80", "2>1:80/UDP"],
    );
    let deny_both = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    check("deny both", &[deny_both], &["4>3:80", "1>1:80"], &["1>2:80", "1>out:80", "1>3:80", "3>1:80"]);
    let from_client = json!({"podSelector": web, "ingress": [{"from": [labels("client")]}]});
    check(
        "from pods of the own namespace",
        std::slice::from_ref(&from_client),
        &["2>1:80", "2>1:81/SCTP", "5>2:80", "1>4:1"],
        &["4>1:80", "5>1:80", "out>1:80"],
    );
    check("policies add up", &[deny.clone(), from_client], &["2>1:80"], &["1>2:80", "4>1:80"]);
    let blue = json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}});
    check(
        "from namespaces",
        &[json!({"podSelector": web, "ingress": [{"from": [blue]}]})],
        &["2>1:80", "3>1:80", "4>1:80"],
        &["5>1:80", "out>1:80"],
    );
    let both = json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}, "podSelector": {"matchLabels": {"role": "client"}}});
    check(
        "both selectors in one peer: both hold",
        &[json!({"podSelector": web, "ingress": [{"from": [both]}]})],
        &["2>1:80", "4>1:80"],
        &["3>1:80", "5>1:80"],
    );
    check(
        "two peers: any of them",
        &[json!({"podSelector": web, "ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"team": "red"}}}, labels("client")]}]})],
        &["2>1:80", "5>1:80"],
        &["3>1:80", "4>1:80"],
    );
    check(
        "every namespace, but no outsiders",
        &[json!({"podSelector": web, "ingress": [{"from": [{"namespaceSelector": {}}]}]})],
        &["2>1:80", "5>1:80"],
        &["out>1:80"],
    );
    check("everybody", &[deny, json!({"podSelector": web, "ingress": [{}]})], &["out>1:80"], &["out>2:80"]);
}

#[test]
fn ports_and_blocks() {
    let ports = |ports: Value| json!({"podSelector": {}, "ingress": [{"ports": ports}]});
    check("a port", &[ports(json!([{"port": 80}]))], &["2>1:80"], &["2>1:81", "2>1:80/UDP"]);
    check("a protocol", &[ports(json!([{"protocol": "UDP"}]))], &["2>1:80/UDP", "2>1:0/UDP"], &["2>1:80"]);
    check(
        "a range",
        &[ports(
            json!([{"port": 80, "endPort": 90}, {"port": 88, "endPort": 99}, {"port": 7, "endPort": 7}]),
        )],
        &["2>1:80", "2>1:90", "2>1:99", "2>1:7"],
        &["2>1:79", "2>1:100", "2>1:85/UDP"],
    );
    check("a name", &[ports(json!([{"port": "web"}]))], &["2>1:8080"], &["2>1:80", "2>1:8080/UDP"]);
    check("a name that no container gives", &[ports(json!([{"port": "absent"}]))], &[], &["2>1:8080"]);
    check(
        "a name, of the destination",
        &[json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "web"}]}]})],
        &["1>5:8080", "5>1:80"],
        &["1>5:80", "1>out:8080"],
    );
    check(
        "several rules",
        &[json!({"podSelector": {}, "ingress": [
        {"from": [{"podSelector": {}}], "ports": [{"port": 80}]}, {"ports": [{"port": 443}]}]})],
        &["2>1:80", "out>1:443"],
        &["out>1:80", "2>1:81"],
    );
    let block = |cidr: &str, except: Value| json!({"ipBlock": {"cidr": cidr, "except": except}});
    let from = |peers: Value| json!({"podSelector": {}, "ingress": [{"from": peers}]});
    check(
        "blocks with exceptions",
        &[from(json!([block("0.0.0.0/0", json!(["10.0.0.4/32"])), block("::/0", json!(["fd00::4/128"]))]))],
        &["out>1:80", "5>1:80"],
        &["4>1:80"],
    );
    check(
        "an exception holds for its block only",
        &[from(json!([
            block("10.0.0.0/8", json!(["10.0.0.4/31"])),
            block("10.0.0.5/32", json!(null)),
            block("fd00::/16", json!(["fd00::4/127"])),
            block("fd00::5/128", json!(null))
        ]))],
        &["2>1:80", "5>1:80"],
        &["4>1:80", "out>1:80"],
    );
    check(
        "egress to a block",
        &[
            json!({"podSelector": {}, "egress": [{"to": [block("6.0.0.0/8", json!(null)), block("2001:db8::/32", json!(null))],
            "ports": [{"port": 443}]}]}),
        ],
        &["1>out:443"],
        &["1>out:80", "1>5:443", "5>1:80"],
    );
}

#[test]
fn pods_that_change_end_and_share_addresses() {
    let mut cluster = cluster();
    cluster.policy(
        "a/p",
        json!({"podSelector": {"matchLabels": {"role": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}]}]}),
    );
    let mut world = cluster.world();
    let at = |number: u8| -> IpAddr { format!("10.0.0.{number}").parse().unwrap() };
    let allowed = |world: &World, source| world.plane.allows(at(source), at(1), Protocol::Tcp, 80);
    let change = |world: &mut World, name: &str, edit: &dyn Fn(&mut Pod)| {
        let key = Key::new("a", name);
        let mut pod = cluster.pods[&key].clone();
        edit(&mut pod);
        let mut changes = Changes::default();
        world.set_pod(&key, PodFacts::of(&pod, NODE, &[]), &mut changes);
        world.settle(&mut changes);
    };
    assert!(allowed(&world, 2) && !allowed(&world, 4));
    // Another label, and back.
    change(&mut world, "client", &|pod| {
        pod.metadata.labels = Some([("role".to_owned(), "other".to_owned())].into())
    });
    assert!(!allowed(&world, 2));
    change(&mut world, "client", &|_| ());
    assert!(allowed(&world, 2));
    // It ends: its address means nothing any more.
    change(&mut world, "client", &|pod| pod.status.phase = Some("Succeeded".to_owned()));
    assert!(!allowed(&world, 2));
    // The server is told to end: it stays isolated until it is gone.
    let ending = |pod: &mut Pod| {
        pod.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    };
    change(&mut world, "web", &ending);
    assert!(!allowed(&world, 4));
    // Its address goes to a new pod without policies while the old one is still known.
    let mut heir = cluster.clone();
    heir.pod("b/heir", NODE, &["10.0.0.1".to_owned()], json!({}));
    let key = Key::new("b", "heir");
    let mut changes = Changes::default();
    world.set_pod(&key, PodFacts::of(&heir.pods[&key], NODE, &[]), &mut changes);
    world.settle(&mut changes);
    assert!(allowed(&world, 4), "the newer pod's policies hold");
    world.set_pod(&key, None, &mut changes);
    world.settle(&mut changes);
    assert!(!allowed(&world, 4));
    world.set_pod(&Key::new("a", "web"), None, &mut changes);
    world.settle(&mut changes);
    assert!(
        world.plane.entries.is_empty()
            && world.plane.isolated.is_empty()
            && world.plane.isolations.is_empty()
    );
}
