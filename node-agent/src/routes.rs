//! Routes to the pods of other nodes, for nodes that share a network and have no network plug-in that does it.
//!
//! Promise: each pod range that another Node was given (`spec.podCIDRs`) leads over that Node's address, as long as
//! there is such a Node; a range that two Nodes have is the older one's. Reads Nodes; writes routes of its own routing
//! protocol number and no others, so that a restarted agent finds them again, and what `masquerade` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component::informers::Informers;
use component::tasks::Tasks;
use objects::views::Node;
use tracing::{info, warn};

use crate::addresses::{Cidr, Family};
use crate::config::PodNetwork;
use crate::masquerade::{self, Ranges};
use crate::netlink::gateway::{GatewayRoute, add_gateway_route, delete_gateway_route, gateway_routes};
use crate::netlink::{Batch, Error, Failure, Protocol, Socket};

/// How often the kernel is looked at although no Node changed: a link that went down took its routes with it.
const RESYNC: Duration = Duration::from_secs(30);

/// Keeps the routes of node `own`, and what leaves its pods' network masqueraded, until the tasks are told to stop.
pub(crate) async fn keep(own: String, informers: Informers, network: PodNetwork, tasks: Tasks) {
    let nodes = informers.of::<Node>();
    let mut changes = nodes.changes();
    tokio::select! {
        () = nodes.synced() => {}
        () = tasks.stopping() => return,
    }
    let masquerade = network.masquerade && masquerade::is_possible();
    let (mut told, mut masqueraded) = (BTreeSet::new(), None);
    loop {
        let plan = plan(&own, &nodes.all());
        let mut problems: BTreeSet<String> = plan.problems.into_iter().collect();
        match apply(&plan.routes.keys().copied().collect()) {
            Ok(refused) => problems.extend(refused.into_iter().map(|(route, failure)| {
                let node = plan.routes.get(&route).map(String::as_str).unwrap_or_default();
                format!("{node}: {} cannot be its gateway: {failure}", route.gateway)
            })),
            Err(error) => {
                warn!(error = component::telemetry::chain(&error), "cannot route to the pods of other nodes")
            }
        }
        if masquerade && masqueraded.as_ref() != Some(&plan.ranges) {
            match masquerade::apply(&plan.ranges) {
                Ok(()) => masqueraded = Some(plan.ranges),
                Err(error) => warn!(error = component::telemetry::chain(&error), "cannot masquerade pods"),
            }
        }
        for problem in problems.difference(&told) {
            warn!(problem, "pods of a node are not reached");
        }
        told = problems;
        tokio::select! {
            () = tasks.stopping() => break,
            () = tokio::time::sleep(RESYNC) => {}
            _ = changes.next() => while changes.try_next().is_some() {},
        }
    }
    if network.cleanup_at_end {
        if let Err(error) = apply(&BTreeSet::new()) {
            warn!(error = component::telemetry::chain(&error), "cannot take routes away");
        }
        if masquerade && let Err(error) = masquerade::remove() {
            warn!(error = component::telemetry::chain(&error), "cannot take rules away");
        }
    }
}

/// What there should be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Routes, with the names of their Nodes.
    routes: BTreeMap<GatewayRoute, String>,
    ranges: Ranges,
    problems: Vec<String>,
}

fn plan(own: &str, nodes: &[Arc<Node>]) -> Plan {
    let mut nodes: Vec<&Node> = nodes.iter().map(|node| &**node).collect();
    // Of the same second, the names decide; the own ranges come before all others.
    nodes.sort_by_key(|node| {
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (node.name() != own, created, node.name().to_owned())
    });
    let (mut plan, mut taken) = (Plan::default(), Vec::<(Cidr, &str)>::new());
    for node in nodes {
        for text in &node.spec.pod_cidrs {
            let range = match text.parse::<Cidr>() {
                Ok(range) => range,
                Err(error) => {
                    plan.problems.push(format!("{}: {error}", node.name()));
                    continue;
                }
            };
            if let Some((_, other)) = taken.iter().find(|(taken, _)| overlap(taken, &range)) {
                plan.problems.push(format!("{}: {other} has its pod range {range} already", node.name()));
                continue;
            }
            taken.push((range, node.name()));
            plan.ranges.all.push(range);
            if node.name() == own {
                plan.ranges.own.push(range);
                continue;
            }
            match address(node, range.family()) {
                Some(gateway) => {
                    let route = GatewayRoute { network: range.network(), prefix: range.prefix(), gateway };
                    plan.routes.insert(route, node.name().to_owned());
                }
                None => plan.problems.push(format!("{}: it has no address to reach {range} by", node.name())),
            }
        }
    }
    plan
}

fn overlap(one: &Cidr, other: &Cidr) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

/// The address by which other machines of its network reach a node.
fn address(node: &Node, family: Family) -> Option<IpAddr> {
    let internal = node.status.addresses.iter().filter(|address| address.type_ == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok()).find(|it| Family::of(it) == family)
}

/// Makes the difference; answers the routes that the kernel refuses.
fn apply(wanted: &BTreeSet<GatewayRoute>) -> Result<Vec<(GatewayRoute, Failure)>, Error> {
    let mut socket = Socket::open(Protocol::Route)?;
    let has: BTreeSet<GatewayRoute> = gateway_routes(&mut socket)?.into_iter().collect();
    let network = |route: &GatewayRoute| (route.network, route.prefix);
    let replaced: BTreeSet<_> = wanted.iter().map(network).collect();
    let added: Vec<GatewayRoute> = wanted.difference(&has).copied().collect();
    // A route to a network that is still wanted is replaced in one step.
    let removed = has.difference(wanted).filter(|route| !replaced.contains(&network(route)));
    let mut batch = Batch::new();
    added.iter().for_each(|route| add_gateway_route(&mut batch, route));
    let mut gone = 0;
    for route in removed {
        delete_gateway_route(&mut batch, route);
        gone += 1;
    }
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let failures = socket.execute(&mut batch)?;
    let refused: Vec<_> = failures.into_iter().filter_map(|it| Some((*added.get(it.index)?, it))).collect();
    if added.len() > refused.len() || gone > 0 {
        info!(added = added.len() - refused.len(), removed = gone, "routes to the pods of other nodes");
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, created: &str, ranges: &[&str], addresses: &[&str]) -> Arc<Node> {
        let addresses: Vec<_> =
            addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
        let node = json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{created}Z")},
            "spec": {"podCIDRs": ranges}, "status": {"addresses": addresses},
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let routes = plan.routes.iter();
        routes
            .map(|(route, node)| format!("{}/{} via {} {node}", route.network, route.prefix, route.gateway))
            .collect()
    }

    #[test]
    fn each_other_node_is_the_gateway_of_its_ranges() {
        let nodes = [
            node("a", "01", &["10.244.0.0/24", "fd00:244::/64"], &["172.30.9.11", "fd00:9::11"]),
            node("b", "02", &["10.244.1.0/24", "fd00:245::/64"], &["172.30.9.12", "fd00:9::12"]),
            node("c", "03", &[], &["172.30.9.13"]),
        ];
        let of_a = plan("a", &nodes);
        assert_eq!(shown(&of_a), ["10.244.1.0/24 via 172.30.9.12 b", "fd00:245::/64 via fd00:9::12 b"]);
        assert_eq!(plan("c", &nodes).routes.len(), 4);
        assert!(of_a.problems.is_empty());
        assert_eq!(format!("{:?}", of_a.ranges.own), "[10.244.0.0/24, fd00:244::/64]");
        assert_eq!(of_a.ranges.all.len(), 4);
    }

    #[test]
    fn a_range_is_the_older_nodes_and_the_own_one_first() {
        let nodes = [
            node("young", "09", &["10.244.1.0/24"], &["172.30.9.12"]),
            node("old", "01", &["10.244.0.0/16"], &["172.30.9.11"]),
            node("mute", "02", &["10.245.0.0/24"], &["fd00:9::1"]),
            node("wrong", "03", &["10.246.0.0/240"], &["172.30.9.14"]),
        ];
        let of_other = plan("other", &nodes);
        assert_eq!(shown(&of_other), ["10.244.0.0/16 via 172.30.9.11 old"]);
        assert_eq!(
            of_other.problems,
            [
                "mute: it has no address to reach 10.245.0.0/24 by",
                "wrong: \"10.246.0.0/240\" is no address range such as 10.0.0.0/8 or fd00::/64",
                "young: old has its pod range 10.244.1.0/24 already",
            ]
        );
        assert_eq!(shown(&plan("young", &nodes)), [""; 0]);
    }
}
