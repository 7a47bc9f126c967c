//! What one frontend needs of IPVS: virtual servers with their real servers, elements of sets, a reachable address.
//!
//! Promise: pure. A frontend needs the same whatever the other frontends are, but for a node port whose address a
//! service claims by name: that service has it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::netlink::ipvs::{DestinationKey, FLAG_PERSISTENT, FLAG_SCHEDULER_2, Server, ServerKey};
use crate::proxy::model::{
    Cidr, DataPlane, Endpoint, Endpoints, Frontend, Masquerade, Policy, Protocol, Unserved,
};

use super::sets::{Element, Set};

/// Marks of ours have their number in these bits; the bits below are left to others and to masquerading.
pub(super) const MARK_SHIFT: u32 = 16;

/// What the back end knows besides the plane.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// The scheduler of all virtual servers.
    pub(super) scheduler: Arc<str>,
    /// Addresses on which node ports answer.
    pub(super) node_ports: Vec<IpAddr>,
    /// All addresses of this machine: reachable already, and never closed.
    pub(super) own: std::collections::BTreeSet<IpAddr>,
}

/// What a frontend needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Virtual servers and where their connections may go.
    pub(super) servers: Vec<(ServerKey, Server, Endpoints)>,
    /// Elements, each in its set.
    pub(super) elements: Vec<(Set, Element)>,
    /// An address that this machine has to take packets for.
    pub(super) address: Option<IpAddr>,
}

/// What `frontend` needs. `number` is its own number above 0, used if its policy differs for connections from
/// within the cluster.
pub(super) fn wanted(
    frontend: &Frontend,
    policy: &Policy,
    plane: &DataPlane,
    context: &Context,
    number: u32,
) -> Wanted {
    let mut wanted = Wanted::default();
    let server = server(policy, context);
    let protocol = frontend.protocol.number();
    let inside = policy.from_cluster.as_ref();
    if let Some(endpoints) = inside {
        // Connections of pods keep their source, connections of the node itself do not; the mark tells both.
        for mark in marks(number, plane.settings.masquerade_mark) {
            let key = ServerKey::Mark { v6: frontend.address.is_ipv6(), mark };
            wanted.servers.push((key, server.clone(), Endpoints::clone(endpoints)));
        }
    }
    for address in addresses(frontend, plane, context) {
        let key = ServerKey::Address { protocol, address, port: frontend.port };
        let port = Element::Port(address, protocol, frontend.port);
        if policy.endpoints.is_empty() {
            // No virtual server: IPVS would refuse by ICMP, which a TCP client on this machine does not hear at once.
            let refusal = if policy.unserved == Unserved::Drop { Set::Dropped } else { Set::Rejected };
            wanted.elements.push((refusal, port));
        } else {
            wanted.servers.push((key, server.clone(), Endpoints::clone(&policy.endpoints)));
        }
        wanted.elements.push((Set::Claimed, port));
        match policy.masquerade {
            Masquerade::Never => {}
            Masquerade::UnlessFromPod => wanted.elements.push((Set::MasqueradedFromOutside, port)),
            Masquerade::Always => wanted.elements.push((Set::Masqueraded, port)),
        }
        if inside.is_some() {
            let mark = number << MARK_SHIFT;
            wanted
                .elements
                .push((Set::FromCluster, Element::PortMark(address, protocol, frontend.port, mark)));
        }
        for range in policy.sources.iter().flat_map(|sources| sources.iter()) {
            let halves =
                halves(range).map(|range| Element::PortFrom(address, protocol, frontend.port, range));
            wanted.elements.extend(halves.map(|element| (Set::Admitted, element)));
        }
        if policy.sources.is_some() {
            wanted.elements.push((Set::Restricted, port));
        }
        if !frontend.is_node_port() && !context.own.contains(&address) {
            wanted.elements.push((Set::Addresses, Element::Address(address)));
            wanted.address = Some(address);
        }
    }
    wanted
}

/// The marks of a frontend's connections from pods and from the node itself.
pub(super) fn marks(number: u32, masquerade_mark: u32) -> [u32; 2] {
    [number << MARK_SHIFT, number << MARK_SHIFT | masquerade_mark]
}

/// The addresses on which a frontend answers.
fn addresses(frontend: &Frontend, plane: &DataPlane, context: &Context) -> Vec<IpAddr> {
    if !frontend.is_node_port() {
        return vec![frontend.address];
    }
    let of_family = |address: &&IpAddr| address.is_ipv6() == frontend.address.is_ipv6();
    let is_free =
        |address: &IpAddr| !plane.frontends.contains_key(&Frontend { address: *address, ..*frontend });
    context.node_ports.iter().filter(of_family).copied().filter(is_free).collect()
}

fn server(policy: &Policy, context: &Context) -> Server {
    // As upstream: the hash of mh takes the client's port too.
    let mut flags = if &*context.scheduler == "mh" { FLAG_SCHEDULER_2 } else { 0 };
    let mut timeout = 0;
    if let Some(affinity) = policy.affinity {
        flags |= FLAG_PERSISTENT;
        timeout = u32::try_from(affinity.as_secs()).unwrap_or(u32::MAX).max(1);
    }
    Server { scheduler: Arc::clone(&context.scheduler), flags, timeout }
}

/// The range, or its halves if it is everything: ipset knows no prefix of length 0.
fn halves(range: &Cidr) -> impl Iterator<Item = Cidr> + use<> {
    let whole = *range;
    let split = whole.prefix() == 0;
    let first = if split { Cidr::new(whole.network(), 1) } else { whole };
    let second = split.then(|| Cidr::new(whole.last(), 1));
    std::iter::once(first).chain(second)
}

/// The frontend that wants a virtual server by address, if there is one.
pub(super) fn claimant(key: &ServerKey, plane: &DataPlane, context: &Context) -> Option<Frontend> {
    let ServerKey::Address { address, .. } = key else { return None };
    let serves = |frontend| plane.frontends.get(frontend).map(|policy| !policy.endpoints.is_empty());
    let named = frontend_named(key)?;
    if let Some(serves) = serves(&named) {
        return serves.then_some(named);
    }
    let node_port = node_port_of(&named);
    (context.node_ports.contains(address) && serves(&node_port) == Some(true)).then_some(node_port)
}

/// The node port of the same protocol, port and family.
pub(super) fn node_port_of(frontend: &Frontend) -> Frontend {
    Frontend::node_port(frontend.family(), frontend.protocol, frontend.port)
}

/// The frontend of exactly a virtual server's address.
pub(super) fn frontend_named(key: &ServerKey) -> Option<Frontend> {
    let ServerKey::Address { protocol, address, port } = *key else { return None };
    let protocol =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|it| it.number() == protocol)?;
    Some(Frontend { address, protocol, port })
}

/// Whether an endpoint's connections are given time to end when the endpoint goes: UDP has none that end.
pub(super) fn drains(key: &ServerKey) -> bool {
    match key {
        ServerKey::Address { protocol, .. } => *protocol != Protocol::Udp.number(),
        // See `numbers`: the numbers of UDP frontends are odd.
        ServerKey::Mark { mark, .. } => (mark >> MARK_SHIFT).is_multiple_of(2),
    }
}

/// The weight of an endpoint that takes connections, as upstream.
pub(super) const WEIGHT: u32 = 1;

/// The real server that an endpoint is.
pub(super) fn destination(endpoint: &Endpoint) -> DestinationKey {
    DestinationKey { address: endpoint.address, port: endpoint.port }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use component::informers::Key;

    use super::*;
    use crate::proxy::model::{Family, Kind, PortName};

    fn policy(masquerade: Masquerade) -> Policy {
        let endpoint =
            |address: &str, local| Endpoint { address: address.parse().unwrap(), port: 8080, local };
        let service = Arc::new(Key::new("default", "a"));
        Policy {
            name: Arc::new(PortName { service, port: String::new() }),
            kind: Kind::ClusterIp,
            endpoints: [endpoint("10.244.0.11", true), endpoint("10.244.1.12", false)].into(),
            unserved: Unserved::Reject,
            masquerade,
            from_cluster: None,
            affinity: None,
            sources: None,
        }
    }

    fn context() -> Context {
        let node: IpAddr = "192.168.50.1".parse().unwrap();
        let own = [node, "127.0.0.1".parse().unwrap()].into();
        Context { scheduler: "rr".into(), node_ports: vec![node, "fd00:50::1".parse().unwrap()], own }
    }

    fn at(address: &str) -> Frontend {
        Frontend { address: address.parse().unwrap(), protocol: Protocol::Tcp, port: 80 }
    }

    #[test]
    fn a_cluster_ip_is_one_server_and_closed_beside_its_port() {
        let plane = DataPlane::default();
        let got = wanted(&at("10.96.0.1"), &policy(Masquerade::UnlessFromPod), &plane, &context(), 1);
        let address: IpAddr = "10.96.0.1".parse().unwrap();
        let port = Element::Port(address, 6, 80);
        assert_eq!(got.address, Some(address));
        assert_eq!(
            got.elements,
            [
                (Set::Claimed, port),
                (Set::MasqueradedFromOutside, port),
                (Set::Addresses, Element::Address(address))
            ]
        );
        assert_eq!(got.servers.len(), 1);
        assert_eq!(got.servers[0].0, ServerKey::Address { protocol: 6, address, port: 80 });
        assert_eq!(got.servers[0].2.len(), 2);
    }

    #[test]
    fn a_node_port_answers_on_the_nodes_addresses_that_nobody_claims() {
        let mut plane = DataPlane::default();
        let frontend = Frontend::node_port(Family::V4, Protocol::Tcp, 30080);
        let got = wanted(&frontend, &policy(Masquerade::Always), &plane, &context(), 1);
        assert_eq!(got.servers.len(), 1);
        assert_eq!((got.address, got.elements.len()), (None, 2));
        let claimed = Frontend { address: "192.168.50.1".parse().unwrap(), ..frontend };
        plane.frontends.insert(claimed, Arc::new(policy(Masquerade::Always)));
        assert_eq!(wanted(&frontend, &policy(Masquerade::Always), &plane, &context(), 1), Wanted::default());
        // An external IP that is the node's own address is neither made reachable nor closed (k/k#127410).
        let got = wanted(&claimed, &policy(Masquerade::Always), &plane, &context(), 1);
        assert!(got.address.is_none() && got.elements.iter().all(|(set, _)| *set != Set::Addresses));
    }

    #[test]
    fn a_local_policy_has_servers_of_its_own_for_the_cluster() {
        let mut policy = policy(Masquerade::Never);
        policy.from_cluster = Some(std::mem::replace(&mut policy.endpoints, Arc::new([])));
        policy.unserved = Unserved::Drop;
        policy.affinity = Some(Duration::from_secs(60));
        policy.sources = Some([Cidr::all(Family::V4)].into());
        let got = wanted(&at("10.1.1.1"), &policy, &DataPlane::default(), &context(), 3);
        let keys: Vec<_> = got.servers.iter().map(|(key, _, endpoints)| (*key, endpoints.len())).collect();
        assert_eq!(keys[0], (ServerKey::Mark { v6: false, mark: 0x30000 }, 2));
        assert_eq!(keys[1], (ServerKey::Mark { v6: false, mark: 0x34000 }, 2));
        assert_eq!(keys.len(), 2);
        assert!(
            got.servers.iter().all(|(_, server, _)| server.flags == FLAG_PERSISTENT && server.timeout == 60)
        );
        let count = |set| got.elements.iter().filter(|(of, _)| *of == set).count();
        assert_eq!(
            [count(Set::Dropped), count(Set::FromCluster), count(Set::Restricted), count(Set::Admitted)],
            [1, 1, 1, 2]
        );
    }
}
