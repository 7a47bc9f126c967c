//! The difference between a virtual server as it is and as it should be, as commands in a safe order.
//!
//! Promise: pure. What takes connections is added before what took them goes; an endpoint that goes keeps its
//! connections with weight 0 until they end (`Drain`), unless its protocol has none that end. An endpoint that comes
//! back takes connections again.

use rustc_hash::FxHashMap;

use crate::netlink::Batch;
use crate::netlink::ipvs::{Commands, DestinationKey, Server, ServerKey};

use super::wanted::{WEIGHT, drains};

/// The virtual servers that the kernel has. In boxes, as half of a large table is empty.
pub(super) type Servers = FxHashMap<ServerKey, Box<Known>>;

/// A virtual server as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its settings.
    pub(super) server: Server,
    /// Its real servers with their weights.
    pub(super) destinations: Destinations,
}

/// Real servers with their weights, in order: most virtual servers have a few, for which a list is smallest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Destinations(Vec<(DestinationKey, u32)>);

impl Destinations {
    pub(super) fn weight(&self, key: &DestinationKey) -> Option<u32> {
        self.0.binary_search_by_key(key, |(key, _)| *key).ok().map(|at| self.0[at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(DestinationKey, u32)> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, key: DestinationKey, weight: u32) {
        match self.0.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.0[at].1 = weight,
            Err(at) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, weight));
            }
        }
    }

    fn remove(&mut self, key: &DestinationKey) {
        self.0.retain(|(other, _)| other != key);
    }
}

impl FromIterator<(DestinationKey, u32)> for Destinations {
    fn from_iter<I: IntoIterator<Item = (DestinationKey, u32)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable();
        all.dedup_by_key(|(key, _)| *key);
        Self(all)
    }
}

/// Up to so many real servers a list has no room to spare.
const FEW: usize = 4;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A new virtual server.
    AddServer(ServerKey, Server),
    /// Other settings.
    SetServer(ServerKey, Server),
    /// A virtual server goes, with all that it has.
    DeleteServer(ServerKey),
    /// A new real server.
    Add(ServerKey, DestinationKey),
    /// A real server takes connections again.
    Revive(ServerKey, DestinationKey),
    /// A real server takes no more connections.
    Drain(ServerKey, DestinationKey),
    /// A real server goes.
    Delete(ServerKey, DestinationKey),
}

/// The steps from `known` to `wanted`: settings and endpoints, or none for a server that should not be.
pub(super) fn steps(
    key: &ServerKey,
    known: Option<&Known>,
    wanted: Option<(&Server, &[DestinationKey])>,
) -> Vec<Step> {
    match (known, wanted) {
        (None, None) => Vec::new(),
        (None, Some((server, destinations))) => {
            let mut steps = vec![Step::AddServer(*key, server.clone())];
            steps.extend(destinations.iter().map(|destination| Step::Add(*key, *destination)));
            steps
        }
        (Some(known), Some((server, destinations))) => change(key, known, server, destinations),
        (Some(known), None) if !drains(key) || known.destinations.is_empty() => {
            vec![Step::DeleteServer(*key)]
        }
        (Some(known), None) => change(key, known, &known.server, &[]),
    }
}

fn change(key: &ServerKey, known: &Known, server: &Server, wanted: &[DestinationKey]) -> Vec<Step> {
    let mut steps = Vec::new();
    if known.server != *server {
        steps.push(Step::SetServer(*key, server.clone()));
    }
    for destination in wanted {
        match known.destinations.weight(destination) {
            None => steps.push(Step::Add(*key, *destination)),
            Some(WEIGHT) => {}
            Some(_) => steps.push(Step::Revive(*key, *destination)),
        }
    }
    for (destination, weight) in known.destinations.iter().filter(|(key, _)| !wanted.contains(key)) {
        if !drains(key) {
            steps.push(Step::Delete(*key, *destination));
        } else if *weight != 0 {
            steps.push(Step::Drain(*key, *destination));
        }
    }
    steps
}

impl Step {
    /// Writes the command.
    pub(super) fn write(&self, commands: &Commands, batch: &mut Batch) {
        match self {
            Step::AddServer(key, server) => commands.add_server(batch, key, server),
            Step::SetServer(key, server) => commands.set_server(batch, key, server),
            Step::DeleteServer(key) => commands.delete_server(batch, key),
            Step::Add(key, destination) => commands.add_destination(batch, key, destination, WEIGHT),
            Step::Revive(key, destination) => commands.set_destination(batch, key, destination, WEIGHT),
            Step::Drain(key, destination) => commands.set_destination(batch, key, destination, 0),
            Step::Delete(key, destination) => commands.delete_destination(batch, key, destination),
        }
    }

    /// Writes into `servers` what the kernel has once it took the command.
    pub(super) fn note(&self, servers: &mut Servers) {
        match self {
            Step::AddServer(key, server) => {
                let known = Known { server: server.clone(), destinations: Destinations::default() };
                servers.insert(*key, Box::new(known));
            }
            Step::SetServer(key, server) => {
                if let Some(known) = servers.get_mut(key) {
                    known.server = server.clone();
                }
            }
            Step::DeleteServer(key) => drop(servers.remove(key)),
            Step::Add(key, destination) | Step::Revive(key, destination) => {
                weigh(servers, key, *destination, WEIGHT);
            }
            Step::Drain(key, destination) => weigh(servers, key, *destination, 0),
            Step::Delete(key, destination) => {
                if let Some(known) = servers.get_mut(key) {
                    known.destinations.remove(destination);
                }
            }
        }
    }

    /// Whether it adds to what the kernel has.
    pub(super) fn adds(&self) -> bool {
        !matches!(self, Step::DeleteServer(_) | Step::Drain(..) | Step::Delete(..))
    }
}

fn weigh(servers: &mut Servers, key: &ServerKey, destination: DestinationKey, weight: u32) {
    if let Some(known) = servers.get_mut(key) {
        known.destinations.set(destination, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8) -> ServerKey {
        ServerKey::Address { protocol, address: "10.96.0.1".parse().unwrap(), port: 80 }
    }

    fn to(last: u8) -> DestinationKey {
        DestinationKey { address: [10, 244, 0, last].into(), port: 8080 }
    }

    fn server(scheduler: &str) -> Server {
        Server { scheduler: scheduler.into(), flags: 0, timeout: 0 }
    }

    fn known(destinations: &[(u8, u32)]) -> Known {
        Known {
            server: server("rr"),
            destinations: destinations.iter().map(|(last, weight)| (to(*last), *weight)).collect(),
        }
    }

    #[test]
    fn each_difference_has_its_steps() {
        let (tcp, udp, rr, lc) = (key(6), key(17), server("rr"), server("lc"));
        let two = known(&[(1, 1), (2, 1)]);
        let cases = [
            (tcp, None, None, vec![]),
            (
                tcp,
                None,
                Some((&rr, vec![to(1)])),
                vec![Step::AddServer(tcp, rr.clone()), Step::Add(tcp, to(1))],
            ),
            (tcp, Some(&two), Some((&rr, vec![to(2), to(1)])), vec![]),
            (tcp, Some(&two), Some((&lc, vec![to(1), to(2)])), vec![Step::SetServer(tcp, lc.clone())]),
            (
                tcp,
                Some(&two),
                Some((&rr, vec![to(2), to(3)])),
                vec![Step::Add(tcp, to(3)), Step::Drain(tcp, to(1))],
            ),
            (
                udp,
                Some(&two),
                Some((&rr, vec![to(2), to(3)])),
                vec![Step::Add(udp, to(3)), Step::Delete(udp, to(1))],
            ),
            (tcp, Some(&known(&[(1, 0)])), Some((&rr, vec![to(1)])), vec![Step::Revive(tcp, to(1))]),
            (tcp, Some(&known(&[(1, 0)])), Some((&rr, vec![])), vec![]),
            (tcp, Some(&two), None, vec![Step::Drain(tcp, to(1)), Step::Drain(tcp, to(2))]),
            (udp, Some(&two), None, vec![Step::DeleteServer(udp)]),
            (tcp, Some(&known(&[])), None, vec![Step::DeleteServer(tcp)]),
        ];
        for (index, (key, known, wanted, expected)) in cases.into_iter().enumerate() {
            let wanted = wanted.as_ref().map(|(server, destinations)| (*server, &destinations[..]));
            assert_eq!(steps(&key, known, wanted), expected, "case {index}");
        }
    }

    #[test]
    fn noted_steps_lead_to_what_was_wanted() {
        let (tcp, rr) = (key(6), server("rr"));
        let mut servers = Servers::default();
        for wanted in [&[to(1), to(2)][..], &[to(2), to(3)], &[to(1)]] {
            for step in steps(&tcp, servers.get(&tcp).map(|known| &**known), Some((&rr, wanted))) {
                step.note(&mut servers);
            }
            let live: Vec<_> =
                servers[&tcp].destinations.iter().filter(|(_, weight)| *weight == WEIGHT).collect();
            assert_eq!(live.len(), wanted.len());
            assert!(steps(&tcp, servers.get(&tcp).map(|known| &**known), Some((&rr, wanted))).is_empty());
        }
    }
}
