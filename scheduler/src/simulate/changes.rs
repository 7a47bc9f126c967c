//! What happens to the nodes: drained, lost, added. Pure: changes a cluster that was read, and says what that means
//! for the pods on it.

use super::drive::again;
use super::report::Lost;
use crate::explain::like;
use crate::pod::PodInfo;
use crate::preempt::Budget;
use crate::world::World;
use objects::owner::controller_of;
use objects::views::Pod;
use std::sync::Arc;

/// What is to happen to the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChanges {
    /// Cordoned, and their pods evicted as `kubectl drain --ignore-daemonsets --force` does.
    pub drain: Vec<String>,
    /// Gone at once, with everything on them.
    pub lose: Vec<String>,
    /// (new name, the node that it is like).
    pub add: Vec<(String, String)>,
}

/// Why nodes cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No node has this name.
    #[error("there is no node {name}: check {flag}")]
    NoNode {
        /// The name.
        name: String,
        /// The flag that gave it.
        flag: &'static str,
    },
    /// A node has this name already.
    #[error("there is a node {0} already: check --add")]
    Taken(String),
}

/// What the changes mean for pods.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// Made again, with the node they were on.
    pub(super) displaced: Vec<(Arc<Pod>, String)>,
    pub(super) lost: Vec<Lost>,
    pub(super) held: Vec<Lost>,
    /// The new nodes.
    pub(super) added: Vec<String>,
}

/// Makes the changes.
pub(super) fn apply(world: &mut World, changes: &NodeChanges) -> Result<Aftermath, ChangeError> {
    let mut after = Aftermath::default();
    for (name, template) in &changes.add {
        if position(world, name).is_some() {
            return Err(ChangeError::Taken(name.clone()));
        }
        let at = known(world, template, "--add")?;
        let node = like(&world.nodes[at], name);
        world.nodes.push(Arc::new(node));
        after.added.push(name.clone());
    }
    for name in &changes.drain {
        let at = known(world, name, "--drain")?;
        Arc::make_mut(&mut world.nodes[at]).spec.unschedulable = true;
        drain(world, name, &mut after);
    }
    for name in &changes.lose {
        let at = known(world, name, "--lose")?;
        world.nodes.remove(at);
        lose(world, name, &mut after);
    }
    Ok(after)
}

fn position(world: &World, name: &str) -> Option<usize> {
    world.nodes.iter().position(|node| node.name() == name)
}

fn known(world: &World, name: &str, flag: &'static str) -> Result<usize, ChangeError> {
    position(world, name).ok_or_else(|| ChangeError::NoNode { name: name.to_owned(), flag })
}

fn drain(world: &mut World, node: &str, after: &mut Aftermath) {
    let mut stays = Vec::new();
    for pod in std::mem::take(&mut world.pods) {
        if pod.node_name() != Some(node) || PodInfo::has_ended(&pod) {
            stays.push(pod);
            continue;
        }
        let owner = controller_of(&pod.metadata).map(|owner| owner.kind.as_str());
        if matches!(owner, Some("DaemonSet" | "Node")) {
            stays.push(pod); // As kubectl drain leaves them.
            continue;
        }
        if let Some(budget) = forbidding(world.budgets(), &pod) {
            let why =
                format!("a disruption budget of namespace {} allows no disruption now", budget.namespace);
            after.held.push(listed(&pod, node, &why));
            stays.push(pod);
            continue;
        }
        leave(&pod, node, "nobody makes it again: it has no controller", after);
    }
    world.pods = stays;
}

fn lose(world: &mut World, node: &str, after: &mut Aftermath) {
    let (gone, stays): (Vec<_>, Vec<_>) =
        std::mem::take(&mut world.pods).into_iter().partition(|pod| pod.node_name() == Some(node));
    world.pods = stays;
    for pod in gone.iter().filter(|pod| !PodInfo::has_ended(pod)) {
        let owner = controller_of(&pod.metadata).map(|owner| owner.kind.as_str());
        match owner {
            Some("DaemonSet" | "Node") => {
                after.lost.push(listed(pod, node, "it belongs to that node"));
            }
            _ => leave(pod, node, "nobody makes it again: it has no controller", after),
        }
    }
}

/// A pod goes from its node; its owner makes it again, if it has one.
fn leave(pod: &Pod, node: &str, nobody: &str, after: &mut Aftermath) {
    if pod.metadata.deletion_timestamp.is_some() {
        return; // On its way out anyway, and replaced already.
    }
    match again(pod) {
        Some(again) => after.displaced.push((again, node.to_owned())),
        None => after.lost.push(listed(pod, node, nobody)),
    }
}

fn listed(pod: &Pod, node: &str, why: &str) -> Lost {
    Lost { pod: format!("{}/{}", pod.namespace(), pod.name()), node: node.to_owned(), why: why.to_owned() }
}

/// A budget that would refuse the eviction for as long as nothing changes.
fn forbidding<'b>(budgets: &'b [Budget], pod: &Pod) -> Option<&'b Budget> {
    budgets.iter().find(|budget| {
        budget.allowed <= 0 && budget.namespace == pod.namespace() && budget.selector.selects(&pod.metadata)
    })
}
