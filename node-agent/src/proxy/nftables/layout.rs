//! What our tables look like besides the services: sets, base chains and their rules, and the few chains that
//! services share.
//!
//! Promise: pure; the number of chains and rules does not grow with the number of services. A service is elements of
//! maps: one says which chain its connections go to, one gives its endpoints by number. The chain is shared by all
//! services with as many endpoints, as the random number in it has a constant range.

use std::time::Duration;

use super::matching::{Words, not_loopback};
use crate::nftables::conditions::{compare, of_cidr, state_is_new, unless_bits};
use crate::nftables::numbers::{
    INET_PROTOCOL, INET_SERVICE, MARK, OUTPUT, POSTROUTING, PREROUTING, SOURCE, address_type,
};
use crate::nftables::{Chain, Expression, Hook, Register, SetForm, Table, Value, Verdict};
use crate::proxy::model::{Cidr, Family, PodDetection, Protocol, Settings};

/// Our table of each family.
pub(crate) const TABLE: Table = Table {
    name: "steersman-proxy",
    layout: "steersman proxy layout 1",
    sets,
    // Chains for connections from outside lead there.
    is_callee: |chain| chain.contains("inside-to-"),
};

/// Maps and sets. Keys begin with address, protocol, port of a frontend; node ports have the unspecified address.
pub(crate) const SERVICES: &str = "services";
/// Frontend and number of the endpoint, to its address and port.
pub(crate) const ENDPOINTS: &str = "endpoints";
/// Frontends without endpoints: reject or drop.
pub(crate) const UNSERVED: &str = "unserved";
/// Frontends that not everybody may use.
pub(crate) const RESTRICTED: &str = "restricted";
/// Frontend and address range of those that may.
pub(crate) const SOURCES: &str = "sources";
/// Client and frontend, to the endpoint it used last.
pub(crate) const AFFINITY: &str = "affinity";
/// Frontends whose clients are remembered, to the chain that does it.
pub(crate) const STICKY: &str = "sticky";
/// Addresses whose other ports are closed.
pub(crate) const CLUSTER_ADDRESSES: &str = "cluster-addresses";
/// Pairs of an endpoint's address and the same address.
pub(crate) const HAIRPIN: &str = "hairpin";

/// Where connections without endpoints go.
pub(crate) const REJECT: &str = "reject-all";

/// The numbers of endpoints for connections from inside the cluster begin here, where those from outside have others.
pub(crate) const INSIDE: u32 = 0x1_0000;

/// Most clients remembered a family.
const AFFINITY_SIZE: u32 = 1 << 18;

/// Before and behind the translation of destinations (-100).
const BEFORE: i32 = -110;
const DESTINATION: i32 = -100;
const BEHIND: i32 = -90;

const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";
const MARK_FOR_REMEMBERING: &str = "mark-for-remembering";
const REMEMBER: &str = "remember-client";
const MARK_UNLESS_POD: &str = "mark-unless-pod";
const SERVICE_LOOKUP: &str = "find-service";
const CHECKS: &str = "check-connection";
const CHECK_SOURCE: &str = "check-source";
/// Refuses connections to other ports of cluster IPs than services claim.
pub(crate) const CLOSED_PORTS: &str = "closed-ports";

/// `IPS_DST_NAT`, a bit of the conntrack status.
const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// All sets of a family's table.
#[must_use]
pub(crate) fn sets(family: Family) -> Vec<SetForm> {
    let address = address_type(family);
    let frontend = [address, INET_PROTOCOL, INET_SERVICE];
    let endpoint = Value::Parts(vec![address, INET_SERVICE]);
    let form = |name, key: &[(u32, u32)], value| SetForm {
        name,
        key: key.to_vec(),
        value,
        ranges: false,
        dynamic: None,
    };
    let with = |part| [frontend.as_slice(), &[part]].concat();
    let client_and_frontend = [[address].as_slice(), &frontend].concat();
    vec![
        form(SERVICES, &frontend, Value::Verdict),
        form(UNSERVED, &frontend, Value::Verdict),
        form(RESTRICTED, &frontend, Value::Nothing),
        SetForm { ranges: true, ..form(SOURCES, &with(address), Value::Nothing) },
        form(ENDPOINTS, &with(MARK), endpoint.clone()),
        SetForm { dynamic: Some(AFFINITY_SIZE), ..form(AFFINITY, &client_and_frontend, endpoint) },
        form(STICKY, &frontend, Value::Verdict),
        form(CLUSTER_ADDRESSES, &[address], Value::Nothing),
        form(HAIRPIN, &[address, address], Value::Nothing),
    ]
}

/// The chains that are there whatever services there are, callees first.
#[must_use]
pub(crate) fn fixed_chains(family: Family, settings: &Settings) -> Vec<Chain> {
    let plain = |name: &str, rules| Chain { name: name.to_owned(), hook: None, rules };
    let base = |name: &str, kind, number, priority, rules| Chain {
        name: name.to_owned(),
        hook: Some(Hook { kind, number, priority }),
        rules,
    };
    let jump = |chain: &str| Expression::Verdict(Verdict::Jump(chain.to_owned()));
    let new_to = |chain| vec![[state_is_new(), vec![jump(chain)]].concat()];
    let find = vec![vec![jump(SERVICE_LOOKUP)]];
    let behind = [new_to(REMEMBER), new_to(CLOSED_PORTS)].concat();
    vec![
        plain(REJECT, reject(family)),
        plain(MARK_FOR_MASQUERADE, vec![set_mark(settings.masquerade_mark)]),
        plain(MARK_UNLESS_POD, mark_unless_pod(family, settings)),
        plain(SERVICE_LOOKUP, find_service(family, settings)),
        plain(CHECK_SOURCE, check_source(family)),
        plain(CHECKS, checks(family, settings)),
        plain(MARK_FOR_REMEMBERING, vec![set_mark(remember_mark(settings))]),
        plain(REMEMBER, remember(family, settings)),
        plain(CLOSED_PORTS, closed_ports(family)),
        base("filter-prerouting", "filter", PREROUTING, BEFORE, new_to(CHECKS)),
        base("filter-output", "filter", OUTPUT, BEFORE, new_to(CHECKS)),
        base("nat-prerouting", "nat", PREROUTING, DESTINATION, find.clone()),
        base("nat-output", "nat", OUTPUT, DESTINATION, find),
        base("behind-prerouting", "filter", PREROUTING, BEHIND, behind.clone()),
        base("behind-output", "filter", OUTPUT, BEHIND, behind),
        base("nat-postrouting", "nat", POSTROUTING, SOURCE, masquerade(family, settings)),
    ]
}

/// A chain that all services of the same shape share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shape {
    /// The key has the unspecified address in the place of the packet's.
    pub(crate) node_port: bool,
    pub(crate) entry: Entry,
    /// How many endpoints there are to choose from; none drops.
    pub(crate) endpoints: u32,
    pub(crate) affinity: Option<Duration>,
}

/// Who comes, and what source address is shown to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    /// Always the node's.
    Masquerade,
    /// The node's, unless a pod comes.
    UnlessFromPod,
    /// The client's own.
    Untouched,
    /// From outside under the policy Local. Those from inside the cluster go on with other endpoints, so many.
    FromOutside { inside: u32 },
    /// From inside the cluster to a frontend under the policy Local.
    Inside,
}

impl Shape {
    /// The name of the chain; it says everything that the chain depends on.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        let entry = match self.entry {
            Entry::Masquerade => "masquerade".to_owned(),
            Entry::UnlessFromPod => "cluster".to_owned(),
            Entry::Untouched => "untouched".to_owned(),
            Entry::FromOutside { inside } => format!("outside-{inside}"),
            Entry::Inside => "inside".to_owned(),
        };
        let place = if self.node_port { "node-port-" } else { "" };
        let affinity = self.affinity.map(|timeout| format!("-sticky-{}s", timeout.as_secs()));
        format!("{place}{entry}-to-{}{}", self.endpoints, affinity.unwrap_or_default())
    }

    /// The chain that connections from inside the cluster go on in.
    #[must_use]
    pub(crate) fn inside(&self) -> Option<Self> {
        match self.entry {
            Entry::FromOutside { inside } => Some(Self { entry: Entry::Inside, endpoints: inside, ..*self }),
            _ => None,
        }
    }

    #[must_use]
    pub(crate) fn chain(&self, family: Family, settings: &Settings) -> Chain {
        let jump = |chain: &str| vec![Expression::Verdict(Verdict::Jump(chain.to_owned()))];
        let mut rules = match self.entry {
            Entry::Masquerade => vec![jump(MARK_FOR_MASQUERADE)],
            Entry::UnlessFromPod => vec![jump(MARK_UNLESS_POD)],
            Entry::Untouched | Entry::Inside | Entry::FromOutside { .. } => Vec::new(),
        };
        if let Some(inside) = self.inside() {
            let onwards = vec![Expression::Verdict(Verdict::Goto(inside.name()))];
            let from_node = compare_address_type(true);
            let mark = Expression::Verdict(Verdict::Jump(MARK_FOR_MASQUERADE.to_owned()));
            rules.push([from_node.clone(), vec![mark]].concat());
            rules.push([from_node, onwards.clone()].concat());
            rules.extend(
                pods(family, settings).into_iter().map(|from_pod| [from_pod, onwards.clone()].concat()),
            );
        }
        if self.endpoints == 0 {
            rules.push(vec![Expression::Verdict(Verdict::Drop)]);
        } else {
            if self.affinity.is_some() {
                rules.push(jump(MARK_FOR_REMEMBERING));
                rules.push(self.again(family));
            }
            rules.push(self.choose(family));
        }
        Chain { name: self.name(), hook: None, rules }
    }

    /// To an endpoint at random.
    fn choose(&self, family: Family) -> Vec<Expression> {
        let words = Words::of(family);
        let offset = if self.entry == Entry::Inside { INSIDE } else { 0 };
        let mut rule = words.load_frontend(self.node_port);
        rule.push(Expression::Random { modulus: self.endpoints, offset, into: words.number });
        rule.push(Expression::Lookup {
            map: ENDPOINTS.to_owned(),
            key: words.destination,
            into: words.endpoint_address,
        });
        rule.push(words.dnat(family));
        rule
    }

    /// To the endpoint that the client used last. The key has the address that was asked, also for a node port.
    fn again(&self, family: Family) -> Vec<Expression> {
        let words = Words::of(family);
        let mut rule = vec![words.load_source()];
        rule.extend(words.load_frontend(false));
        rule.push(Expression::Lookup {
            map: AFFINITY.to_owned(),
            key: words.source,
            into: words.endpoint_address,
        });
        rule.push(words.dnat(family));
        rule
    }
}

/// The name of the chain that remembers clients for so long.
#[must_use]
pub(crate) fn remember_name(timeout: Duration) -> String {
    format!("remember-{}s", timeout.as_secs())
}

/// The chain that remembers clients for so long. It works behind the translation, where the packet itself says which
/// endpoint was chosen: nft 1.0 cannot show a rule that takes a value from one map into another.
#[must_use]
pub(crate) fn remember_chain(family: Family, timeout: Duration) -> Chain {
    let words = Words::of(family);
    let mut rule = vec![words.load_source()];
    rule.extend(words.load_original(false));
    rule.extend(words.load_endpoint());
    let (key, value) = (words.source, words.endpoint_address);
    rule.push(Expression::Remember { map: AFFINITY.to_owned(), key, value, timeout });
    Chain { name: remember_name(timeout), hook: None, rules: vec![rule] }
}

/// Connections that are marked for it; the mark is taken away, before anything routes by it. One that was not to a
/// frontend with an address was to a node port.
fn remember(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    let (words, into, mark) = (Words::of(family), Register(0), remember_mark(settings));
    let marked = || [vec![Expression::Mark { into }], unless_bits(into, mark)].concat();
    let look = || vec![Expression::LookupVerdict { map: STICKY.to_owned(), key: words.destination }];
    let clear = vec![
        Expression::Mark { into },
        Expression::Bits {
            register: into,
            mask: (!mark).to_ne_bytes().to_vec(),
            xor: 0_u32.to_ne_bytes().to_vec(),
        },
        Expression::SetMark { from: into },
    ];
    vec![
        [marked(), words.load_original(false), look()].concat(),
        [marked(), words.load_original(true), look()].concat(),
        [marked(), clear].concat(),
    ]
}

/// The bit next to the one for masquerading; it never leaves the two hooks around the translation.
const fn remember_mark(settings: &Settings) -> u32 {
    settings.masquerade_mark.rotate_left(1)
}

/// TCP gets a reset: an ICMP error that comes back while the client still holds the lock of its socket, as it does on
/// the node itself, is lost, and the client would wait for its next attempt.
fn reject(family: Family) -> Vec<Vec<Expression>> {
    let into = Register(0);
    let tcp = compare(into, true, &[Protocol::Tcp.number()]);
    vec![
        vec![Expression::Protocol { into }, tcp, Expression::Reset],
        vec![Expression::Reject { v6: family == Family::V6 }],
    ]
}

fn find_service(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    by_frontend(family, settings, SERVICES)
}

/// Looks a verdict up by the packet's destination, and if it is an address for node ports, by the port alone.
fn by_frontend(family: Family, settings: &Settings, map: &str) -> Vec<Vec<Expression>> {
    let words = Words::of(family);
    let look = Expression::LookupVerdict { map: map.to_owned(), key: words.destination };
    let mut rules = vec![[words.load_frontend(false), vec![look.clone()]].concat()];
    for range in settings.node_port_addresses.iter().filter(|range| range.family() == family) {
        let at_node = [compare_address_type(false), of_cidr(*range, false), not_loopback(family)].concat();
        rules.push([at_node, words.load_frontend(true), vec![look.clone()]].concat());
    }
    rules
}

fn checks(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    let words = Words::of(family);
    let restricted = Expression::InSet { set: RESTRICTED.to_owned(), key: words.destination };
    let check = Expression::Verdict(Verdict::Jump(CHECK_SOURCE.to_owned()));
    let mut rules = vec![[words.load_frontend(false), vec![restricted, check]].concat()];
    rules.extend(by_frontend(family, settings, UNSERVED));
    rules
}

/// Drops those that may not use the frontend.
fn check_source(family: Family) -> Vec<Vec<Expression>> {
    let words = Words::of(family);
    let mut allowed = words.load_frontend(false);
    allowed.push(words.load_source_behind_frontend());
    allowed.push(Expression::InSet { set: SOURCES.to_owned(), key: words.destination });
    allowed.push(Expression::Verdict(Verdict::Return));
    vec![allowed, vec![Expression::Verdict(Verdict::Drop)]]
}

/// Whatever still goes to a cluster IP behind the translation goes to no port of its service.
fn closed_ports(family: Family) -> Vec<Vec<Expression>> {
    let words = Words::of(family);
    let in_set = Expression::InSet { set: CLUSTER_ADDRESSES.to_owned(), key: words.destination };
    let reject = Expression::Verdict(Verdict::Goto(REJECT.to_owned()));
    vec![vec![words.load_destination(), in_set, reject]]
}

/// Masquerades what is marked, taking the mark away, and what an endpoint sends to itself.
fn masquerade(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    let words = Words::of(family);
    let mark = settings.masquerade_mark;
    let into = Register(0);
    let marked = [
        vec![Expression::Mark { into }],
        unless_bits(into, mark),
        vec![
            Expression::Mark { into },
            Expression::Bits {
                register: into,
                mask: (!mark).to_ne_bytes().to_vec(),
                xor: 0_u32.to_ne_bytes().to_vec(),
            },
            Expression::SetMark { from: into },
            Expression::Masquerade,
        ],
    ];
    let mut hairpin = vec![Expression::Status { into }];
    hairpin.extend(unless_bits(into, DESTINATION_TRANSLATED));
    hairpin.extend([words.load_source(), words.load_destination()]);
    hairpin.push(Expression::InSet { set: HAIRPIN.to_owned(), key: words.source });
    hairpin.push(Expression::Masquerade);
    vec![marked.concat(), hairpin]
}

fn set_mark(mark: u32) -> Vec<Expression> {
    let into = Register(0);
    vec![
        Expression::Mark { into },
        Expression::Bits {
            register: into,
            mask: (!mark).to_ne_bytes().to_vec(),
            xor: mark.to_ne_bytes().to_vec(),
        },
        Expression::SetMark { from: into },
    ]
}

fn mark_unless_pod(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    let pods = pods(family, settings);
    if pods.is_empty() {
        return Vec::new();
    }
    let spared = |from_pod| [from_pod, vec![Expression::Verdict(Verdict::Return)]].concat();
    let mut rules: Vec<_> = pods.into_iter().map(spared).collect();
    rules.push(set_mark(settings.masquerade_mark));
    rules
}

/// Ways to see that a connection comes from a pod; each is enough. None if it cannot be seen.
fn pods(family: Family, settings: &Settings) -> Vec<Vec<Expression>> {
    let into = Register(0);
    match &settings.pods {
        PodDetection::Unknown => Vec::new(),
        PodDetection::Cidrs(ranges) => {
            let ours = ranges.iter().filter(|range: &&Cidr| range.family() == family);
            ours.map(|range| of_cidr(*range, true)).collect()
        }
        PodDetection::Interface(name) => {
            let mut whole = name.as_bytes().to_vec();
            whole.resize(nix::libc::IFNAMSIZ, 0);
            vec![vec![Expression::InterfaceIn { into }, compare(into, true, &whole)]]
        }
        PodDetection::InterfacePrefix(prefix) => {
            vec![vec![Expression::InterfaceIn { into }, compare(into, true, prefix.as_bytes())]]
        }
    }
}

/// The packet's source (or destination) is an address of this node.
fn compare_address_type(source: bool) -> Vec<Expression> {
    let into = Register(0);
    let local = u32::from(nix::libc::RTN_LOCAL).to_ne_bytes();
    vec![Expression::AddressType { source, into }, compare(into, true, &local)]
}
