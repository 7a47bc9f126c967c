//! The data plane: the plans of all services put together.
//!
//! Promise: the same plans give the same plane, in whatever order they come; setting a plan costs what that plan
//! has, not what the plane has. Where two services claim a frontend, the first by name has it and the other gets it
//! when the first lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use component::informers::Key;
use rustc_hash::FxHashMap;

use super::policy::{Frontend, HealthCheck, Kind, Policy, PortName, Problem};
use super::service::ServicePlan;
use super::settings::Settings;

/// What a back end makes true.
#[derive(Clone, Debug, Default)]
pub struct DataPlane {
    /// What becomes of connections, by where they arrive.
    pub frontends: FxHashMap<Frontend, Arc<Policy>>,
    /// Cluster IPs, with the number of frontends on each: other ports of theirs are closed.
    pub cluster_addresses: FxHashMap<IpAddr, usize>,
    /// Addresses of endpoints on this node, with the number of frontends that lead there: a connection of such an
    /// endpoint to itself needs another source address (hairpin).
    pub local_endpoints: FxHashMap<IpAddr, usize>,
    /// By service.
    pub health_checks: BTreeMap<Key, HealthCheck>,
    pub settings: Settings,
    plans: FxHashMap<Key, Plan>,
    /// Frontends that several services claim, and all their claims.
    contested: BTreeMap<Frontend, BTreeMap<Arc<PortName>, Arc<Policy>>>,
}

/// What one service asks for.
type Plan = Box<[(Frontend, Arc<Policy>)]>;

/// What can differ since the last sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything, also what the kernel has: look at all of it.
    pub everything: bool,
    pub frontends: BTreeSet<Frontend>,
    /// Addresses that became or ceased to be cluster IPs.
    pub cluster_addresses: BTreeSet<IpAddr>,
    /// Addresses that became or ceased to be endpoints on this node.
    pub local_endpoints: BTreeSet<IpAddr>,
}

impl Changes {
    /// Look at everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nothing can differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what can differ besides.
    pub fn merge(&mut self, other: Self) {
        self.everything |= other.everything;
        self.frontends.extend(other.frontends);
        self.cluster_addresses.extend(other.cluster_addresses);
        self.local_endpoints.extend(other.local_endpoints);
    }
}

impl DataPlane {
    /// A plane without services.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Gives a service its plan; the empty plan takes it away. Adds to `changes` what can differ now (nothing if the
    /// plan is the one it had), and answers the conflicts that a new plan is part of.
    pub fn set(&mut self, service: &Key, plan: ServicePlan, changes: &mut Changes) -> Vec<Problem> {
        match plan.health_check {
            Some(check) => drop(self.health_checks.insert(service.clone(), check)),
            None => drop(self.health_checks.remove(service)),
        }
        if self.plans.get(service).map(|old| &**old).unwrap_or_default() == plan.frontends {
            return Vec::new();
        }
        let old = self.plans.remove(service).unwrap_or_default();
        let mut conflicts = Vec::new();
        for (frontend, policy) in &old {
            self.release(frontend, policy, changes);
        }
        for (frontend, policy) in &plan.frontends {
            conflicts.extend(self.claim(*frontend, policy, changes));
        }
        if !plan.frontends.is_empty() {
            self.plans.insert(service.clone(), plan.frontends.into_boxed_slice());
        }
        conflicts
    }

    /// The services that have a plan.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.plans.keys()
    }

    fn claim(&mut self, frontend: Frontend, policy: &Arc<Policy>, changes: &mut Changes) -> Option<Problem> {
        let Some(holder) = self.frontends.get(&frontend).cloned() else {
            self.install(frontend, Arc::clone(policy), changes);
            return None;
        };
        let claims = self.contested.entry(frontend).or_default();
        claims.entry(Arc::clone(&holder.name)).or_insert_with(|| Arc::clone(&holder));
        claims.entry(Arc::clone(&policy.name)).or_insert_with(|| Arc::clone(policy));
        let (winner, loser) = if policy.name < holder.name { (policy, &holder) } else { (&holder, policy) };
        if Arc::ptr_eq(winner, policy) {
            self.uninstall(&frontend, changes);
            self.install(frontend, Arc::clone(policy), changes);
        }
        let (winner, loser) = (winner.name.to_string(), loser.name.to_string());
        (winner != loser).then_some(Problem::Conflict { frontend, winner, loser })
    }

    fn release(&mut self, frontend: &Frontend, policy: &Arc<Policy>, changes: &mut Changes) {
        let mut heir = None;
        if let Some(claims) = self.contested.get_mut(frontend) {
            claims.remove(&policy.name);
            heir = claims.values().next().cloned();
            if claims.len() < 2 {
                self.contested.remove(frontend);
            }
        }
        if self.frontends.get(frontend).is_some_and(|holder| holder.name == policy.name) {
            self.uninstall(frontend, changes);
            if let Some(heir) = heir {
                self.install(*frontend, heir, changes);
            }
        }
    }

    fn install(&mut self, frontend: Frontend, policy: Arc<Policy>, changes: &mut Changes) {
        if policy.kind == Kind::ClusterIp {
            count(&mut self.cluster_addresses, frontend.address, 1, &mut changes.cluster_addresses);
        }
        for endpoint in policy.reachable().filter(|endpoint| endpoint.local) {
            count(&mut self.local_endpoints, endpoint.address, 1, &mut changes.local_endpoints);
        }
        changes.frontends.insert(frontend);
        self.frontends.insert(frontend, policy);
    }

    fn uninstall(&mut self, frontend: &Frontend, changes: &mut Changes) {
        let Some(policy) = self.frontends.remove(frontend) else { return };
        if policy.kind == Kind::ClusterIp {
            count(&mut self.cluster_addresses, frontend.address, -1, &mut changes.cluster_addresses);
        }
        for endpoint in policy.reachable().filter(|endpoint| endpoint.local) {
            count(&mut self.local_endpoints, endpoint.address, -1, &mut changes.local_endpoints);
        }
        changes.frontends.insert(*frontend);
    }
}

/// Counts users of an address; its first and last are changes.
fn count(users: &mut FxHashMap<IpAddr, usize>, address: IpAddr, by: isize, changed: &mut BTreeSet<IpAddr>) {
    let before = users.get(&address).copied().unwrap_or(0);
    let after = before.saturating_add_signed(by);
    if after == 0 {
        users.remove(&address);
    } else {
        users.insert(address, after);
    }
    if (before == 0) != (after == 0) {
        changed.insert(address);
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::{Endpoint, Masquerade, Unserved};
    use super::*;
    use crate::addresses::Protocol;

    fn plan(service: &str, frontends: &[(&str, u16)], endpoint: &str) -> (Key, ServicePlan) {
        let key = Key::new("default", service);
        let name = Arc::new(PortName { service: Arc::new(key.clone()), port: String::new() });
        let policy = |kind| {
            Arc::new(Policy {
                name: Arc::clone(&name),
                kind,
                endpoints: [Endpoint { address: endpoint.parse().unwrap(), port: 80, local: true }].into(),
                unserved: Unserved::Reject,
                masquerade: Masquerade::Always,
                from_cluster: None,
                affinity: None,
                sources: None,
            })
        };
        let frontends = frontends.iter().map(|(address, port)| {
            let frontend =
                Frontend { address: address.parse().unwrap(), protocol: Protocol::Tcp, port: *port };
            let kind = if frontend.is_node_port() { Kind::NodePort } else { Kind::ClusterIp };
            (frontend, policy(kind))
        });
        (key, ServicePlan { frontends: frontends.collect(), ..ServicePlan::default() })
    }

    /// What a back end sees, in order.
    fn seen(plane: &DataPlane) -> BTreeMap<String, String> {
        plane.frontends.iter().map(|(at, policy)| (at.to_string(), policy.name.to_string())).collect()
    }

    #[test]
    fn the_first_by_name_has_a_contested_frontend_in_any_order() {
        let plans = [
            plan("b", &[("0.0.0.0", 30000), ("10.96.0.2", 80)], "10.244.0.2"),
            plan("a", &[("0.0.0.0", 30000), ("10.96.0.1", 80)], "10.244.0.1"),
            plan("c", &[("0.0.0.0", 30000)], "10.244.0.3"),
        ];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for order in orders {
            let (mut plane, mut conflicts) = (DataPlane::default(), 0);
            for index in order {
                let (key, plan) = &plans[index];
                conflicts += plane.set(key, plan.clone(), &mut Changes::default()).len();
            }
            assert_eq!(conflicts, 2);
            assert_eq!(seen(&plane)["Tcp 0.0.0.0:30000"], "default/a");
            let mut changes = Changes::default();
            plane.set(&plans[1].0, ServicePlan::default(), &mut changes);
            assert_eq!(seen(&plane)["Tcp 0.0.0.0:30000"], "default/b");
            assert_eq!(changes.cluster_addresses.len(), 1);
            assert!(changes.local_endpoints.contains(&"10.244.0.1".parse().unwrap()));
            plane.set(&plans[0].0, ServicePlan::default(), &mut Changes::default());
            assert_eq!(seen(&plane)["Tcp 0.0.0.0:30000"], "default/c");
            plane.set(&plans[2].0, ServicePlan::default(), &mut Changes::default());
            assert!(
                plane.frontends.is_empty() && plane.contested.is_empty() && plane.local_endpoints.is_empty()
            );
            assert!(plane.cluster_addresses.is_empty() && plane.services().next().is_none());
        }
    }

    #[test]
    fn one_address_serves_several_ports_and_is_counted() {
        let (key, both) = plan("a", &[("10.96.0.1", 80), ("10.96.0.1", 81)], "10.244.0.1");
        let (_, one) = plan("a", &[("10.96.0.1", 81)], "10.244.0.1");
        let mut plane = DataPlane::default();
        plane.set(&key, both, &mut Changes::default());
        assert_eq!(plane.cluster_addresses.values().copied().collect::<Vec<_>>(), [2]);
        let mut changes = Changes::default();
        plane.set(&key, one, &mut changes);
        assert_eq!(plane.cluster_addresses.values().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(plane.local_endpoints.values().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(changes.frontends.len(), 2);
    }
}
