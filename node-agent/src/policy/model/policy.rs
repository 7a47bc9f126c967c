//! A NetworkPolicy as rules.
//!
//! Promise: pure. What cannot be followed allows nothing and is a [`Problem`]; the rest of the policy holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use component::informers::Key;
use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::labels::Selector;

use super::plane::{Direction, Id};
use super::ranges::{self, Block, Range};
use crate::addresses::{Cidr, Protocol};

/// A policy: the pods that it is about, and what it allows them. A direction without rules that it isolates allows
/// nothing; one that it does not isolate is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub namespace: String,
    pub pods: Selector,
    pub ingress: Option<Rules>,
    pub egress: Option<Rules>,
    pub problems: Vec<Problem>,
}

/// Rules by their content, so that the same rule of several policies is one.
pub type Rules = BTreeMap<Id, Arc<Rule>>;

/// One rule: who, and on which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub peers: Peers,
    pub ports: Ports,
}

/// The other side of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    All,
    /// Any of these.
    Some {
        pods: Vec<Arc<Group>>,
        blocks: Option<Arc<Blocks>>,
    },
}

/// Pods with these labels in some namespaces. What several policies name alike is one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: Id,
    pub scope: Scope,
    pub pods: Selector,
}

/// Where pods are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespace(String),
    /// All namespaces with these labels.
    Namespaces(Selector),
}

/// Addresses of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub id: Id,
    pub ranges: Vec<Range>,
}

/// Destination ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Any, and protocols without ports too.
    All,
    Some(PortSet),
}

/// Any of some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSet {
    /// Of the numbers, not of the names.
    pub id: Id,
    pub exact: BTreeSet<(Protocol, u16)>,
    /// These do not overlap.
    pub ranges: BTreeSet<(Protocol, u16, u16)>,
    /// Ports of the destination pod, by the name its containers give them.
    pub named: BTreeMap<Id, (Protocol, String)>,
}

/// What of a policy cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub policy: Key,
    pub field: String,
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkPolicy {}: {}: {}", self.policy, self.field, self.why)
    }
}

impl Policy {
    /// What an object says; `None` if it cannot be told which pods it is about.
    pub fn of(object: &api::NetworkPolicy) -> Result<Self, Problem> {
        let key = Key::of(object);
        let empty = api::NetworkPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let mut reader = Reader { policy: &key, problems: Vec::new() };
        let pods = match &spec.pod_selector {
            Some(selector) => Selector::from_label_selector(selector),
            None => Ok(Selector::everything()),
        };
        let pods = pods.map_err(|why| reader.problem("spec.podSelector", &why))?;
        let ingress = isolates(spec, Direction::Ingress).then(|| {
            let all = spec.ingress.iter().flatten();
            reader.rules("spec.ingress", all.map(|rule| (rule.from.as_deref(), rule.ports.as_deref())))
        });
        let egress = isolates(spec, Direction::Egress).then(|| {
            let all = spec.egress.iter().flatten();
            reader.rules("spec.egress", all.map(|rule| (rule.to.as_deref(), rule.ports.as_deref())))
        });
        let problems = reader.problems;
        Ok(Self { namespace: key.namespace.clone(), pods, ingress, egress, problems })
    }

    /// What it allows in a direction, if it isolates pods there.
    #[must_use]
    pub const fn rules(&self, direction: Direction) -> Option<&Rules> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

/// A policy without types is about ingress, and about egress where it has rules for it.
fn isolates(spec: &api::NetworkPolicySpec, direction: Direction) -> bool {
    match (spec.policy_types.as_deref(), direction) {
        (None | Some([]), Direction::Ingress) => true,
        (None | Some([]), Direction::Egress) => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        (Some(types), Direction::Ingress) => types.iter().any(|name| name == "Ingress"),
        (Some(types), Direction::Egress) => types.iter().any(|name| name == "Egress"),
    }
}

/// Reads fields and notes what is wrong with them.
struct Reader<'a> {
    policy: &'a Key,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&self, field: &str, why: &dyn fmt::Display) -> Problem {
        Problem { policy: self.policy.clone(), field: field.to_owned(), why: why.to_string() }
    }

    fn note<T>(&mut self, field: &str, read: Result<T, impl fmt::Display>) -> Option<T> {
        read.map_err(|why| self.problems.push(self.problem(field, &why))).ok()
    }

    fn rules<'a>(
        &mut self,
        field: &str,
        rules: impl Iterator<Item = (Option<&'a [api::NetworkPolicyPeer]>, Option<&'a [api::NetworkPolicyPort]>)>,
    ) -> Rules {
        let mut all = Rules::new();
        for (index, (peers, ports)) in rules.enumerate() {
            let at = format!("{field}[{index}]");
            let peers = match peers.unwrap_or_default() {
                [] => Peers::All,
                peers => self.peers(&at, peers),
            };
            let ports = match ports.unwrap_or_default() {
                [] => Ports::All,
                ports => Ports::Some(self.ports(&at, ports)),
            };
            let rule = Rule { peers, ports };
            all.insert(Id::of(&rule), Arc::new(rule));
        }
        all
    }

    fn peers(&mut self, field: &str, peers: &[api::NetworkPolicyPeer]) -> Peers {
        let (mut pods, mut blocks) = (BTreeMap::new(), Vec::new());
        for peer in peers {
            match &peer.ip_block {
                Some(block) => blocks.extend(self.block(field, block)),
                None => pods.extend(self.group(field, peer).map(|group| (group.id, Arc::new(group)))),
            }
        }
        let pods = pods.into_values().collect();
        let ranges = ranges::of_blocks(&blocks);
        let blocks = (!ranges.is_empty()).then(|| Arc::new(Blocks { id: Id::of(&ranges), ranges }));
        Peers::Some { pods, blocks }
    }

    fn block(&mut self, field: &str, block: &api::IPBlock) -> Option<Block> {
        let within = self.note(field, block.cidr.parse::<Cidr>())?;
        let holes = block.except.iter().flatten();
        // Without one of its exceptions a block would allow too much.
        let except = holes.map(|hole| hole.parse()).collect::<Result<_, _>>();
        Some(Block { within, except: self.note(field, except)? })
    }

    fn group(&mut self, field: &str, peer: &api::NetworkPolicyPeer) -> Option<Group> {
        let mut read = |selector: &Option<LabelSelector>| match selector {
            Some(selector) => self.note(field, Selector::from_label_selector(selector)),
            None => Some(Selector::everything()),
        };
        let pods = read(&peer.pod_selector)?;
        let scope = match &peer.namespace_selector {
            Some(_) => Scope::Namespaces(read(&peer.namespace_selector)?),
            None => Scope::Namespace(self.policy.namespace.clone()),
        };
        Some(Group { id: Id::of(&(&scope, &pods)), scope, pods })
    }

    fn ports(&mut self, field: &str, ports: &[api::NetworkPolicyPort]) -> PortSet {
        let (mut exact, mut spans, mut named) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        for port in ports {
            let text = port.protocol.as_deref().unwrap_or_default();
            let protocol = Protocol::parse(text).ok_or_else(|| format!("unknown protocol {text:?}"));
            let Some(protocol) = self.note(field, protocol) else { continue };
            let span = match (&port.port, port.end_port) {
                (None, _) => Ok((0, u16::MAX)),
                (Some(IntOrString::String(name)), _) => {
                    let of = (protocol, name.clone());
                    named.insert(Id::of(&of), of);
                    continue;
                }
                (Some(IntOrString::Int(first)), end) => span(*first, end.unwrap_or(*first)),
            };
            match self.note(field, span) {
                Some((first, last)) if first == last => drop(exact.insert((protocol, first))),
                Some(span) => spans.entry(protocol).or_insert_with(Vec::new).push(span),
                None => {}
            }
        }
        let merged = |(protocol, spans)| {
            ranges::of_ports(spans).into_iter().map(move |(first, last)| (protocol, first, last))
        };
        let ranges: BTreeSet<_> = spans.into_iter().flat_map(merged).collect();
        PortSet { id: Id::of(&(&exact, &ranges)), exact, ranges, named }
    }
}

fn span(first: i32, last: i32) -> Result<(u16, u16), String> {
    match (u16::try_from(first), u16::try_from(last)) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("{first} to {last} are no ports")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: Value) -> Policy {
        let object = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec});
        Policy::of(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn types_default_by_the_rules_that_are_there() {
        let table = [
            (json!({}), (true, false)),
            (json!({"podSelector": {}}), (true, false)),
            (json!({"egress": []}), (true, false)),
            (json!({"egress": [{}]}), (true, true)),
            (json!({"policyTypes": []}), (true, false)),
            (json!({"policyTypes": ["Egress"]}), (false, true)),
            (json!({"policyTypes": ["Egress"], "ingress": [{}]}), (false, true)),
            (json!({"policyTypes": ["Ingress", "Egress"]}), (true, true)),
        ];
        for (spec, expected) in table {
            let policy = policy(spec.clone());
            assert_eq!((policy.ingress.is_some(), policy.egress.is_some()), expected, "{spec}");
        }
    }

    #[test]
    fn an_empty_list_is_everything_and_a_missing_one_too() {
        for rule in [json!({}), json!({"from": [], "ports": []}), json!({"from": null, "ports": null})] {
            let policy = policy(json!({"ingress": [rule]}));
            let rules: Vec<_> = policy.ingress.unwrap().into_values().collect();
            assert_eq!(*rules[0], Rule { peers: Peers::All, ports: Ports::All });
        }
        assert!(policy(json!({"ingress": []})).ingress.unwrap().is_empty(), "nothing is allowed");
    }

    #[test]
    fn the_same_rule_is_the_same_however_it_is_written() {
        let one = json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "ports": [{"port": 80}, {"port": 81, "endPort": 90}, {"port": 91, "endPort": 95}]}]});
        let two = json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.128.0.0/9"}}, {"ipBlock": {"cidr": "10.0.0.0/9"}},
            {"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 81, "endPort": 95}, {"port": 80, "protocol": "TCP"}]}]});
        assert_eq!(policy(one.clone()).ingress, policy(two).ingress);
        let other = json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "c"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "ports": [{"port": 80}, {"port": 81, "endPort": 95}]}]});
        assert_ne!(policy(one).ingress, policy(other).ingress);
    }

    #[test]
    fn what_cannot_be_read_allows_nothing() {
        let wrong = policy(json!({"ingress": [
            {"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]},
            {"ports": [{"port": 70000}, {"port": 5, "endPort": 4}, {"protocol": "ICMP"}]},
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]}]}));
        assert_eq!(wrong.problems.len(), 6, "{:?}", wrong.problems);
        assert!(wrong.problems[0].to_string().starts_with("NetworkPolicy ns/p: spec.ingress[0]: "));
        let nobody = Peers::Some { pods: Vec::new(), blocks: None };
        for rule in wrong.ingress.unwrap().values() {
            let no_ports =
                matches!(&rule.ports, Ports::Some(set) if set.exact.is_empty() && set.ranges.is_empty());
            assert!(rule.peers == nobody || no_ports, "{rule:?}");
        }
        let object = json!({"metadata": {"name": "p", "namespace": "ns"},
            "spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}});
        assert!(Policy::of(&serde_json::from_value(object).unwrap()).is_err());
    }
}
