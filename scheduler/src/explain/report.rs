//! What `explain` says, as data: the answer of the scheduler's page, `-o json`, and what the tables are made of.
//!
//! Keeps apart what was written down when it was decided (`decision`, `history`, `standing`) and what is computed now
//! (`outlook`, `node`, `fixes`): the cluster has changed since, and the two may differ.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything about one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// `spec.schedulerName`.
    pub scheduler_name: String,
    /// What the pod asks for, by resource.
    pub requests: Vec<Amount>,
    /// Who computed this, and from what.
    pub source: Source,
    /// Where the pod is.
    pub standing: Standing,
    /// The last decision, as it was recorded.
    pub decision: Option<Decision>,
    /// What happened to it in the queue and before, the oldest first, as it was recorded.
    pub history: Vec<Happening>,
    /// What would be decided now.
    pub outlook: Outlook,
    /// The node that was asked about.
    pub node: Option<NodeAnswer>,
    /// Changes after which it would fit, the smallest first. Each was tried.
    pub fixes: Vec<Fix>,
}

/// An amount of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// `cpu`, `memory`, `ephemeral-storage`, `pods` or an extended resource.
    pub resource: String,
    /// For people: `1.5`, `512Mi`.
    pub text: String,
    /// Thousandths of a core, bytes, or units.
    pub value: i64,
}

/// Who computed an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `scheduler`: from its live state and records. `client`: from what the API server shows, without records.
    pub by: By,
    /// When.
    pub at: Timestamp,
    /// What is missing, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// See [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// The scheduler itself.
    Scheduler,
    /// The command, by the same functions.
    Client,
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Standing {
    /// On a node.
    Bound {
        /// Which.
        node: String,
    },
    /// It runs no more.
    Ended {
        /// `Succeeded` or `Failed`.
        phase: String,
    },
    /// In the scheduler's queue.
    Waiting {
        /// `active`, `backoff`, `unschedulable`, `gated` or `in flight`.
        queue: String,
        /// When it is tried again although nothing changes.
        next_try: Option<Timestamp>,
        /// The changes that it waits for.
        waits_for: Vec<String>,
        /// The plugins that refused it last.
        rejectors: Vec<String>,
        /// Tries so far.
        attempts: u32,
        /// When it could first be tried.
        ready_since: Option<Timestamp>,
        /// When it was last tried.
        last_attempt: Option<Timestamp>,
        /// The node on which room is being made for it.
        nominated_node: Option<String>,
    },
    /// Without a node; where it stands in the queue only the scheduler knows.
    Pending,
}

/// A decision as it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// `NAMESPACE/NAME` of the pod.
    pub pod: String,
    /// When.
    pub at: Timestamp,
    /// The how manieth try it was.
    pub attempt: u32,
    /// Since when the pod could be tried.
    pub ready_since: Option<Timestamp>,
    /// What was decided.
    pub outcome: Outcome,
}

/// See [`Decision`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// A node was chosen.
    Placed {
        /// Which.
        node: String,
        /// Among how many.
        feasible: usize,
        /// How the best compared, where that was recorded.
        ranking: Option<Ranking>,
    },
    /// No node fitted.
    Refused {
        /// How many nodes there were.
        nodes: usize,
        /// What the filters said.
        filters: Vec<FilterCount>,
        /// The text of `FailedScheduling`.
        message: String,
        /// Where room was made for it.
        room: Option<Room>,
    },
    /// A node was chosen, but the API server refused the binding.
    NotBound {
        /// What it said.
        error: String,
    },
}

/// How the best nodes compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranking {
    /// How many nodes fit.
    pub feasible: usize,
    /// How many of them share the best total.
    pub tied: usize,
    /// The best, the best first; with `--node` that node too.
    pub nodes: Vec<Ranked>,
}

/// A node in a [`Ranking`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// The node.
    pub node: String,
    /// The sum of the weighted points.
    pub total: i64,
    /// By plugin.
    pub scores: Vec<PluginScore>,
}

/// A plugin's points for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginScore {
    /// The plugin.
    pub plugin: String,
    /// What its points count.
    pub weight: i64,
    /// As the plugin gave them.
    pub raw: i64,
    /// Brought into 0..=100 over all nodes that fit.
    pub normalised: i64,
    /// Normalised times weight.
    pub weighted: i64,
}

/// How many nodes a filter refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCount {
    /// The plugin.
    pub plugin: String,
    /// What it said.
    pub reason: String,
    /// Of how many nodes.
    pub nodes: usize,
}

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// What would be decided now. For a pod on a node: as if it were not there yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// How many nodes there are.
    pub nodes: usize,
    /// What holds the pod back before any node is looked at.
    pub gate: Option<String>,
    /// What the filters say.
    pub filters: Vec<FilterCount>,
    /// The text that `FailedScheduling` would have, when no node fits.
    pub message: Option<String>,
    /// How the nodes compare that fit.
    pub ranking: Ranking,
    /// Where room would be made.
    pub room: Option<Room>,
}

/// Room made by evicting pods of lower priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Where.
    pub node: String,
    /// Who goes: `NAMESPACE/NAME`.
    pub victims: Vec<String>,
}

/// Why a pod may or may not run on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// The node.
    pub node: String,
    /// Whether the pod fits it now.
    pub fits: bool,
    /// Its place among the nodes that fit, the best is 1; equals share theirs.
    pub place: Option<usize>,
    /// What each filter says that has anything to say about this pod.
    pub filters: Vec<NodeFilter>,
    /// Changes after which the pod would fit this node, the smallest first.
    pub fixes: Vec<Fix>,
}

/// What a filter says about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFilter {
    /// The plugin.
    pub plugin: String,
    /// Whether it lets the pod in.
    pub fits: bool,
    /// What it says if not.
    pub reasons: Vec<String>,
    /// The same with numbers and names.
    pub detail: Option<String>,
    /// Whether evicting pods may help.
    pub evicting_may_help: bool,
}

/// A change after which the pod fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fix {
    /// For people; begins with a verb.
    pub text: String,
    /// A node it then fits.
    pub node: String,
    /// How many nodes it then fits.
    pub nodes: usize,
    /// How much of a change it is: less is better. Only the order means anything.
    pub cost: u32,
}
