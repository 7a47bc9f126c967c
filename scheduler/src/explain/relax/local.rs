//! What one node would need: for each plugin that refuses it, the change that this plugin asks for.

use super::change::{Change, Draft, kept, reserved};
use crate::cache::NodeInfo;
use crate::cycle::Checks;
use crate::explain::amounts;
use crate::explain::look::Case;
use crate::explain::numbers::untolerated_taints;
use crate::pod::{NodeName, PodInfo};
use k8s_openapi::api::core::v1::NodeSelectorTerm;
use objects::affinity;
use std::collections::BTreeMap;

/// The least that is worth asking for, as a share of what the pod asks for now.
const WORTH: f64 = 0.02;

/// Sets of changes, each enough for some node as far as can be told; the cheapest of each kind, the cheapest first.
pub(super) fn plans(case: &Case<'_>, base: &Draft<'_>, only: Option<&NodeName>) -> Vec<Vec<Change>> {
    let pod = base.pod();
    let Ok(checks) = Checks::prepare(&pod, case.profile, base.cluster()) else { return Vec::new() };
    let mut best: BTreeMap<Vec<String>, (u32, Vec<Change>)> = BTreeMap::new();
    for node in base.cluster().nodes() {
        if checks.leaves_out(node) || only.is_some_and(|only| *only != node.name) {
            continue;
        }
        let refusals = checks.ask_each(node).into_iter().filter(|(_, verdict)| !verdict.fits());
        let changes: Option<Vec<Vec<Change>>> =
            refusals.map(|(plugin, _)| needed(plugin, &pod, node)).collect();
        let Some(changes) = changes.map(|changes| changes.concat()).filter(|changes| !changes.is_empty())
        else {
            continue;
        };
        let cost = changes.iter().map(Change::cost).sum();
        let kind = changes.iter().map(kind).collect();
        let known = best.entry(kind).or_insert_with(|| (cost, changes.clone()));
        if cost < known.0 {
            *known = (cost, changes);
        }
    }
    let mut plans: Vec<(u32, Vec<Change>)> = best.into_values().collect();
    plans.sort_by_key(|(cost, changes)| (changes.len(), *cost));
    plans.into_iter().map(|(_, changes)| changes).collect()
}

/// What `plugin` would need to let the pod onto the node; `None` when nothing is known that helps.
fn needed(plugin: &str, pod: &PodInfo, node: &NodeInfo) -> Option<Vec<Change>> {
    match plugin {
        "NodeUnschedulable" => Some(vec![Change::Uncordon(node.name.clone())]),
        "TaintToleration" => {
            let taints = untolerated_taints(pod, node).into_iter();
            Some(
                taints
                    .map(|taint| Change::Tolerate { taint: taint.clone(), node: node.name.clone() })
                    .collect(),
            )
        }
        "NodeResourcesFit" => less(pod, node).map(|change| vec![change]),
        "NodeAffinity" => labels(pod, node).map(|change| vec![change]),
        _ => None,
    }
}

/// Changes of one kind differ in the node only.
fn kind(change: &Change) -> String {
    match change {
        Change::Tolerate { taint, .. } => format!("tolerate {}", crate::explain::numbers::taint_text(taint)),
        Change::Label { labels, .. } => format!("label {labels:?}"),
        Change::Uncordon(_) => "uncordon".to_owned(),
        // The one that keeps the most of the request is the cheapest.
        Change::Request { .. } => "request".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Requests lowered to what is free.
fn less(pod: &PodInfo, node: &NodeInfo) -> Option<Change> {
    if node.requested.pods + 1 > node.allocatable.pods {
        return None;
    }
    let mut after = pod.requests.clone();
    for resource in amounts::named(&pod.requests) {
        let free = resource.of(&node.allocatable) - resource.of(&node.requested);
        let asked = resource.of(&pod.requests);
        if asked > free {
            let less = amounts::round_down(&resource, free);
            match resource {
                crate::cache::Resource::Cpu => after.milli_cpu = less,
                crate::cache::Resource::Memory => after.memory = less,
                crate::cache::Resource::Ephemeral => after.ephemeral = less,
                crate::cache::Resource::Scalar(name) => {
                    after.scalars.insert(name, less);
                }
            }
        }
    }
    (kept(&pod.requests, &after) >= WORTH).then(|| Change::Request { before: pod.requests.clone(), after })
}

/// Labels with which the node would be one that the pod asks for.
fn labels(pod: &PodInfo, node: &NodeInfo) -> Option<Change> {
    let mut labels: BTreeMap<String, String> = pod.spec().node_selector.clone();
    labels.retain(|key, value| node.labels().get(key) != Some(value));
    if let Some(required) = affinity::required(pod.spec().affinity.as_deref()) {
        let terms = &required.node_selector_terms;
        if !terms.iter().any(|term| affinity::term_matches(term, &node.node.metadata)) {
            let wanted = terms.iter().filter_map(|term| of_term(term, node));
            labels.extend(wanted.min_by_key(BTreeMap::len)?);
        }
    }
    let own_name = |key: &String| key.ends_with("kubernetes.io/hostname");
    if labels.is_empty() || labels.keys().any(own_name) {
        return None; // A node does not get another node's name.
    }
    let before = labels.keys().filter_map(|key| Some((key.clone(), node.labels().get(key)?.clone())));
    let before: BTreeMap<String, String> = before.collect();
    let moves_house = before.keys().any(|key| reserved(key));
    (!moves_house).then(|| Change::Label { node: node.name.clone(), labels, before })
}

/// Labels with which the node matches a term; `None` when labels alone cannot do it.
fn of_term(term: &NodeSelectorTerm, node: &NodeInfo) -> Option<BTreeMap<String, String>> {
    if term.match_fields.iter().flatten().next().is_some() {
        return None;
    }
    let mut labels = BTreeMap::new();
    for requirement in term.match_expressions.iter().flatten() {
        let alone =
            NodeSelectorTerm { match_expressions: Some(vec![requirement.clone()]), match_fields: None };
        if affinity::term_matches(&alone, &node.node.metadata) {
            continue;
        }
        let value = match requirement.operator.as_str() {
            "In" => requirement.values.as_ref()?.first()?.clone(),
            "Exists" => String::new(),
            _ => return None,
        };
        labels.insert(requirement.key.clone(), value);
    }
    Some(labels)
}
