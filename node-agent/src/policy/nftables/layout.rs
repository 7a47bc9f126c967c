//! What our table looks like: sets, base chains, and a chain an isolation.
//!
//! Promise: pure; the number of sets and fixed chains is constant, and chains grow with the different isolations that
//! pods of this node have, not with pods or policies of the cluster. What grows with those is elements of sets.
//!
//! A packet that begins a connection is judged where all translation of its destination is done: forwarded ones in
//! `forward`, and in `output` those that IPVS sends on and the node did not make. Answers pass, as do connections
//! that began before a policy: so do the common implementations. The node reaches its pods and they reach it, as the
//! API reference says. Denied packets are dropped.

use crate::addresses::Family;
use crate::nftables::conditions::{address, compare, unless_established, unless_local_source};
use crate::nftables::numbers::{FORWARD, INET_PROTOCOL, INET_SERVICE, MARK, OUTPUT, address_type};
use crate::nftables::{Chain, Expression, Hook, Register, SetForm, Table, Value, Verdict};
use crate::policy::model::{Direction, Id, Isolation, Peers, Ports, Rule};

/// Our table of each family.
pub(crate) const TABLE: Table = Table {
    name: "steersman-policy",
    layout: "steersman policy layout 1",
    sets,
    // Only elements lead to chains that come and go.
    is_callee: |_| false,
};

/// Addresses of isolated pods, to the chain of their isolation; a map a direction.
pub(crate) const INGRESS: &str = "isolated-ingress";
pub(crate) const EGRESS: &str = "isolated-egress";
/// Group and address of a pod.
pub(crate) const MEMBERS: &str = "members";
/// Group and range of addresses.
pub(crate) const RANGES: &str = "ranges";
/// Set of ports, protocol and port.
pub(crate) const PORTS: &str = "ports";
/// Set of ports, protocol and range of ports.
pub(crate) const PORT_RANGES: &str = "port-ranges";
/// Name, address of the pod, protocol and port.
pub(crate) const NAMED_PORTS: &str = "named-ports";
/// Pairs of a pod's address and the same address.
pub(crate) const LOOPBACK: &str = "loopback";

const JUDGE: &str = "judge";

/// `NF_IP_PRI_FILTER`: behind the translation of destinations, before that of sources.
const FILTER: i32 = 0;

const ICMPV6: u8 = 58;
/// Types of ICMPv6 without which no address is found: multicast listeners (130-132, 143), neighbours and routers
/// (133-137). They pass a bridge like any packet.
const NEIGHBOUR_TYPES: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// The map of a direction.
#[must_use]
pub(crate) const fn isolated(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => INGRESS,
        Direction::Egress => EGRESS,
    }
}

/// The chain of an isolation.
#[must_use]
pub(crate) fn chain_name(direction: Direction, id: Id) -> String {
    match direction {
        Direction::Ingress => format!("ingress-{id}"),
        Direction::Egress => format!("egress-{id}"),
    }
}

fn sets(family: Family) -> Vec<SetForm> {
    let address = address_type(family);
    let (protocol, port) = (INET_PROTOCOL, INET_SERVICE);
    let form = |name, key: &[(u32, u32)]| SetForm {
        name,
        key: key.to_vec(),
        value: Value::Nothing,
        ranges: false,
        dynamic: None,
    };
    // Names are eight bytes, in two parts.
    let id = MARK;
    vec![
        SetForm { value: Value::Verdict, ..form(INGRESS, &[address]) },
        SetForm { value: Value::Verdict, ..form(EGRESS, &[address]) },
        form(MEMBERS, &[id, id, address]),
        SetForm { ranges: true, ..form(RANGES, &[id, id, address]) },
        form(PORTS, &[id, id, protocol, port]),
        SetForm { ranges: true, ..form(PORT_RANGES, &[id, id, protocol, port]) },
        form(NAMED_PORTS, &[id, id, address, protocol, port]),
        form(LOOPBACK, &[address, address]),
    ]
}

/// The chains that are there whatever policies there are, callees first.
#[must_use]
pub(crate) fn fixed_chains(family: Family) -> Vec<Chain> {
    let base = |name: &str, number, rules| Chain {
        name: name.to_owned(),
        hook: Some(Hook { kind: "filter", number, priority: FILTER }),
        rules,
    };
    let judge = || vec![Expression::Verdict(Verdict::Jump(JUDGE.to_owned()))];
    vec![
        Chain { name: JUDGE.to_owned(), hook: None, rules: judgement(family) },
        base("forward", FORWARD, vec![[unless_established(), judge()].concat()]),
        base("output", OUTPUT, vec![[unless_established(), unless_local_source(), judge()].concat()]),
    ]
}

/// Egress of the source, then ingress of the destination; the chain of an isolation comes back if it allows.
fn judgement(family: Family) -> Vec<Vec<Expression>> {
    let pass = Expression::Verdict(Verdict::Return);
    let mut rules = Vec::new();
    if family == Family::V6 {
        rules.extend(NEIGHBOUR_TYPES.map(|kind| {
            let into = Register(0);
            vec![
                Expression::Protocol { into },
                compare(into, true, &[ICMPV6]),
                Expression::Transport { offset: 0, length: 1, into },
                compare(into, true, &[kind]),
                pass.clone(),
            ]
        }));
    }
    let pair = vec![address(family, true, Register(0)), address(family, false, behind(family, Register(0)))];
    let itself = Expression::InSet { set: LOOPBACK.to_owned(), key: Register(0) };
    rules.push([pair, vec![itself, pass]].concat());
    for (map, source) in [(EGRESS, true), (INGRESS, false)] {
        let key = Register(0);
        rules
            .push(vec![address(family, source, key), Expression::LookupVerdict { map: map.to_owned(), key }]);
    }
    rules
}

/// The chain of an isolation: a way back for what is allowed, and a drop.
#[must_use]
pub(crate) fn chain(family: Family, isolation: &Isolation) -> Chain {
    let mut rules: Vec<_> =
        isolation.rules.values().flat_map(|rule| allow(family, isolation.direction, rule)).collect();
    rules.push(vec![Expression::Verdict(Verdict::Drop)]);
    Chain { name: chain_name(isolation.direction, isolation.id), hook: None, rules }
}

/// Each way in which a rule can hold.
fn allow(family: Family, direction: Direction, rule: &Rule) -> Vec<Vec<Expression>> {
    let (peers, ports) = (peers(family, direction, &rule.peers), ports(family, &rule.ports));
    let pass = vec![Expression::Verdict(Verdict::Return)];
    let both = peers.iter().flat_map(|peer| ports.iter().map(move |port| (peer, port)));
    both.map(|(peer, port)| [peer.as_slice(), port, &pass].concat()).collect()
}

fn peers(family: Family, direction: Direction, peers: &Peers) -> Vec<Vec<Expression>> {
    let Peers::Some { pods, blocks } = peers else { return vec![Vec::new()] };
    let within = |set: &str, id: Id| {
        let other = address(family, direction == Direction::Ingress, ID_END);
        vec![name(id), other, Expression::InSet { set: set.to_owned(), key: Register(0) }]
    };
    let pods = pods.iter().map(|group| within(MEMBERS, group.id));
    pods.chain(blocks.iter().map(|blocks| within(RANGES, blocks.id))).collect()
}

fn ports(family: Family, ports: &Ports) -> Vec<Vec<Expression>> {
    let Ports::Some(set) = ports else { return vec![Vec::new()] };
    let within = |set: &str, id| {
        let in_set = Expression::InSet { set: set.to_owned(), key: Register(0) };
        [vec![name(id)], port_at(ID_END).to_vec(), vec![in_set]].concat()
    };
    let mut ways = Vec::new();
    if !set.exact.is_empty() {
        ways.push(within(PORTS, set.id));
    }
    if !set.ranges.is_empty() {
        ways.push(within(PORT_RANGES, set.id));
    }
    ways.extend(set.named.keys().map(|id| {
        let in_set = Expression::InSet { set: NAMED_PORTS.to_owned(), key: Register(0) };
        let destination = vec![name(*id), address(family, false, ID_END)];
        [destination, port_at(behind(family, ID_END)).to_vec(), vec![in_set]].concat()
    }));
    ways
}

/// Where the key goes on behind a name.
const ID_END: Register = Register(2);

fn name(id: Id) -> Expression {
    Expression::Constant { value: id.bytes().to_vec(), into: Register(0) }
}

/// Protocol and destination port, which TCP, UDP and SCTP have at the same place.
const fn port_at(first: Register) -> [Expression; 2] {
    let second = Register(first.0 + 1);
    [Expression::Protocol { into: first }, Expression::Transport { offset: 2, length: 2, into: second }]
}

/// The register behind an address.
const fn behind(family: Family, address: Register) -> Register {
    Register(address.0 + family.bits() as u32 / 32)
}
