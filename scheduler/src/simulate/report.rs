//! What `simulate` answers, as data: `-o json`, and what the tables are made of.

use crate::explain::report::Amount;
use jiff::Timestamp;
use serde::Serialize;

/// The answer to a what-if question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was computed.
    pub at: Timestamp,
    /// Every pod that had to be placed.
    pub pods: Vec<PodOutcome>,
    /// Pods evicted for more important ones.
    pub preempted: Vec<Preempted>,
    /// Pods that would be gone, with nobody to make them again on another node.
    pub lost: Vec<Lost>,
    /// Pods that a drain could not evict.
    pub held: Vec<Lost>,
    /// The cluster as it is.
    pub before: Fullness,
    /// The cluster after it all.
    pub after: Fullness,
    /// What the answer leaves out or assumes.
    pub notes: Vec<String>,
}

/// What became of a pod that had to be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodOutcome {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// What it belongs to: `Deployment default/web`, or the pod itself.
    pub owner: String,
    /// Why it had to be placed.
    pub origin: Origin,
    /// The node it was on.
    pub from: Option<String>,
    /// The node it would go to.
    pub node: Option<String>,
    /// Why it would go nowhere.
    pub message: Option<String>,
}

/// Why a pod has to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// A manifest asks for it.
    Applied,
    /// A DaemonSet makes it for a new node.
    Daemon,
    /// Its node is drained or lost.
    Displaced,
    /// A more important pod takes its place.
    Preempted,
    /// It waits in the cluster already.
    Pending,
}

impl Origin {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Daemon => "new node",
            Self::Displaced => "displaced",
            Self::Preempted => "preempted",
            Self::Pending => "pending",
        }
    }
}

/// A pod evicted for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preempted {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Where it ran.
    pub node: String,
    /// The pod it makes room for.
    pub by: String,
}

/// A pod on a node that goes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Where it runs.
    pub node: String,
    /// Why it is listed.
    pub why: String,
}

/// How full a cluster is, and in how small pieces its rest is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fullness {
    /// By node, the fullest first.
    pub nodes: Vec<NodeUse>,
    /// All nodes together.
    pub total: Vec<Use>,
    /// The most of each resource that is free on one node on which ordinary pods may start.
    pub largest_free: Vec<LargestFree>,
    /// The usual pod: the median requests of all pods that ask for something.
    pub usual_pod: Vec<Amount>,
    /// The largest pod of the usual proportions that fits a node.
    pub largest_usual: Option<LargestUsual>,
    /// How many more usual pods fit.
    pub usual_pods_that_fit: i64,
    /// What is free on nodes on which not even one usual pod fits.
    pub stranded: Vec<Amount>,
}

/// How full a node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUse {
    /// The node.
    pub node: String,
    /// False when it is cordoned, or has a taint that ordinary pods do not tolerate.
    pub open: bool,
    /// By resource, `pods` among them.
    pub resources: Vec<Use>,
}

/// How much of a resource is requested.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Its name.
    pub resource: String,
    /// Thousandths of a core, bytes or units.
    pub requested: i64,
    /// The same, of what there is.
    pub allocatable: i64,
    /// Requested of allocatable.
    pub percent: f64,
    /// Both for people: `12.5 / 32`.
    pub text: String,
}

/// The most of one resource that is free in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LargestFree {
    /// How much.
    pub amount: Amount,
    /// Where.
    pub node: String,
}

/// The largest pod of certain proportions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LargestUsual {
    /// What it would ask for.
    pub requests: Vec<Amount>,
    /// Where it fits.
    pub node: String,
}
