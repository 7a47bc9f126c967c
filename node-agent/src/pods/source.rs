//! Which pods belong to this node, from the API.
//!
//! Promise: one real node watches its own pods only (field selector `spec.nodeName`); a process with many simulated
//! nodes has one watch for all of them and hands each pod to its node. A pod that was replaced by another of the same
//! name while the watch was away is seen as gone.

use std::collections::HashMap;

use component::informers::{Change, Informer, Informers, Selection};

use super::Pods;
use super::record::AssignedPod;

/// Where pods come from.
pub(crate) type Source = Informer<AssignedPod>;

/// The watch for these nodes.
pub(crate) fn source(informers: &Informers, nodes: &[String]) -> Source {
    match nodes {
        [one] => {
            let fields = Some(format!("spec.nodeName={one}"));
            informers.selected(Selection { fields, ..Default::default() })
        }
        _ => informers.of(),
    }
}

/// Hands the changes of the source to the nodes. Runs until it is dropped.
pub(crate) async fn follow(source: Source, nodes: HashMap<String, Pods>) {
    source.synced().await;
    let mut changes = source.changes();
    loop {
        let change = changes.next().await;
        if let Some(old) = change.old()
            && change.new().is_none_or(|new| new.uid() != old.uid())
            && let Some(pods) = old.node_name().and_then(|name| nodes.get(&name))
        {
            pods.unwanted(old.uid());
        }
        if let Change::Added(pod) | Change::Updated { new: pod, .. } = change
            && let Some(pods) = pod.node_name().and_then(|name| nodes.get(&name))
        {
            pods.wanted(pod);
        }
    }
}
