//! The smallest change that would make a pod fit: a search over changes of the pod, of nodes and of what runs there.
//!
//! Every change that is named was tried: the plugins themselves were asked about the changed pod in the changed
//! cluster. Single changes go first; where one is not enough, those that one node needs together. Sorted by how much
//! of a change they are, as people would see it; the numbers behind that order mean nothing else.

mod change;
mod local;
mod pod_side;
mod text;

use super::look::Case;
use super::report::Fix;
use crate::cycle::{Checks, fitting};
use crate::metrics::Watch;
use crate::pod::NodeName;
use crate::preempt::{Attempt, Room};
use change::{Change, Draft};
use objects::views::Node;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes that are shown.
const SHOWN: usize = 5;
/// Sets of changes for single nodes that are tried: the cheapest of each kind.
const TRIED: usize = 12;
/// Kinds of nodes of which one more is tried.
const NEW_NODES: usize = 4;

/// What would make the pod fit some node; nothing when it fits one already.
pub(super) fn fixes(case: &Case<'_>) -> Vec<Fix> {
    Search::new(case, None).run()
}

/// What would make the pod fit the node of that name.
pub(super) fn fixes_on(case: &Case<'_>, name: &str) -> Vec<Fix> {
    match case.cluster.position(name) {
        Some(at) => Search::new(case, Some(case.cluster.nodes()[at].name.clone())).run(),
        None => Vec::new(),
    }
}

struct Search<'a> {
    case: &'a Case<'a>,
    /// The only node that counts, if one was asked for.
    only: Option<NodeName>,
    found: Vec<Fix>,
}

impl<'a> Search<'a> {
    fn new(case: &'a Case<'a>, only: Option<NodeName>) -> Self {
        Self { case, only, found: Vec::new() }
    }

    fn run(mut self) -> Vec<Fix> {
        let mut base = Draft::of(self.case);
        let mut first = Vec::new();
        if self.case.profile.gate(self.case.pod, Watch::OFF).is_some() {
            let gates = self.case.pod.scheduling_gates().map(str::to_owned).collect();
            let change = Change::RemoveGates(gates);
            base.apply(&change);
            if self.case.profile.gate(&base.pod(), Watch::OFF).is_some() {
                return Vec::new(); // Waits for something else: the gate's own text says for what.
            }
            first.push(change);
        }
        if let Some((node, nodes)) = self.fits(&base) {
            if !first.is_empty() {
                self.found.push(fix(&first, &node, nodes));
            }
            return self.found;
        }
        for change in pod_side::changes(&base) {
            self.attempt(&base, &first, &[change]);
        }
        for plan in local::plans(self.case, &base, self.only.as_ref()).into_iter().take(TRIED) {
            self.attempt(&base, &first, &plan);
        }
        self.evictions(&base, &first);
        if self.only.is_none() {
            self.new_nodes(&base, &first);
        }
        self.found.sort_by(|a, b| (a.cost, &a.text).cmp(&(b.cost, &b.text)));
        self.found.dedup_by(|a, b| a.text == b.text);
        self.found.truncate(SHOWN);
        self.found
    }

    /// Tries changes together; keeps them if the pod fits then.
    fn attempt(&mut self, base: &Draft<'_>, first: &[Change], changes: &[Change]) {
        let mut draft = base.clone();
        changes.iter().for_each(|change| draft.apply(change));
        if let Some((node, nodes)) = self.fits(&draft) {
            let all: Vec<Change> = first.iter().chain(changes).cloned().collect();
            self.found.push(fix(&all, &node, nodes));
        }
    }

    /// A node that the pod of the draft fits, and how many there are.
    fn fits(&self, draft: &Draft<'_>) -> Option<(NodeName, usize)> {
        let (pod, cluster) = (draft.pod(), draft.cluster());
        let checks = Checks::prepare(&pod, self.case.profile, cluster).ok()?;
        match &self.only {
            Some(only) => {
                let node = cluster.node(only)?;
                let fits =
                    !checks.leaves_out(node) && checks.ask_with_nominated(&pod, node, cluster).is_none();
                fits.then(|| (only.clone(), 1))
            }
            None => {
                let feasible = fitting(&pod, &checks, cluster).ok()?;
                let first = feasible.iter().map(|node| &node.name).min()?;
                Some((first.clone(), feasible.len()))
            }
        }
    }

    /// Pods that would have to go, whatever their priority: found by preemption itself, for a pod above all others.
    fn evictions(&mut self, base: &Draft<'_>, first: &[Change]) {
        let mut draft = base.clone();
        draft.view.spec.priority = Some(i32::MAX);
        draft.view.spec.preemption_policy = None;
        let (pod, cluster) = (draft.pod(), base.cluster());
        let refused = Checks::prepare(&pod, self.case.profile, cluster)
            .and_then(|checks| fitting(&pod, &checks, cluster).map(|_| ()));
        let Err(mut failure) = refused else { return };
        if let Some(only) = &self.only {
            failure.rejections.retain(|node| cluster.nodes()[node].name == *only);
        }
        let attempt = Attempt {
            pod: &pod,
            profile: self.case.profile,
            cluster,
            failure: &failure,
            budgets: self.case.budgets,
            now: self.case.now,
        };
        if let Room::Made { node, victims } = crate::preempt::find(&attempt, None) {
            let priority = self.case.pod.priority;
            self.attempt(base, first, &[Change::Evict { node, victims, priority }]);
        }
    }

    /// One more of each kind of node, the commonest first.
    fn new_nodes(&mut self, base: &Draft<'_>, first: &[Change]) {
        let mut kinds: BTreeMap<String, (usize, Arc<Node>)> = BTreeMap::new();
        for node in base.cluster().nodes() {
            let taints: Vec<&str> = node.taints().iter().map(|taint| &*taint.key).collect();
            let kind = format!("{:?} {taints:?} {:?}", node.allocatable, labels_of_a_kind(&node.node));
            kinds.entry(kind).or_insert_with(|| (0, node.node.clone())).0 += 1;
        }
        let mut kinds: Vec<(usize, Arc<Node>)> = kinds.into_values().collect();
        kinds.sort_by_key(|(nodes, node)| (std::cmp::Reverse(*nodes), node.name().to_owned()));
        for (_, node) in kinds.into_iter().take(NEW_NODES) {
            let before = self.found.len();
            self.attempt(base, first, &[Change::AddLike(node)]);
            if self.found.len() > before {
                return;
            }
        }
    }
}

/// Labels that nodes of one kind share; not their names.
fn labels_of_a_kind(node: &Node) -> Vec<(&String, &String)> {
    let labels = node.metadata.labels.iter().flatten();
    labels.filter(|(key, _)| !key.ends_with("/hostname")).collect()
}

fn fix(changes: &[Change], node: &NodeName, nodes: usize) -> Fix {
    let together = u32::try_from(changes.len()).unwrap_or(u32::MAX).saturating_sub(1) * change::COST_OF_MORE;
    Fix {
        text: text::sentence(changes),
        node: node.to_string(),
        nodes,
        cost: changes.iter().map(Change::cost).sum::<u32>() + together,
    }
}

/// A copy of a node as it would join: empty, uncordoned, under another name.
pub(crate) fn like(node: &Node, name: &str) -> Node {
    let mut copy = node.clone();
    copy.metadata.name = Some(name.to_owned());
    copy.metadata.uid = Some(name.to_owned());
    copy.spec.unschedulable = false;
    if let Some(host) =
        copy.metadata.labels.as_mut().and_then(|labels| labels.get_mut("kubernetes.io/hostname"))
    {
        name.clone_into(host);
    }
    copy.spec.taints.retain(|taint| !taint.key.starts_with("node.kubernetes.io/"));
    copy.status.images.clear();
    copy
}

#[cfg(test)]
mod tests;
