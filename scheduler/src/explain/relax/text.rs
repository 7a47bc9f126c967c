//! Changes in plain words, each beginning with a verb.

use super::change::{Change, reserved};
use crate::explain::amounts;
use crate::explain::numbers::{listed, taint_text};
use crate::pod::PodInfo;
use objects::resources::Resources;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All of them as one sentence without a full stop.
pub(super) fn sentence(changes: &[Change]) -> String {
    changes.iter().map(text).collect::<Vec<_>>().join(", and ")
}

fn text(change: &Change) -> String {
    match change {
        Change::RemoveGates(gates) => format!("remove the scheduling gates {}", gates.join(", ")),
        Change::Request { before, after } => less(before, after),
        Change::Tolerate { taint, node } if reserved(&taint.key) => {
            let taint = taint_text(taint);
            format!("wait until node {node} no longer has the taint {taint}, or tolerate it")
        }
        Change::Tolerate { taint, node } => {
            format!("tolerate the taint {0}, or remove it from node {node}", taint_text(taint))
        }
        Change::DropSelector { key, value } => format!("remove {key}={value} from nodeSelector"),
        Change::DropNodeAffinity => "remove the required node affinity, or make it preferred".to_owned(),
        Change::DropNear { at, topology_key } => {
            format!("remove required pod affinity term {} (by {topology_key}), or make it preferred", at + 1)
        }
        Change::DropAway { at, topology_key } => {
            format!(
                "remove required pod anti-affinity term {} (by {topology_key}), or make it preferred",
                at + 1
            )
        }
        Change::Skew { topology_key, before, after, .. } => {
            format!("raise maxSkew by {topology_key} from {before} to {after}")
        }
        Change::WishToSpread { topology_key, .. } => {
            format!("let the spread constraint by {topology_key} say whenUnsatisfiable: ScheduleAnyway")
        }
        Change::DropPort(port) => format!("do without hostPort {port}"),
        Change::DropVolume { name, claim } => format!("do without the volume {name} (claim {claim})"),
        Change::Uncordon(node) => format!("uncordon node {node}"),
        Change::Label { node, labels, before } => label(node, labels, before),
        Change::Evict { node, victims, priority } => evict(node, victims, *priority),
        Change::AddLike(node) => format!("add a node like {}", node.name()),
    }
}

fn less(before: &Resources, after: &Resources) -> String {
    let lowered =
        amounts::named(before).into_iter().filter(|of| of.of(after) < of.of(before)).map(|resource| {
            let [most, asked] = [after, before].map(|of| amounts::text(&resource, resource.of(of)));
            format!("{most} {} (asks {asked})", amounts::name(&resource))
        });
    format!("request at most {}", lowered.collect::<Vec<_>>().join(" and "))
}

fn label(node: &str, labels: &BTreeMap<String, String>, before: &BTreeMap<String, String>) -> String {
    let pair = |(key, value): (&String, &String)| match before.get(key) {
        Some(before) => format!("{key}={value} (it has {before})"),
        None => format!("{key}={value}"),
    };
    format!("label node {node} {}", labels.iter().map(pair).collect::<Vec<_>>().join(" "))
}

fn evict(node: &str, victims: &[Arc<PodInfo>], priority: i32) -> String {
    let mut freed = Resources::default();
    victims.iter().for_each(|victim| freed += &victim.requests);
    let freed: Vec<String> = amounts::named(&freed)
        .iter()
        .map(|resource| {
            format!("{} {}", amounts::text(resource, resource.of(&freed)), amounts::name(resource))
        })
        .collect();
    let freed =
        if freed.is_empty() { String::new() } else { format!(", which frees {}", freed.join(" and ")) };
    let names: Vec<String> = victims.iter().map(ToString::to_string).collect();
    let (names, pods) = (listed(&names), if names.len() == 1 { "pod" } else { "pods" });
    let highest = victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
    let instead = match highest.checked_add(1) {
        Some(above) if highest >= priority => {
            format!(", or give the pod priority {above} so that it may evict")
        }
        _ => String::new(),
    };
    format!("delete {pods} {names} from node {node}{freed}{instead}")
}
