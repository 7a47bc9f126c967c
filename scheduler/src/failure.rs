//! Why a pod fits nowhere, kept a node, and told in upstream's words: the text of `FailedScheduling` and of the
//! PodScheduled condition.

mod rejections;

pub use rejections::Rejections;

use crate::framework::{Reason, Verdict};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A cycle without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many nodes there are.
    pub nodes: usize,
    /// What each node that was asked said, in the order they were asked.
    pub rejections: Box<Rejections>,
    cause: Cause,
    /// What the attempt to make room said.
    pub room: Option<String>,
}

/// The refusal of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place in the snapshot.
    pub node: usize,
    /// The first plugin that refused it.
    pub plugin: &'static str,
    /// What it said.
    pub verdict: Verdict,
}

/// How many nodes a plugin refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The plugin.
    pub plugin: &'static str,
    /// What it said.
    pub reason: Reason,
    /// Of how many nodes.
    pub nodes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// The cluster is empty.
    NoNodes,
    /// A plugin refused the pod before nodes were looked at.
    Refused { plugins: Vec<&'static str>, verdict: Verdict },
    /// Nodes were asked; those that these plugins ruled out by name were not.
    NoFit { ruled_out_by: Vec<&'static str> },
}

impl Failure {
    /// There is no node at all.
    pub fn no_nodes() -> Self {
        Self { nodes: 0, rejections: Box::default(), cause: Cause::NoNodes, room: None }
    }

    /// `plugin` refused the pod whatever the nodes are like.
    pub fn refused(nodes: usize, plugin: &'static str, verdict: Verdict) -> Self {
        Self::before_nodes(nodes, vec![plugin], verdict)
    }

    /// Plugins restrict the pod to named nodes, and no node is in all their lists.
    pub fn no_common_node(nodes: usize, plugins: &[&'static str]) -> Self {
        let text = match plugins {
            [one] => format!("node(s) didn't satisfy plugin {one}"),
            several => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", several.join(" ")),
        };
        Self::before_nodes(nodes, plugins.to_vec(), Verdict::Never(text.into()))
    }

    /// Every node that was asked refused; the others were ruled out by name by `ruled_out_by`.
    pub fn no_fit(nodes: usize, rejections: Vec<Rejection>, ruled_out_by: Vec<&'static str>) -> Self {
        let rejections = Box::new(rejections.into_iter().collect());
        Self { nodes, rejections, cause: Cause::NoFit { ruled_out_by }, room: None }
    }

    /// Every node was asked and refused.
    pub fn nothing_fits(rejections: Rejections) -> Self {
        let cause = Cause::NoFit { ruled_out_by: Vec::new() };
        Self { nodes: rejections.len(), rejections: Box::new(rejections), cause, room: None }
    }

    fn before_nodes(nodes: usize, plugins: Vec<&'static str>, verdict: Verdict) -> Self {
        Self { nodes, rejections: Box::default(), cause: Cause::Refused { plugins, verdict }, room: None }
    }

    /// The plugins whose change of mind could help, each once, by name.
    pub fn rejectors(&self) -> Vec<&'static str> {
        let mut plugins: Vec<&'static str> = match &self.cause {
            Cause::NoNodes => Vec::new(),
            Cause::Refused { plugins, .. } => plugins.clone(),
            Cause::NoFit { ruled_out_by } => ruled_out_by.clone(),
        };
        plugins.extend(self.rejections.by_kind().map(|(plugin, ..)| plugin));
        plugins.sort_unstable();
        plugins.dedup();
        plugins
    }

    /// True when the cluster has no node.
    pub fn is_empty_cluster(&self) -> bool {
        self.cause == Cause::NoNodes
    }

    /// What each plugin said of how many nodes, the most first. A node counts once for each reason it was given.
    pub fn counts(&self) -> Vec<Count> {
        let mut counts: Vec<Count> = Vec::new();
        let mut add = |plugin, reason: &Reason, nodes| {
            let known = counts.iter_mut().find(|count| count.plugin == plugin && count.reason == *reason);
            match known {
                Some(count) => count.nodes += nodes,
                None => counts.push(Count { plugin, reason: reason.clone(), nodes }),
            }
        };
        match &self.cause {
            Cause::NoNodes => {}
            Cause::Refused { plugins, verdict } => {
                for plugin in plugins {
                    verdict.reasons().iter().for_each(|reason| add(plugin, reason, self.nodes));
                }
            }
            Cause::NoFit { ruled_out_by } => {
                let not_asked = self.nodes - self.rejections.len();
                if let Some(first) = ruled_out_by.first().filter(|_| not_asked > 0) {
                    add(
                        first,
                        &Cow::Borrowed("node(s) didn't satisfy the names that the pod gives"),
                        not_asked,
                    );
                }
            }
        }
        for (plugin, verdict, nodes) in self.rejections.by_kind() {
            verdict.reasons().iter().for_each(|reason| add(plugin, reason, nodes));
        }
        counts.sort_by_key(|count| std::cmp::Reverse(count.nodes));
        counts
    }

    fn histogram(&self, ruled_out_by: &[&'static str]) -> Vec<String> {
        let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
        for (_, verdict, nodes) in self.rejections.by_kind() {
            for reason in verdict.reasons() {
                *counts.entry(reason.clone()).or_default() += nodes;
            }
        }
        let not_asked = self.nodes - self.rejections.len();
        if not_asked > 0 && !ruled_out_by.is_empty() {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", ruled_out_by.join(" "));
            *counts.entry(reason.into()).or_default() += not_asked;
        }
        histogram(&counts)
    }
}

/// `COUNT REASON` for each reason, sorted as text (so that 10 comes before 2), as upstream does.
pub fn histogram(counts: &BTreeMap<Reason, usize>) -> Vec<String> {
    let mut lines: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort_unstable();
    lines
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = match &self.cause {
            Cause::NoNodes => return f.write_str("no nodes available to schedule pods"),
            Cause::Refused { verdict, .. } => verdict.reasons().join(", "),
            Cause::NoFit { ruled_out_by } => self.histogram(ruled_out_by).join(", "),
        };
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if !told.is_empty() {
            write!(f, " {told}.")?;
        }
        match &self.room {
            Some(room) => write!(f, " {room}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(node: usize, plugin: &'static str, verdict: Verdict) -> Rejection {
        Rejection { node, plugin, verdict }
    }

    #[test]
    fn tells_it_as_upstream_does() {
        let cpu = || Verdict::Later("Insufficient cpu".into());
        let both = Verdict::Later(vec!["Insufficient cpu".into(), "Insufficient memory".into()].into());
        let taint = || Verdict::Never("node(s) had untolerated taint(s)".into());
        let mut failure = Failure::no_fit(
            3,
            vec![
                rejection(0, "NodeResourcesFit", cpu()),
                rejection(1, "TaintToleration", taint()),
                rejection(2, "TaintToleration", taint()),
            ],
            vec![],
        );
        failure.room = Some(
            "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
                .into(),
        );
        assert_eq!(
            failure.to_string(),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes \
             are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
        );
        assert_eq!(failure.rejectors(), ["NodeResourcesFit", "TaintToleration"]);
        let count = |plugin, reason: &'static str, nodes| Count { plugin, reason: reason.into(), nodes };
        assert_eq!(
            failure.counts(),
            [
                count("TaintToleration", "node(s) had untolerated taint(s)", 2),
                count("NodeResourcesFit", "Insufficient cpu", 1),
            ]
        );

        let all = (0..10).map(|node| rejection(node, "NodeResourcesFit", cpu()));
        let failure = Failure::no_fit(
            12,
            all.chain([rejection(10, "NodeResourcesFit", both), rejection(11, "X", taint())]).collect(),
            vec![],
        );
        assert_eq!(
            failure.to_string(),
            "0/12 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), 11 Insufficient cpu."
        );
    }

    #[test]
    fn tells_what_happened_before_nodes_were_asked() {
        let refused = Failure::refused(
            2,
            "VolumeBinding",
            Verdict::Never("pod has unbound immediate PersistentVolumeClaims".into()),
        );
        assert_eq!(
            refused.to_string(),
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        );
        assert_eq!(Failure::no_nodes().to_string(), "no nodes available to schedule pods");
        let unknown = Failure::no_fit(
            3,
            vec![rejection(1, "NodeUnschedulable", Verdict::Never("node(s) were unschedulable".into()))],
            vec!["NodeAffinity"],
        );
        assert_eq!(
            unknown.to_string(),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
        );
        assert_eq!(unknown.rejectors(), ["NodeAffinity", "NodeUnschedulable"]);
    }
}
