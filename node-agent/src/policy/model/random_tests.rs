//! Random clusters against the words of the API reference, and that a plane does not depend on the order in which
//! objects came, went and came again, nor on whether a back end follows it by its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use component::informers::Key;
use component::random::Random;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::labels::Selector;
use objects::views::Pod;
use serde_json::{Value, json};

use super::world_tests::{Cluster, NODE};
use super::{Changes, Direction, Entry, Id, Plane, PodFacts, Policy, World};
use crate::addresses::{Cidr, Protocol};

/// What the API reference says, object by object.
fn oracle(cluster: &Cluster, source: IpAddr, destination: IpAddr, protocol: Protocol, port: u16) -> bool {
    let holder = |address: IpAddr| {
        cluster.pods.iter().find(|(_, pod)| pod.status.pod_ips.iter().any(|ip| ip.ip.parse() == Ok(address)))
    };
    let (from, to) = (holder(source), holder(destination));
    let side = |own: Option<(&Key, &Pod)>,
                other: IpAddr,
                peer: Option<(&Key, &Pod)>,
                direction: Direction| {
        let Some((key, pod)) = own.filter(|(_, pod)| pod.spec.node_name.as_deref() == Some(NODE)) else {
            return true;
        };
        let selected = cluster.policies.iter().filter(|(at, policy)| {
            let spec = policy.spec.as_ref().unwrap();
            let name = if direction == Direction::Ingress { "Ingress" } else { "Egress" };
            at.namespace == key.namespace
                && spec.policy_types.iter().flatten().any(|of| of == name)
                && Selector::from_optional(spec.pod_selector.as_ref()).unwrap().selects(&pod.metadata)
        });
        let mut selected = selected.peekable();
        selected.peek().is_none()
            || selected.any(|(at, policy)| {
                let spec = policy.spec.as_ref().unwrap();
                let rules: Vec<(Vec<NetworkPolicyPeer>, Vec<NetworkPolicyPort>)> = match direction {
                    Direction::Ingress => spec
                        .ingress
                        .iter()
                        .flatten()
                        .map(|rule| {
                            (rule.from.clone().unwrap_or_default(), rule.ports.clone().unwrap_or_default())
                        })
                        .collect(),
                    Direction::Egress => spec
                        .egress
                        .iter()
                        .flatten()
                        .map(|rule| {
                            (rule.to.clone().unwrap_or_default(), rule.ports.clone().unwrap_or_default())
                        })
                        .collect(),
                };
                rules.iter().any(|(peers, ports)| {
                    (peers.is_empty()
                        || peers.iter().any(|rule| peer_holds(cluster, &at.namespace, rule, other, peer)))
                        && (ports.is_empty() || ports.iter().any(|rule| port_holds(rule, to, protocol, port)))
                })
            })
    };
    source == destination
        || (side(from, destination, to, Direction::Egress) && side(to, source, from, Direction::Ingress))
}

fn peer_holds(
    cluster: &Cluster,
    own: &str,
    rule: &NetworkPolicyPeer,
    other: IpAddr,
    pod: Option<(&Key, &Pod)>,
) -> bool {
    if let Some(block) = &rule.ip_block {
        let within = |text: &String| text.parse::<Cidr>().unwrap().contains(other);
        return within(&block.cidr) && !block.except.iter().flatten().any(within);
    }
    let Some((key, pod)) = pod else { return false };
    let selects = |selector: &Option<_>, labels: &BTreeMap<String, String>| {
        selector
            .as_ref()
            .is_none_or(|selector| Selector::from_label_selector(selector).unwrap().matches(labels))
    };
    let labels = cluster.namespaces.get(&key.namespace).cloned().unwrap_or_default();
    let here = match &rule.namespace_selector {
        None => key.namespace == own,
        some => selects(some, &labels),
    };
    here && selects(&rule.pod_selector, &pod.metadata.labels.clone().unwrap_or_default())
}

fn port_holds(rule: &NetworkPolicyPort, to: Option<(&Key, &Pod)>, protocol: Protocol, port: u16) -> bool {
    if Protocol::parse(rule.protocol.as_deref().unwrap_or_default()) != Some(protocol) {
        return false;
    }
    match &rule.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=rule.end_port.unwrap_or(*first)).contains(&i32::from(port))
        }
        // Its containers name one TCP port.
        Some(IntOrString::String(name)) => {
            to.is_some() && name == "web" && protocol == Protocol::Tcp && port == 8080
        }
    }
}

const SEEDS: u64 = 40;
const STEPS: usize = 30;

#[test]
fn random_clusters_are_judged_as_the_reference_says_in_whatever_order_they_came() {
    for seed in 0..SEEDS {
        let random = Random::from_seed(seed);
        let (mut cluster, mut world, mut mirror) = (Cluster::default(), World::default(), Mirror::default());
        for step in 0..STEPS {
            let mut changes = Changes::default();
            for _ in 0..=random.below(3) {
                disturb(&random, &mut cluster, &mut world, &mut changes);
            }
            world.settle(&mut changes);
            assert_eq!(world.plane.seen(), cluster.world().plane.seen(), "seed {seed} step {step}");
            mirror.follow(&world.plane, &changes);
            assert_eq!(mirror, Mirror::of(&world.plane), "seed {seed} step {step}");
        }
        for _ in 0..200 {
            let address = || -> IpAddr {
                pick(&random, &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.4", "10.0.1.5", "6.6.6.6"])
                    .parse()
                    .unwrap()
            };
            let (source, destination) = (address(), address());
            let protocol = [Protocol::Tcp, Protocol::Udp][random.below(2) as usize];
            let port = [80, 85, 90, 8080][random.below(4) as usize];
            let (answer, expected) = (
                world.plane.allows(source, destination, protocol, port),
                oracle(&cluster, source, destination, protocol, port),
            );
            assert_eq!(answer, expected, "seed {seed}: {source} > {destination} {protocol:?} {port}");
        }
    }
}

/// What a back end has that is told of changes only: entries, isolated addresses and isolations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirror {
    entries: BTreeSet<Entry>,
    isolated: BTreeMap<(Direction, IpAddr), Id>,
    isolations: BTreeSet<Id>,
}

impl Mirror {
    fn of(plane: &Plane) -> Self {
        Self {
            entries: plane.entries.keys().copied().collect(),
            isolated: plane.isolated.iter().map(|(at, id)| (*at, *id)).collect(),
            isolations: plane.isolations.keys().copied().collect(),
        }
    }

    fn follow(&mut self, plane: &Plane, changes: &Changes) {
        for (entry, was) in &changes.entries {
            assert_eq!(self.entries.contains(entry), *was, "{entry:?}");
            toggle(&mut self.entries, *entry, plane.entries.contains_key(entry));
        }
        for (at, was) in &changes.isolated {
            assert_eq!(self.isolated.get(at), was.as_ref(), "{at:?}");
            match plane.isolated.get(at) {
                Some(id) => drop(self.isolated.insert(*at, *id)),
                None => drop(self.isolated.remove(at)),
            }
        }
        for (id, was) in &changes.isolations {
            assert_eq!(self.isolations.contains(id), was.is_some(), "{id:?}");
            toggle(&mut self.isolations, *id, plane.isolations.contains_key(id));
        }
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, one: T, is: bool) {
    if is {
        set.insert(one);
    } else {
        set.remove(&one);
    }
}

/// One random change of one object, told to the world.
fn disturb(random: &Random, cluster: &mut Cluster, world: &mut World, changes: &mut Changes) {
    let namespace = pick(random, &["a", "b"]);
    match random.below(4) {
        0 => {
            cluster.namespace(namespace, &[("team", pick(random, &["red", "blue"]))]);
            world.set_namespace(namespace, cluster.namespaces.get(namespace).cloned(), changes);
        }
        1 => {
            let number = 1 + random.below(5);
            let key = Key::new(if number.is_multiple_of(2) { "a" } else { "b" }, format!("pod{number}"));
            if random.below(4) == 0 {
                cluster.pods.remove(&key);
            } else {
                let (node, net) = if number < 4 { (NODE, 0) } else { ("n2", 1) };
                let labels = json!({"role": pick(random, &["web", "client"])});
                cluster.pod(&key.to_string(), node, &[format!("10.0.{net}.{number}")], labels);
            }
            let facts = cluster.pods.get(&key).and_then(|pod| PodFacts::of(pod, NODE, &[]));
            world.set_pod(&key, facts, changes);
        }
        _ => {
            let key = Key::new(namespace, format!("p{}", random.below(3)));
            if random.below(4) == 0 {
                cluster.policies.remove(&key);
            } else {
                let rules: Vec<Value> = (0..random.below(3)).map(|_| random_rule(random)).collect();
                let spec = match random.below(2) {
                    0 => {
                        json!({"podSelector": selector(random, "role"), "policyTypes": ["Ingress"], "ingress": renamed(&rules, "from")})
                    }
                    _ => {
                        json!({"podSelector": selector(random, "role"), "policyTypes": ["Egress"], "egress": renamed(&rules, "to")})
                    }
                };
                cluster.policy(&key.to_string(), spec);
            }
            world.set_policy(&key, cluster.policies.get(&key).map(|policy| Policy::of(policy).unwrap()));
        }
    }
}

fn renamed(rules: &[Value], peers: &str) -> Vec<Value> {
    rules.iter().map(|rule| json!({peers: rule["peers"], "ports": rule["ports"]})).collect()
}

fn random_rule(random: &Random) -> Value {
    let peer = |_| match random.below(4) {
        0 => json!({"podSelector": selector(random, "role")}),
        1 => json!({"namespaceSelector": selector(random, "team")}),
        2 => json!({"namespaceSelector": selector(random, "team"), "podSelector": selector(random, "role")}),
        _ => {
            let (cidr, hole) = [
                ("10.0.0.0/16", "10.0.1.4/31"),
                ("0.0.0.0/0", "10.0.0.2/32"),
                ("10.0.1.0/24", "10.0.1.4/32"),
            ][random.below(3) as usize];
            let except = if random.below(2) == 0 { json!([hole]) } else { json!(null) };
            json!({"ipBlock": {"cidr": cidr, "except": except}})
        }
    };
    let port = |_| match random.below(4) {
        0 => json!({"port": "web"}),
        1 => json!({"port": 80, "endPort": 80 + random.below(11)}),
        2 => json!({"protocol": pick(random, &["TCP", "UDP"])}),
        _ => {
            json!({"port": pick(random, &["80", "85"]).parse::<u16>().unwrap(), "protocol": pick(random, &["TCP", "UDP"])})
        }
    };
    json!({"peers": (0..random.below(3)).map(peer).collect::<Vec<_>>(), "ports": (0..random.below(3)).map(port).collect::<Vec<_>>()})
}

fn selector(random: &Random, key: &str) -> Value {
    let values = if key == "role" { ["web", "client"] } else { ["red", "blue"] };
    match random.below(3) {
        0 => json!({}),
        _ => json!({"matchLabels": {key: pick(random, &values)}}),
    }
}

fn pick<'a>(random: &Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}
