//! Netfilter for kernels without nf_tables: the old tables of iptables, with ipsets.
//!
//! Promise: the same rules over the same sets as with nf_tables. Sets are filled beside those in use and exchanged;
//! the tables of others stay as they are.

mod entry;
mod kernel;
mod table;

use nix::errno::Errno;
use rustc_hash::FxHashMap;

use crate::netlink::ipset::{self, Kind};
use crate::netlink::{Batch, Error, Protocol, Socket, Stream};
use crate::proxy::SyncError;
use crate::proxy::model::PodDetection;

use super::firewall::{Elements, Firewall, Rules};
use super::sets::{Element, Set};
use super::wanted::MARK_SHIFT;
use super::{failed, refuse};
use entry::{Match, Target, rule};
use kernel::Tables;
use table::{HOOKS, INPUT, OUTPUT, POSTROUTING, PREROUTING, splice};

/// How often a table is read anew because somebody replaced it meanwhile.
const ATTEMPTS: usize = 10;

/// Bits of a mark that hold a number of ours.
const NUMBER_MASK: u32 = u32::MAX << MARK_SHIFT;

/// Rules of one table, by hook.
type TableRules = [Vec<Vec<u8>>; HOOKS];

/// The kernel's side.
#[derive(Debug)]
pub(super) struct Legacy {
    socket: Socket,
    /// IPv4, and IPv6 where the kernel has it.
    families: Vec<Tables>,
}

impl Legacy {
    /// Opens its sockets.
    pub(super) fn open() -> Result<Legacy, SyncError> {
        let socket =
            Socket::open(Protocol::Netfilter).map_err(|error| failed("open a netlink socket", error))?;
        let mut families = Vec::new();
        for layout in [entry::V4, entry::V6] {
            match Tables::open(layout).and_then(|tables| tables.read("mangle").map(|_| tables)) {
                Ok(tables) => families.push(tables),
                Err(Errno::EPERM | Errno::EACCES) => return Err(SyncError::Permission),
                Err(error) if !layout.v6 => {
                    let text = "both nf_tables and the tables of iptables (kernel modules nf_tables, iptable_mangle)";
                    tracing::debug!(%error, "cannot read the table mangle");
                    return Err(SyncError::Missing(text.to_owned()));
                }
                Err(error) => tracing::info!(%error, "this kernel has no tables for IPv6"),
            }
        }
        Ok(Legacy { socket, families })
    }

    fn fill(&mut self, elements: &Elements<'_>) -> Result<(), SyncError> {
        let families: Vec<bool> = self.families.iter().map(|tables| tables.layout.v6).collect();
        let mut stream = self.socket.stream();
        let mut sent = 0;
        for v6 in families {
            for set in Set::ALL {
                let elements = elements.get(&set).map(Vec::as_slice).unwrap_or_default();
                sent +=
                    fill_one(&mut stream, set, v6, elements).map_err(|error| failed("fill ipsets", error))?;
            }
        }
        let failures = stream.finish().map_err(|error| failed("fill ipsets", error))?;
        match failures.first().map(|failure| failure.errno) {
            Some(Errno::EINVAL | Errno::EOPNOTSUPP) if failures.len() == sent => {
                Err(SyncError::Missing("ipsets (kernel module ip_set)".into()))
            }
            _ => refuse("fill ipsets", failures),
        }
    }

    fn replace_rules(&mut self, rules: Option<&Rules>) -> Result<(), SyncError> {
        for tables in &self.families {
            let indexes = match rules {
                Some(_) => indexes(&mut self.socket, tables.layout.v6)?,
                None => FxHashMap::default(),
            };
            for name in ["nat", "mangle", "filter"] {
                let ours = rules.map_or_else(TableRules::default, |rules| {
                    table_rules(name, &tables.layout, rules, &|set| {
                        indexes.get(&set).copied().unwrap_or(u16::MAX)
                    })
                });
                replace_table(tables, name, &ours)?;
            }
        }
        Ok(())
    }
}

impl Firewall for Legacy {
    fn replace(&mut self, rules: &Rules, elements: &Elements<'_>) -> Result<(), SyncError> {
        self.fill(elements)?;
        self.replace_rules(Some(rules))
    }

    fn change(&mut self, added: &[(Set, Element)], removed: &[(Set, Element)]) -> Result<(), SyncError> {
        let mut batch = Batch::new();
        let has_v6 = self.families.len() > 1;
        let known = |element: &Element| has_v6 || !element.is_v6();
        for (set, element) in added.iter().filter(|(_, element)| known(element)) {
            ipset::add(&mut batch, &name(*set, element.is_v6()), &wire(element));
        }
        for (set, element) in removed.iter().filter(|(_, element)| known(element)) {
            ipset::delete(&mut batch, &name(*set, element.is_v6()), &wire(element));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let failures = self.socket.execute(&mut batch).map_err(|error| failed("change ipsets", error))?;
        refuse("change ipsets", failures)
    }

    fn is_in_force(&mut self) -> Result<bool, SyncError> {
        for tables in &self.families {
            for name in ["nat", "mangle", "filter"] {
                let table = tables.read(name).map_err(|error| lacking(tables, name, error))?;
                let ours = table::ours(&tables.layout, &table).map_err(|error| damaged(&error))?;
                if ours == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_there(&mut self) -> Result<bool, SyncError> {
        let (mut batch, v6) = (Batch::new(), false);
        ipset::list_header(&mut batch, &name(Set::Addresses, v6));
        let failures = self.socket.execute(&mut batch).map_err(|error| failed("find an ipset", error))?;
        Ok(failures.is_empty())
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.replace_rules(None)?;
        let mut batch = Batch::new();
        for tables in &self.families {
            for set in Set::ALL {
                ipset::destroy(&mut batch, &name(set, tables.layout.v6));
            }
        }
        // Sets that were never made are refused, and so it should be.
        let failures = self.socket.execute(&mut batch).map_err(|error| failed("destroy ipsets", error))?;
        tracing::debug!(refused = failures.len(), "destroyed ipsets");
        Ok(())
    }
}

/// Fills a set beside the one in use and exchanges the two; gives the number of messages.
fn fill_one(stream: &mut Stream<'_>, set: Set, v6: bool, elements: &[&Element]) -> Result<usize, Error> {
    let (name, next) = (name(set, v6), next_name(set, v6));
    let marks = set == Set::FromCluster;
    let of_family = || elements.iter().filter(|element| element.is_v6() == v6);
    let room = of_family().count();
    ipset::create(stream.room()?, &name, kind(set), v6, marks, room);
    ipset::create(stream.room()?, &next, kind(set), v6, marks, room);
    let mut rest = of_family().map(|element| wire(element)).peekable();
    let mut sent = 0;
    while rest.peek().is_some() {
        ipset::add_all(stream.room()?, &next, rest.by_ref().take(ipset::MAX_ADDED));
        sent += 1;
    }
    ipset::swap(stream.room()?, &name, &next);
    ipset::destroy(stream.room()?, &next);
    Ok(sent + 4)
}

/// Reads, splices, replaces; anew if somebody was quicker.
fn replace_table(tables: &Tables, name: &str, ours: &TableRules) -> Result<(), SyncError> {
    for _ in 0..ATTEMPTS {
        let old = tables.read(name).map_err(|error| lacking(tables, name, error))?;
        let new = splice(&tables.layout, &old, ours).map_err(|error| damaged(&error))?;
        if new == old {
            return Ok(());
        }
        match tables.replace(name, &new, old.count) {
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(lacking(tables, name, errno)),
            Ok(()) => return Ok(()),
        }
    }
    Err(SyncError::Refused { doing: format!("replace the table {name}"), source: Errno::EAGAIN.into() })
}

fn lacking(tables: &Tables, name: &str, errno: Errno) -> SyncError {
    match errno {
        Errno::EPERM | Errno::EACCES => SyncError::Permission,
        // No such table, or no such match or target: the table's module pulls in most of what the rules need.
        Errno::ENOENT | Errno::ENOPROTOOPT => SyncError::Missing(format!(
            "the table {name} or a part of its rules (kernel modules {}, xt_set, xt_comment, xt_state, xt_MASQUERADE)",
            tables.module(name)
        )),
        errno => SyncError::Refused { doing: format!("replace the table {name}"), source: errno.into() },
    }
}

fn damaged(error: &table::Damaged) -> SyncError {
    SyncError::Netlink { doing: "read a table of iptables", source: std::io::Error::other(*error) }
}

fn indexes(socket: &mut Socket, v6: bool) -> Result<FxHashMap<Set, u16>, SyncError> {
    let mut all = FxHashMap::default();
    for set in Set::ALL {
        let index =
            ipset::index_of(socket, &name(set, v6)).map_err(|error| failed("find an ipset", error))?;
        all.insert(set, index);
    }
    Ok(all)
}

/// Our rules of one table.
fn table_rules(
    table: &str,
    layout: &entry::Layout,
    rules: &Rules,
    index: &impl Fn(Set) -> u16,
) -> TableRules {
    let to = |set: Set| Match::Set {
        index: index(set),
        dimensions: dimensions(set),
        sources: sources(set),
        inverted: false,
    };
    let not = |condition: Match| match condition {
        Match::Set { index, dimensions, sources, inverted } => {
            Match::Set { index, dimensions, sources, inverted: !inverted }
        }
        Match::In { name, prefix, inverted } => Match::In { name, prefix, inverted: !inverted },
        other => other,
    };
    let mut ours = TableRules::default();
    let mut add = |hook: usize, matches: &[Match], target| ours[hook].push(rule(layout, matches, target));
    let mark = rules.masquerade_mark;
    // Connections from within the cluster that have a virtual server of their own.
    let unmarked = Match::Mark { value: 0, mask: NUMBER_MASK, inverted: false };
    match table {
        "mangle" => {
            for hook in [PREROUTING, OUTPUT] {
                let pod = pod_match(&rules.pods, hook, &to);
                add(hook, &[to(Set::Restricted), not(to(Set::Admitted))], Target::Drop);
                let inside = if hook == OUTPUT { None } else { pod.clone() };
                let conditions: Vec<Match> = [to(Set::FromCluster)].into_iter().chain(inside).collect();
                add(hook, &conditions, Target::MarkOf(index(Set::FromCluster)));
                if hook == OUTPUT {
                    add(hook, &[to(Set::FromCluster)], Target::Mark(mark));
                }
                add(hook, &[to(Set::Dropped), unmarked.clone()], Target::Drop);
                add(hook, &[to(Set::Masqueraded)], Target::Mark(mark));
                // Where pods cannot be told, everything counts as one; the node itself comes in through no device.
                let told_here = !matches!(rules.pods, PodDetection::Unknown);
                if told_here {
                    let outside: Vec<Match> =
                        [to(Set::MasqueradedFromOutside)].into_iter().chain(pod.map(not)).collect();
                    add(hook, &outside, Target::Mark(mark));
                }
            }
        }
        "filter" => {
            for hook in [INPUT, OUTPUT] {
                for (kind, target) in [(Match::Tcp, Target::Reset), (Match::NotIcmp, Target::Reject)] {
                    add(hook, &[to(Set::Rejected), unmarked.clone(), Match::New, kind.clone()], target);
                    add(hook, &[to(Set::Addresses), not(to(Set::Claimed)), Match::New, kind], target);
                }
            }
        }
        _ => {
            add(POSTROUTING, &[to(Set::Hairpin)], Target::Masquerade);
            let marked = Match::Mark { value: mark, mask: mark, inverted: false };
            add(POSTROUTING, &[marked], Target::Masquerade);
        }
    }
    ours
}

/// The condition by which a packet is a pod's; none where there is no such condition.
fn pod_match(pods: &PodDetection, hook: usize, to: &impl Fn(Set) -> Match) -> Option<Match> {
    match pods {
        PodDetection::Unknown => None,
        PodDetection::Cidrs(_) => Some(to(Set::Pods)),
        PodDetection::Interface(_) | PodDetection::InterfacePrefix(_) if hook == OUTPUT => None,
        PodDetection::Interface(name) => {
            Some(Match::In { name: name.clone(), prefix: false, inverted: false })
        }
        PodDetection::InterfacePrefix(name) => {
            Some(Match::In { name: name.clone(), prefix: true, inverted: false })
        }
    }
}

fn kind(set: Set) -> Kind {
    match set {
        Set::Addresses => Kind::Ip,
        Set::Admitted => Kind::IpPortNet,
        Set::Hairpin => Kind::NetNet,
        Set::Pods => Kind::Net,
        Set::Claimed
        | Set::Masqueraded
        | Set::MasqueradedFromOutside
        | Set::Dropped
        | Set::Rejected
        | Set::Restricted
        | Set::FromCluster => Kind::IpPort,
    }
}

fn dimensions(set: Set) -> u8 {
    match kind(set) {
        Kind::Ip | Kind::Net => 1,
        Kind::IpPort | Kind::NetNet => 2,
        Kind::IpPortIp | Kind::IpPortNet => 3,
    }
}

fn sources(set: Set) -> entry::Sources {
    match set {
        Set::Pods | Set::Hairpin => [true, false, false],
        Set::Admitted => [false, false, true],
        _ => [false, false, false],
    }
}

fn name(set: Set, v6: bool) -> String {
    format!("steersman-{}-{}", set.name(), if v6 { 6 } else { 4 })
}

/// The set that is filled beside the one in use.
fn next_name(set: Set, v6: bool) -> String {
    name(set, v6) + "n"
}

fn wire(element: &Element) -> ipset::Element {
    let plain = |address| ipset::Element { address, prefix: None, port: None, second: None, mark: None };
    match *element {
        Element::Address(address) => plain(address),
        Element::Port(address, protocol, port) => {
            ipset::Element { port: Some((protocol, port)), ..plain(address) }
        }
        Element::PortFrom(address, protocol, port, range) => ipset::Element {
            port: Some((protocol, port)),
            second: Some((range.network(), Some(range.prefix()))),
            ..plain(address)
        },
        Element::PortMark(address, protocol, port, mark) => {
            ipset::Element { port: Some((protocol, port)), mark: Some(mark), ..plain(address) }
        }
        Element::Twice(address) => {
            let whole = if address.is_ipv6() { 128 } else { 32 };
            ipset::Element { prefix: Some(whole), second: Some((address, Some(whole))), ..plain(address) }
        }
        Element::Range(range) => ipset::Element { prefix: Some(range.prefix()), ..plain(range.network()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        for set in Set::ALL {
            assert!(next_name(set, true).len() < 32, "{set:?}");
        }
    }

    #[test]
    fn rules_are_few_and_depend_on_how_pods_are_told() {
        let count = |pods: PodDetection, table| {
            let rules = Rules { masquerade_mark: 0x4000, pods };
            table_rules(table, &entry::V4, &rules, &|set| set as u16).map(|rules| rules.len())
        };
        assert_eq!(count(PodDetection::Unknown, "mangle"), [4, 0, 0, 5, 0]);
        assert_eq!(count(PodDetection::Cidrs(vec![]), "mangle"), [5, 0, 0, 6, 0]);
        assert_eq!(count(PodDetection::Interface("cni0".into()), "mangle"), [5, 0, 0, 6, 0]);
        assert_eq!(count(PodDetection::Unknown, "filter"), [0, 4, 0, 4, 0]);
        assert_eq!(count(PodDetection::Unknown, "nat"), [0, 0, 0, 0, 2]);
    }
}
