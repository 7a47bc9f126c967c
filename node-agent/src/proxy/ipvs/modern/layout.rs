//! The table's sets, chains and rules.
//!
//! Promise: pure; the number of rules depends on how pods are told from others, never on the services. Rules look at
//! the first packet of a connection only: what it was decided stays, also when services change.

use super::super::firewall::Rules;
use super::super::sets::Set;
use super::super::wanted::MARK_SHIFT;
use crate::addresses::Family;
use crate::nftables::conditions::{address, compare, of_cidr, state_is_new, unless_bits};
use crate::nftables::numbers::{
    INET_PROTOCOL, INET_SERVICE, INPUT, MARK, OUTPUT, POSTROUTING, PREROUTING, SOURCE, address_type,
};
use crate::nftables::{Chain, Expression, Hook, Register, SetForm, Table, Value, Verdict};
use crate::proxy::model::PodDetection;

pub(super) const TABLE: Table =
    Table { name: "steersman-ipvs", layout: "steersman ipvs layout 1", sets, is_callee: |_| false };

/// Behind conntrack (-200) and before the translation of destinations (-100), where IPVS takes what the node sends.
const MARKING: i32 = -150;
/// Before IPVS (99) takes what comes in.
const FILTER: i32 = 0;

/// Bits of a mark that hold a number of ours.
const NUMBER_MASK: u32 = u32::MAX << MARK_SHIFT;

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const TCP: u8 = 6;

const CHECK_SOURCE: &str = "check-source";
const MARK_UNLESS_POD: &str = "mark-unless-pod";
const REJECT: &str = "reject-all";
const CLOSED_PORTS: &str = "closed-ports";

/// Whether a set is one here: ranges of pods are rules.
pub(super) fn has(set: Set) -> bool {
    set != Set::Pods
}

fn sets(family: Family) -> Vec<SetForm> {
    let address = address_type(family);
    let port = vec![address, INET_PROTOCOL, INET_SERVICE];
    let form = |set: Set| {
        let (key, value, ranges) = match set {
            Set::Addresses => (vec![address], Value::Nothing, false),
            Set::Admitted => ([port.as_slice(), &[address]].concat(), Value::Nothing, true),
            Set::FromCluster => (port.clone(), Value::Parts(vec![MARK]), false),
            Set::Hairpin => (vec![address, address], Value::Nothing, false),
            _ => (port.clone(), Value::Nothing, false),
        };
        SetForm { name: set.name(), key, value, ranges, dynamic: None }
    };
    Set::ALL.into_iter().filter(|set| has(*set)).map(form).collect()
}

/// All chains, callees first.
pub(super) fn chains(family: Family, rules: &Rules) -> Vec<Chain> {
    let words = Words::of(family);
    let plain = |name: &str, rules| Chain { name: name.to_owned(), hook: None, rules };
    let base = |name: &str, kind, number, priority, rules| Chain {
        name: name.to_owned(),
        hook: Some(Hook { kind, number, priority }),
        rules,
    };
    vec![
        plain(CHECK_SOURCE, check_source(words)),
        plain(MARK_UNLESS_POD, mark_unless_pod(family, rules)),
        plain(REJECT, reject(family)),
        plain(CLOSED_PORTS, vec![words.port_in(Set::Claimed, verdict(Verdict::Return)), goto(REJECT)]),
        base("mark-prerouting", "filter", PREROUTING, MARKING, mark(words, rules, false)),
        base("mark-output", "filter", OUTPUT, MARKING, mark(words, rules, true)),
        base("filter-input", "filter", INPUT, FILTER, close(words)),
        base("filter-output", "filter", OUTPUT, FILTER, close(words)),
        base("nat-postrouting", "nat", POSTROUTING, SOURCE, masquerade(words, rules)),
    ]
}

/// What stands in which registers: keys of our sets are runs of them.
#[derive(Clone, Copy)]
struct Words {
    family: Family,
    /// Registers of an address.
    width: u32,
}

impl Words {
    fn of(family: Family) -> Self {
        Self { family, width: u32::from(family.bits()) / 32 }
    }

    fn address(self, source: bool, at: u32) -> Expression {
        address(self.family, source, Register(at))
    }

    /// Destination, protocol and port, from register 0 on.
    fn port(self) -> Vec<Expression> {
        vec![
            self.address(false, 0),
            Expression::Protocol { into: Register(self.width) },
            // TCP, UDP and SCTP have the destination port at the same place.
            Expression::Transport { offset: 2, length: 2, into: Register(self.width + 1) },
        ]
    }

    /// The packet's port is in the set: then that.
    fn port_in(self, set: Set, then: Vec<Expression>) -> Vec<Expression> {
        [self.port(), vec![in_set(set)], then].concat()
    }
}

fn in_set(set: Set) -> Expression {
    Expression::InSet { set: set.name().to_owned(), key: Register(0) }
}

fn verdict(verdict: Verdict) -> Vec<Expression> {
    vec![Expression::Verdict(verdict)]
}

fn goto(chain: &str) -> Vec<Expression> {
    verdict(Verdict::Goto(chain.to_owned()))
}

fn jump(chain: &str) -> Vec<Expression> {
    verdict(Verdict::Jump(chain.to_owned()))
}

fn new(rule: Vec<Expression>) -> Vec<Expression> {
    [state_is_new(), rule].concat()
}

/// The packet has no number of ours in its mark.
fn unnumbered() -> Vec<Expression> {
    let into = Register(0);
    let zero = 0_u32.to_ne_bytes();
    let mask = NUMBER_MASK.to_ne_bytes().to_vec();
    let bits = Expression::Bits { register: into, mask, xor: zero.to_vec() };
    vec![Expression::Mark { into }, bits, compare(into, true, &zero)]
}

fn set_mark(mark: u32) -> Vec<Expression> {
    let into = Register(0);
    let (mask, xor) = ((!mark).to_ne_bytes().to_vec(), mark.to_ne_bytes().to_vec());
    vec![
        Expression::Mark { into },
        Expression::Bits { register: into, mask, xor },
        Expression::SetMark { from: into },
    ]
}

fn mark(words: Words, rules: &Rules, output: bool) -> Vec<Vec<Expression>> {
    let mut all = vec![new(words.port_in(Set::Restricted, jump(CHECK_SOURCE)))];
    // The number takes the place of the whole mark: nf_tables cannot join two registers.
    let value = Register(words.width + 2);
    let lookup =
        Expression::Lookup { map: Set::FromCluster.name().to_owned(), key: Register(0), into: value };
    let number = [words.port(), vec![lookup, Expression::SetMark { from: value }]].concat();
    if output {
        // Connections of the node itself do not keep their source.
        let masquerade = set_mark(rules.masquerade_mark);
        all.push(new([number, masquerade].concat()));
    } else {
        let inside = match pods(words.family, &rules.pods) {
            known if known.is_empty() && matches!(rules.pods, PodDetection::Unknown) => vec![Vec::new()],
            known => known,
        };
        all.extend(inside.into_iter().map(|pod| new([pod, number.clone()].concat())));
    }
    all.push(new([unnumbered(), words.port_in(Set::Dropped, verdict(Verdict::Drop))].concat()));
    all.push(new(words.port_in(Set::Masqueraded, set_mark(rules.masquerade_mark))));
    // Where pods cannot be told, everything counts as one.
    if !matches!(rules.pods, PodDetection::Unknown) {
        all.push(new(words.port_in(Set::MasqueradedFromOutside, jump(MARK_UNLESS_POD))));
    }
    all
}

fn check_source(words: Words) -> Vec<Vec<Expression>> {
    let source = words.address(true, words.width + 2);
    let admitted = [words.port(), vec![source, in_set(Set::Admitted)], verdict(Verdict::Return)].concat();
    vec![admitted, verdict(Verdict::Drop)]
}

fn mark_unless_pod(family: Family, rules: &Rules) -> Vec<Vec<Expression>> {
    let spared = |pod| [pod, verdict(Verdict::Return)].concat();
    let mut all: Vec<_> = pods(family, &rules.pods).into_iter().map(spared).collect();
    all.push(set_mark(rules.masquerade_mark));
    all
}

/// Ways to see that a connection comes from a pod; each is enough.
fn pods(family: Family, pods: &PodDetection) -> Vec<Vec<Expression>> {
    let into = Register(0);
    let interface = |name: &[u8]| vec![vec![Expression::InterfaceIn { into }, compare(into, true, name)]];
    match pods {
        PodDetection::Unknown => Vec::new(),
        PodDetection::Cidrs(ranges) => {
            let ours = ranges.iter().filter(|range| range.family() == family);
            ours.map(|range| of_cidr(*range, true)).collect()
        }
        PodDetection::Interface(name) => {
            let mut whole = name.as_bytes().to_vec();
            whole.resize(nix::libc::IFNAMSIZ, 0);
            interface(&whole)
        }
        PodDetection::InterfacePrefix(prefix) => interface(prefix.as_bytes()),
    }
}

/// New connections to where nobody serves, and to ports of virtual addresses that no service claims.
fn close(words: Words) -> Vec<Vec<Expression>> {
    let rejected = [unnumbered(), words.port_in(Set::Rejected, goto(REJECT))].concat();
    let ours = [vec![words.address(false, 0), in_set(Set::Addresses)], jump(CLOSED_PORTS)].concat();
    vec![new(rejected), new(ours)]
}

/// A TCP client on this machine would not hear an ICMP error at once; ICMP itself goes on.
fn reject(family: Family) -> Vec<Vec<Expression>> {
    let into = Register(0);
    let protocol = |number: u8| vec![Expression::Protocol { into }, compare(into, true, &[number])];
    let v6 = family == Family::V6;
    let icmp = if v6 { ICMP_V6 } else { ICMP };
    vec![
        [protocol(icmp), verdict(Verdict::Return)].concat(),
        [protocol(TCP), vec![Expression::Reset]].concat(),
        vec![Expression::Reject { v6 }],
    ]
}

fn masquerade(words: Words, rules: &Rules) -> Vec<Vec<Expression>> {
    let into = Register(0);
    let pair = vec![words.address(true, 0), words.address(false, words.width), in_set(Set::Hairpin)];
    let marked = [vec![Expression::Mark { into }], unless_bits(into, rules.masquerade_mark)].concat();
    [pair, marked].map(|condition| [condition, vec![Expression::Masquerade]].concat()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_few_and_depend_on_how_pods_are_told() {
        let count = |pods: PodDetection, chain: &str| {
            let rules = Rules { masquerade_mark: 0x4000, pods };
            chains(Family::V4, &rules).into_iter().find(|it| it.name == chain).unwrap().rules.len()
        };
        let ranges = || {
            let texts = ["10.244.0.0/24", "10.244.1.0/24", "fd00:244::/64"];
            PodDetection::Cidrs(texts.map(|text| text.parse().unwrap()).to_vec())
        };
        assert_eq!(count(PodDetection::Unknown, "mark-prerouting"), 4);
        assert_eq!(count(ranges(), "mark-prerouting"), 6);
        assert_eq!(count(ranges(), "mark-output"), 5);
        assert_eq!(count(PodDetection::Interface("cni0".into()), "mark-prerouting"), 5);
        assert_eq!(count(ranges(), MARK_UNLESS_POD), 3);
        assert_eq!((count(ranges(), "filter-input"), count(ranges(), "nat-postrouting")), (2, 2));
    }
}
