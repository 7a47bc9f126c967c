//! Changes of the pod alone, each to be tried on all nodes.

use super::change::{Change, Draft};
use k8s_openapi::api::core::v1::PodAffinityTerm;
use objects::affinity;

/// How much greater a `maxSkew` is tried.
const SKEWS: i32 = 8;

/// Every single thing that the pod asks for and could do without. What depends on a node is left to `local`.
pub(super) fn changes(base: &Draft<'_>) -> Vec<Change> {
    let spec = &base.view.spec;
    let mut changes = Vec::new();
    for (key, value) in &spec.node_selector {
        changes.push(Change::DropSelector { key: key.clone(), value: value.clone() });
    }
    if affinity::required(spec.affinity.as_deref()).is_some() {
        changes.push(Change::DropNodeAffinity);
    }
    let all = spec.affinity.as_deref();
    let near = all.and_then(|all| all.pod_affinity.as_ref());
    let near = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_deref());
    let away = all.and_then(|all| all.pod_anti_affinity.as_ref());
    let away = away.and_then(|away| away.required_during_scheduling_ignored_during_execution.as_deref());
    let key = |term: &PodAffinityTerm| term.topology_key.clone();
    for (at, term) in near.unwrap_or_default().iter().enumerate() {
        changes.push(Change::DropNear { at, topology_key: key(term) });
    }
    for (at, term) in away.unwrap_or_default().iter().enumerate() {
        changes.push(Change::DropAway { at, topology_key: key(term) });
    }
    for (at, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        if constraint.when_unsatisfiable == "DoNotSchedule" {
            let topology_key = constraint.topology_key.clone();
            changes.push(Change::WishToSpread { at, topology_key: topology_key.clone() });
            let before = constraint.max_skew;
            changes.extend((1..=SKEWS).map(|more| {
                let after = before.saturating_add(more);
                Change::Skew { at, topology_key: topology_key.clone(), before, after }
            }));
        }
    }
    for volume in &spec.volumes {
        if let Some(claim) = &volume.claim {
            changes.push(Change::DropVolume { name: volume.name.clone(), claim: claim.clone() });
        }
    }
    let containers = spec.containers.iter().chain(&spec.init_containers);
    let mut ports: Vec<i32> =
        containers.flat_map(|container| &container.ports).map(|port| port.host_port).collect();
    ports.retain(|port| *port > 0);
    ports.sort_unstable();
    ports.dedup();
    changes.extend(ports.into_iter().map(Change::DropPort));
    changes
}
