//! From the endpoints a Service should have and the slices it has, to the fewest writes.
//!
//! Upstream's algorithm: slices are trimmed first, changed slices are filled up, then one unchanged slice, and
//! only then new ones are made. It saves writes, not slices: each write goes to every node. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// Endpoints that share their ports, of one address family. What a slice can hold.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// `IPv4` or `IPv6`.
    pub(super) family: &'static str,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// A slice to create.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    pub(super) family: String,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// A slice to change: all it is to hold.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) slice: Arc<EndpointSlice>,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Draft>,
    pub(super) update: Vec<Change>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Compares what should be with what is. `families` are those of the Service; `current(slice)` tells whether a
/// slice's labels are as they should be; `reusable(slice)` whether it belongs to this very Service. A slice gets
/// at most `limit` endpoints.
pub(super) fn diff(
    families: &[&'static str],
    groups: &[Group],
    slices: &[Arc<EndpointSlice>],
    limit: usize,
    current: impl Fn(&EndpointSlice) -> bool,
    reusable: impl Fn(&EndpointSlice) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let mut existing: BTreeMap<(String, Vec<PortKey>), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        if !families.contains(&slice.address_type.as_str()) {
            plan.delete.push(slice.clone());
            continue;
        }
        let key = (slice.address_type.clone(), port_map(slice.ports.as_deref().unwrap_or_default()));
        existing.entry(key).or_default().push(slice.clone());
    }
    for family in families {
        let mut of_family = Plan::default();
        let have: usize =
            existing.iter().filter(|((has, _), _)| has == family).map(|(_, slices)| slices.len()).sum();
        for group in groups.iter().filter(|group| group.family == *family) {
            let key = ((*family).to_owned(), port_map(&group.ports));
            let slices = existing.remove(&key).unwrap_or_default();
            fit(group, &slices, limit, &current, &mut of_family);
        }
        let rest: Vec<_> = existing.keys().filter(|(has, _)| has == family).cloned().collect();
        of_family.delete.extend(rest.iter().filter_map(|key| existing.remove(key)).flatten());
        if of_family.delete.len() == have && of_family.create.is_empty() {
            keep_placeholder(family, &current, &mut of_family);
        }
        plan.create.append(&mut of_family.create);
        plan.update.append(&mut of_family.update);
        plan.delete.append(&mut of_family.delete);
    }
    reuse(&mut plan, reusable);
    plan
}

/// Fits the endpoints of one group into its slices.
fn fit(
    group: &Group,
    slices: &[Arc<EndpointSlice>],
    limit: usize,
    current: &impl Fn(&EndpointSlice) -> bool,
    plan: &mut Plan,
) {
    let mut missing: BTreeMap<EndpointKey, &Endpoint> =
        group.endpoints.iter().map(|endpoint| (key(endpoint), endpoint)).collect();
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for slice in slices {
        let before = slice.endpoints.as_deref().unwrap_or_default();
        let kept: Vec<Endpoint> =
            before.iter().filter_map(|endpoint| missing.remove(&key(endpoint)).cloned()).collect();
        let same = kept.len() == before.len() && kept.iter().zip(before).all(|(a, b)| equal(a, b));
        let slice = Change { slice: slice.clone(), ports: group.ports.clone(), endpoints: kept };
        if same && current(&slice.slice) {
            unchanged.push(slice);
        } else if slice.endpoints.is_empty() && !before.is_empty() {
            plan.delete.push(slice.slice);
        } else {
            changed.push(slice);
        }
    }
    let mut missing: Vec<Endpoint> = missing.into_values().cloned().collect();
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        fill(&mut slice.endpoints, &mut missing, limit);
    }
    if !missing.is_empty() && missing.len() < limit {
        let fits = |slice: &Change| slice.endpoints.len() + missing.len() <= limit;
        let fullest = (0..unchanged.len())
            .filter(|at| fits(&unchanged[*at]))
            .max_by_key(|at| unchanged[*at].endpoints.len());
        if let Some(at) = fullest {
            let mut slice = unchanged.swap_remove(at);
            fill(&mut slice.endpoints, &mut missing, limit);
            changed.push(slice);
        }
    }
    while !missing.is_empty() {
        let mut endpoints = Vec::new();
        fill(&mut endpoints, &mut missing, limit);
        plan.create.push(Draft { family: group.family.to_owned(), ports: group.ports.clone(), endpoints });
    }
    plan.update.append(&mut changed);
}

fn fill(endpoints: &mut Vec<Endpoint>, missing: &mut Vec<Endpoint>, limit: usize) {
    let room = limit.saturating_sub(endpoints.len()).min(missing.len());
    endpoints.extend(missing.drain(..room));
}

/// A Service without endpoints keeps one empty slice a family, so that consumers know it was looked at.
fn keep_placeholder(family: &str, current: &impl Fn(&EndpointSlice) -> bool, plan: &mut Plan) {
    let empty = |slice: &EndpointSlice| {
        slice.endpoints.as_ref().is_none_or(Vec::is_empty) && slice.ports.as_ref().is_none_or(Vec::is_empty)
    };
    if let [only] = plan.delete.as_slice()
        && empty(only)
        && current(only)
    {
        plan.delete.clear();
        return;
    }
    plan.create.push(Draft { family: family.to_owned(), ports: Vec::new(), endpoints: Vec::new() });
}

/// Turns a create and a delete into one update where the family allows it.
fn reuse(plan: &mut Plan, reusable: impl Fn(&EndpointSlice) -> bool) {
    let mut create = Vec::new();
    for draft in plan.create.drain(..) {
        let fits = |slice: &Arc<EndpointSlice>| slice.address_type == draft.family && reusable(slice);
        match plan.delete.iter().position(fits) {
            Some(at) => {
                let slice = plan.delete.remove(at);
                plan.update.push(Change { slice, ports: draft.ports, endpoints: draft.endpoints });
            }
            None => create.push(draft),
        }
    }
    plan.create = create;
}

/// What makes two endpoints the same one. Everything else about it may change in place.
type EndpointKey = (BTreeSet<String>, Option<String>, Option<String>, Option<String>);

fn key(endpoint: &Endpoint) -> EndpointKey {
    let target = endpoint.target_ref.as_ref();
    (
        endpoint.addresses.iter().cloned().collect(),
        endpoint.hostname.clone(),
        target.and_then(|target| target.namespace.clone()),
        target.and_then(|target| target.name.clone()),
    )
}

/// A change of the pod's resource version alone is no change.
fn equal(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |endpoint: &Endpoint| {
        endpoint.target_ref.clone().map(|target| ObjectReference { resource_version: None, ..target })
    };
    a.conditions == b.conditions
        && a.node_name == b.node_name
        && a.zone == b.zone
        && a.hints == b.hints
        && target(a) == target(b)
}

type PortKey = (Option<String>, Option<i32>, Option<String>, Option<String>);

/// The ports of a slice, in an order that does not depend on how they were listed.
fn port_map(ports: &[EndpointPort]) -> Vec<PortKey> {
    let key = |port: &EndpointPort| {
        (port.name.clone(), port.port, port.protocol.clone(), port.app_protocol.clone())
    };
    let mut ports: Vec<PortKey> = ports.iter().map(key).collect();
    ports.sort();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    fn port(number: i32) -> Vec<EndpointPort> {
        vec![EndpointPort { port: Some(number), ..EndpointPort::default() }]
    }

    fn endpoint(address: u32, ready: bool) -> Endpoint {
        Endpoint {
            addresses: vec![format!("10.0.{}.{}", address / 256, address % 256)],
            conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }
    }

    fn group(number: i32, addresses: impl IntoIterator<Item = u32>) -> Group {
        let endpoints = addresses.into_iter().map(|address| endpoint(address, true)).collect();
        Group { family: "IPv4", ports: port(number), endpoints }
    }

    fn slice(name: &str, number: i32, addresses: impl IntoIterator<Item = u32>) -> Arc<EndpointSlice> {
        let mut slice = EndpointSlice {
            address_type: "IPv4".into(),
            ports: Some(port(number)),
            ..EndpointSlice::default()
        };
        slice.metadata.name = Some(name.into());
        slice.endpoints = Some(addresses.into_iter().map(|address| endpoint(address, true)).collect());
        Arc::new(slice)
    }

    fn placeholder(name: &str) -> Arc<EndpointSlice> {
        Arc::new(EndpointSlice { ports: None, endpoints: None, ..EndpointSlice::clone(&slice(name, 0, [])) })
    }

    /// Creates by size, updates by name and size, deletes by name.
    fn shown(plan: &Plan) -> (Vec<usize>, Vec<(String, usize)>, Vec<String>) {
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap();
        let mut updates: Vec<_> =
            plan.update.iter().map(|change| (name(&change.slice), change.endpoints.len())).collect();
        updates.sort();
        (
            plan.create.iter().map(|draft| draft.endpoints.len()).collect(),
            updates,
            plan.delete.iter().map(|slice| name(slice)).collect(),
        )
    }

    fn run(groups: Vec<Group>, slices: &[Arc<EndpointSlice>]) -> Plan {
        diff(&["IPv4"], &groups, slices, 100, |_| true, |_| true)
    }

    #[test]
    fn plans() {
        let none: (Vec<usize>, Vec<(String, usize)>, Vec<String>) = Default::default();
        let creates = |sizes: &[usize]| (sizes.to_vec(), vec![], vec![]);
        let updates = |list: &[(&str, usize)]| {
            (vec![], list.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect::<Vec<_>>(), vec![])
        };
        for (what, groups, slices, expected) in [
            ("first", vec![group(80, 0..250)], vec![], creates(&[100, 100, 50])),
            ("nothing to do", vec![group(80, 0..3)], vec![slice("a", 80, 0..3)], none.clone()),
            (
                "one more goes to the slice that has room",
                vec![group(80, 0..4)],
                vec![slice("a", 80, 0..3)],
                updates(&[("a", 4)]),
            ),
            ("one less", vec![group(80, 1..3)], vec![slice("a", 80, 0..3)], updates(&[("a", 2)])),
            (
                "a changed slice is filled before an unchanged one",
                vec![group(80, 1..155)],
                vec![slice("a", 80, 0..90), slice("b", 80, 90..150)],
                updates(&[("a", 94)]),
            ),
            (
                "the fullest unchanged slice that can take all",
                vec![group(80, 0..155)],
                vec![slice("a", 80, 0..99), slice("b", 80, 99..150), slice("c", 80, [])],
                updates(&[("b", 56)]),
            ),
            (
                "the last endpoint goes: the slice becomes the placeholder",
                vec![],
                vec![slice("a", 80, 0..1)],
                updates(&[("a", 0)]),
            ),
            ("no endpoints at all", vec![], vec![], creates(&[0])),
            ("placeholder stays", vec![], vec![placeholder("a")], none.clone()),
            ("placeholder is used", vec![group(80, 0..2)], vec![placeholder("a")], updates(&[("a", 2)])),
            (
                "another port map takes over the slice",
                vec![group(81, 0..2)],
                vec![slice("a", 80, 0..2)],
                updates(&[("a", 2)]),
            ),
            (
                "an emptied slice goes, the other stays",
                vec![group(80, 0..2)],
                vec![slice("a", 80, 0..2), slice("b", 80, 2..3)],
                (vec![], vec![], vec!["b".to_owned()]),
            ),
        ] {
            assert_eq!(shown(&run(groups, &slices)), expected, "{what}");
        }
    }

    #[test]
    fn readiness_changes_in_place_and_order_does_not_matter() {
        let mut changed = group(80, 0..3);
        changed.endpoints[1] = endpoint(1, false);
        changed.endpoints.reverse();
        let plan = run(vec![changed], &[slice("a", 80, 0..3)]);
        assert_eq!(plan.update[0].endpoints[1], endpoint(1, false));
        assert_eq!(plan.update[0].endpoints[0], endpoint(0, true));
    }

    #[test]
    fn stale_labels_are_renewed_and_foreign_slices_not_reused() {
        let plan = diff(&["IPv4"], &[group(80, 0..3)], &[slice("a", 80, 0..3)], 100, |_| false, |_| true);
        assert_eq!(shown(&plan), (vec![], vec![("a".to_owned(), 3)], vec![]));
        let plan = diff(&["IPv4"], &[group(81, 0..3)], &[slice("a", 80, 0..3)], 100, |_| true, |_| false);
        assert_eq!(shown(&plan), (vec![3], vec![], vec!["a".to_owned()]));
    }

    #[test]
    fn a_family_the_service_lost_goes() {
        let plan = diff(&["IPv6"], &[], &[slice("a", 80, 0..3)], 100, |_| true, |_| true);
        assert_eq!(shown(&plan), (vec![0], vec![], vec!["a".to_owned()]));
    }
}
