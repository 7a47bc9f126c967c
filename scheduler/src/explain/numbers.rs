//! A refusal with its numbers and names: how much is free, which taint, which pod is in the way.
//!
//! Only tells more of what a plugin said; whether the pod fits is always the plugin's word.

use super::amounts;
use super::look::Case;
use crate::cache::{HostPorts, NodeInfo};
use crate::plugins::{Skew, skews};
use crate::pod::PodInfo;
use crate::terms::Term;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, Taint};
use objects::{affinity, taints};

/// Names in a list before it is cut off.
const NAMES: usize = 3;

/// The numbers behind what `plugin` says about `node`.
pub(super) fn numbers(plugin: &str, case: &Case<'_>, node: &NodeInfo) -> Option<String> {
    match plugin {
        "NodeResourcesFit" => resources(case.pod, node),
        "TaintToleration" => untolerated(case.pod, node),
        "NodeUnschedulable" => Some("the node is cordoned".to_owned()),
        "NodeName" => Some(format!("spec.nodeName is {}", case.pod.node()?)),
        "NodeAffinity" => labels(case.pod, node),
        "NodePorts" => ports(case.pod, node),
        "PodTopologySpread" => spread(case, node),
        "InterPodAffinity" => neighbours(case, node),
        _ => None,
    }
}

/// `dedicated=gpu:NoSchedule`.
pub(super) fn taint_text(taint: &Taint) -> String {
    let value = taint.value.as_deref().filter(|value| !value.is_empty());
    format!("{}{}:{}", taint.key, value.map(|value| format!("={value}")).unwrap_or_default(), taint.effect)
}

/// The hard taints of a node that the pod does not tolerate.
pub(super) fn untolerated_taints<'n>(pod: &PodInfo, node: &'n NodeInfo) -> Vec<&'n Taint> {
    let hard = |taint: &&Taint| [taints::NO_SCHEDULE, taints::NO_EXECUTE].contains(&taint.effect.as_str());
    node.taints().iter().filter(hard).filter(|taint| !taints::tolerated(pod.tolerations(), taint)).collect()
}

fn resources(pod: &PodInfo, node: &NodeInfo) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    for resource in amounts::named(&pod.requests) {
        let of = |resources| resource.of(resources);
        let (asked, room, used) = (of(&pod.requests), of(&node.allocatable), of(&node.requested));
        let [asked, free, used, room] =
            [asked, room - used, used, room].map(|value| amounts::text(&resource, value));
        let name = amounts::name(&resource);
        told.push(format!("asks {asked} {name}, {free} free ({used} of {room} requested)"));
    }
    if node.requested.pods + 1 > node.allocatable.pods {
        told.push(format!("{} pods of at most {}", node.requested.pods, node.allocatable.pods));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn untolerated(pod: &PodInfo, node: &NodeInfo) -> Option<String> {
    let taints: Vec<String> = untolerated_taints(pod, node).into_iter().map(taint_text).collect();
    (!taints.is_empty()).then(|| format!("not tolerated: {}", taints.join(", ")))
}

fn labels(pod: &PodInfo, node: &NodeInfo) -> Option<String> {
    let has = |key: &str| match node.labels().get(key) {
        Some(value) => format!("the node has {key}={value}"),
        None => format!("the node has no label {key}"),
    };
    let mut told: Vec<String> = Vec::new();
    for (key, value) in &pod.spec().node_selector {
        if node.labels().get(key) != Some(value) {
            told.push(format!("nodeSelector {key}={value}: {}", has(key)));
        }
    }
    if let Some(required) = affinity::required(pod.spec().affinity.as_deref()) {
        let terms = &required.node_selector_terms;
        if !terms.iter().any(|term| affinity::term_matches(term, &node.node.metadata)) {
            let terms: Vec<String> = terms.iter().map(term_text).collect();
            told.push(format!("required node affinity: none of [{}] matches", terms.join("] [")));
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// `zone In (a, b), disk Exists`.
fn term_text(term: &NodeSelectorTerm) -> String {
    let requirements = term.match_expressions.iter().chain(&term.match_fields).flatten();
    let texts = requirements.map(|requirement| {
        let values = requirement.values.as_deref().unwrap_or_default();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("{} {}{values}", requirement.key, requirement.operator)
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn ports(pod: &PodInfo, node: &NodeInfo) -> Option<String> {
    let takes = |other: &PodInfo| {
        let mut taken = HostPorts::default();
        taken.add(&other.ports);
        taken.conflict(&pod.ports)
    };
    let holders: Vec<String> =
        node.pods.iter().filter(|other| takes(other)).map(ToString::to_string).collect();
    (!holders.is_empty()).then(|| format!("taken by {}", listed(&holders)))
}

fn spread(case: &Case<'_>, node: &NodeInfo) -> Option<String> {
    let text = |skew: Skew| match skew.there {
        None => format!("the node has no label {}", skew.key),
        Some((domain, there)) => format!(
            "{}={domain} has {there} such pods and would have {} more than the least ({}), maxSkew is {}",
            skew.key,
            there + i64::from(skew.counts_itself) - skew.least,
            skew.least,
            skew.max_skew
        ),
    };
    let told: Vec<String> =
        skews(case.pod, case.cluster, node).into_iter().filter(|skew| !skew.holds()).map(text).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn neighbours(case: &Case<'_>, node: &NodeInfo) -> Option<String> {
    let (pod, namespaces) = (case.pod, case.cluster.namespaces());
    let mut told = Vec::new();
    let near = |term: &Term, matches: &dyn Fn(&PodInfo) -> bool| -> Vec<String> {
        let Some(place) = node.labels().get(&term.topology_key) else { return Vec::new() };
        let there = case.cluster.nodes().iter();
        let there = there.filter(|other| other.labels().get(&term.topology_key) == Some(place));
        let pods = there.flat_map(|other| &other.pods).filter(|other| matches(other));
        pods.map(ToString::to_string).collect()
    };
    for term in pod.terms().into_iter().flat_map(|terms| &terms.affinity) {
        if near(term, &|other| term.matches(other, namespaces)).is_empty() {
            told.push(format!("no pod that it wants to be near to in this {}", term.topology_key));
        }
    }
    for term in pod.terms().into_iter().flat_map(|terms| &terms.anti_affinity) {
        let there = near(term, &|other| term.matches(other, namespaces));
        if !there.is_empty() {
            told.push(format!("keeps away from {} in this {}", listed(&there), term.topology_key));
        }
    }
    let mut unwelcome = Vec::new();
    for other in case.cluster.nodes().iter() {
        for there in &other.pods_with_terms {
            let terms = there.terms().into_iter().flat_map(|terms| &terms.anti_affinity);
            let mut same_place = terms.filter(|term| {
                let place = node.labels().get(&term.topology_key);
                place.is_some()
                    && other.labels().get(&term.topology_key) == place
                    && term.matches(pod, namespaces)
            });
            if same_place.next().is_some() {
                unwelcome.push(there.to_string());
            }
        }
    }
    if !unwelcome.is_empty() {
        told.push(format!("kept away by {}", listed(&unwelcome)));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The first names of a list, and how many more.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names if names.len() <= NAMES => names.join(", "),
        names => format!("{} and {} more", names[..NAMES].join(", "), names.len() - NAMES),
    }
}
