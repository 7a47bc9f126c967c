//! UDP flows that lead nowhere: the kernel goes on sending a client's packets where its first one went.
//!
//! Promise: which flows are stale is a pure function of the flows and the report of a sync; only those are deleted.

use rustc_hash::{FxHashMap, FxHashSet};

use super::backend::Stale;
use super::model::{Family, Frontend, Protocol};
use crate::netlink::conntrack::{self, Flow};
use crate::netlink::{Error, Socket};

/// Deletes the flows that a report calls stale. Answers how many.
pub(super) fn delete(socket: &mut Socket, stale: &[Stale]) -> Result<usize, Error> {
    let mut deleted = 0;
    for family in Family::BOTH {
        let ours: Vec<Stale> =
            stale.iter().filter(|stale| stale.frontend.family() == family).cloned().collect();
        if ours.is_empty() {
            continue;
        }
        let flows = conntrack::flows(socket, family == Family::V6, Protocol::Udp.number())?;
        let chosen = choose(&flows, &ours);
        deleted += conntrack::delete(socket, &chosen)?;
    }
    Ok(deleted)
}

/// Deletes the UDP flows that IPVS leads, so that the next packet of each goes where the rules say. Answers how many.
pub(super) fn delete_led_by_ipvs(socket: &mut Socket) -> Result<usize, Error> {
    let mut deleted = 0;
    for family in Family::BOTH {
        let mut flows = conntrack::flows(socket, family == Family::V6, Protocol::Udp.number())?;
        flows.retain(Flow::is_led_by_ipvs);
        deleted += conntrack::delete(socket, &flows)?;
    }
    Ok(deleted)
}

/// The flows of one family that are stale.
fn choose(flows: &[Flow], stale: &[Stale]) -> Vec<Flow> {
    let mut by_frontend: FxHashMap<Frontend, FxHashSet<Option<(std::net::IpAddr, u16)>>> =
        FxHashMap::default();
    for stale in stale {
        by_frontend.entry(stale.frontend).or_default().insert(stale.endpoint);
    }
    let is_stale = |flow: &&Flow| {
        let (to, port) = (flow.original.destination, flow.original.destination_port);
        let answers = (flow.reply.source, flow.reply.source_port);
        // An answer from where the question went: nothing was translated.
        let led = Some(answers).filter(|answers| *answers != (to, port));
        let frontends = [
            Frontend { address: to, protocol: Protocol::Udp, port },
            Frontend::node_port(Family::of(&to), Protocol::Udp, port),
        ];
        frontends.iter().any(|frontend| by_frontend.get(frontend).is_some_and(|ends| ends.contains(&led)))
    };
    flows.iter().filter(is_stale).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::conntrack::Tuple;

    fn flow(id: u32, to: &str, answers: &str) -> Flow {
        let (to, answers): (std::net::SocketAddr, std::net::SocketAddr) =
            (to.parse().unwrap(), answers.parse().unwrap());
        let client: std::net::SocketAddr = "10.244.0.9:5000".parse().unwrap();
        let tuple = |from: std::net::SocketAddr, to: std::net::SocketAddr| Tuple {
            source: from.ip(),
            destination: to.ip(),
            protocol: 17,
            source_port: from.port(),
            destination_port: to.port(),
        };
        Flow { original: tuple(client, to), reply: tuple(answers, client), id, zone: 0, status: 0 }
    }

    #[test]
    fn flows_to_endpoints_that_went_and_flows_from_before_the_first() {
        let flows = [
            flow(1, "10.96.0.10:53", "10.244.0.1:5353"),
            flow(2, "10.96.0.10:53", "10.244.0.2:5353"),
            flow(3, "10.96.0.10:53", "10.96.0.10:53"),
            flow(4, "10.96.0.11:53", "10.96.0.11:53"),
            flow(5, "192.168.0.1:30053", "10.244.0.1:5353"),
            flow(6, "192.168.0.1:30054", "10.244.0.1:5353"),
        ];
        let frontend = |text: &str| {
            let at: std::net::SocketAddr = text.parse().unwrap();
            Frontend { address: at.ip(), protocol: Protocol::Udp, port: at.port() }
        };
        let gone = Some(("10.244.0.1".parse().unwrap(), 5353));
        let table = [
            (frontend("10.96.0.10:53"), gone, vec![1]),
            (frontend("10.96.0.10:53"), None, vec![3]),
            (frontend("0.0.0.0:30053"), gone, vec![5]),
            (frontend("10.96.0.12:53"), gone, vec![]),
        ];
        for (frontend, endpoint, ids) in table {
            let chosen = choose(&flows, &[Stale { frontend, endpoint }]);
            assert_eq!(chosen.iter().map(|flow| flow.id).collect::<Vec<_>>(), ids, "{frontend} {endpoint:?}");
        }
    }
}
