//! Indexes of informers that several controllers share.

use std::sync::Arc;

use component::informers::{Informer, Object};
use objects::owner;
use objects::views::Pod;

const ORPHANS: &str = "orphans";
const NODE: &str = "node";

/// Keeps the index that [`orphans`] reads.
pub(crate) fn index_orphans<K: Object>(informer: &Informer<K>) {
    informer.add_index(ORPHANS, |object| {
        let meta = object.meta();
        let orphan = owner::controller_of(meta).is_none();
        orphan.then(|| meta.namespace.clone().unwrap_or_default()).into_iter().collect()
    });
}

/// The objects of a namespace that have no controller: those a workload may adopt.
pub(crate) fn orphans<K: Object>(informer: &Informer<K>, namespace: &str) -> Vec<Arc<K>> {
    informer.by_index(ORPHANS, namespace)
}

/// Keeps the index that [`on_node`] reads.
pub(crate) fn index_nodes(pods: &Informer<Pod>) {
    pods.add_index(NODE, |pod| pod.node_name().map(str::to_owned).into_iter().collect());
}

/// The pods bound to a node.
pub(crate) fn on_node(pods: &Informer<Pod>, node: &str) -> Vec<Arc<Pod>> {
    pods.by_index(NODE, node)
}
