//! What reaches the scheduler's state, and what it wants written: the only words between it and the world.
//!
//! Promise: plain values. Each effect that is answered names the event that answers it.

use crate::cache::Owner;
use crate::extender::{Advice, Offer};
use crate::framework::Write;
use crate::groups::PodGroup;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::preempt::Budget;
use crate::related::Related;
use objects::labels::Selector;
use objects::views::{Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that can happen to the scheduler.
#[derive(Debug)]
pub enum Event {
    /// A pod as the watch shows it now.
    Pod(Arc<Pod>),
    /// A pod that the watch shows no more.
    PodGone(Arc<Pod>),
    /// A node as the watch shows it now.
    Node(Arc<Node>),
    /// A node that the watch shows no more.
    NodeGone(Arc<Node>),
    /// A service: whose pods it selects. `None`: it is gone, or selects none by itself.
    Service {
        /// `metadata.namespace`.
        namespace: String,
        /// `metadata.name`.
        name: String,
        /// `spec.selector`.
        selector: Option<Selector>,
    },
    /// A set that owns pods; `None`: it is gone.
    Owner(Owner, Option<Selector>),
    /// A namespace and its labels; `None`: it is gone.
    Namespace(String, Option<BTreeMap<String, String>>),
    /// All disruption budgets, whenever one of them changed.
    Budgets(Vec<Budget>),
    /// The answer to [`Effect::Extend`].
    Advised {
        /// `metadata.uid` of the pod.
        pod: Uid,
        /// What the extenders say; else which failed, and how.
        advice: Result<Advice, String>,
    },
    /// The answer to [`Effect::ChooseVictims`].
    VictimsChosen {
        /// `metadata.uid` of the pod that wants room.
        pod: Uid,
        /// What the extenders leave; else which failed, and how.
        offers: Result<Vec<Offer>, String>,
    },
    /// A victim could not be evicted: the room will not be there.
    NotEvicted {
        /// The pod that was to have it.
        preemptor: Arc<PodInfo>,
    },
    /// An object that pods refer to, as the watch shows it now.
    Related(Related),
    /// An object that pods refer to and that the watch shows no more.
    RelatedGone(Related),
    /// The answer to [`Effect::Prepare`].
    Prepared {
        /// The pod.
        pod: Arc<PodInfo>,
        /// What the API server has taken, as it is now.
        wrote: Vec<Related>,
        /// Whether that was all; else which plugin's write failed, and why.
        outcome: Result<(), (&'static str, WriteError)>,
    },
    /// The answer to [`Effect::Bind`].
    Bound {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The node it was to be bound to.
        node: NodeName,
        /// What the API server said.
        outcome: Result<(), WriteError>,
    },
}

/// Something to write to the API server. Order matters only within one pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write what a pod needs before it is bound, in order; answered by [`Event::Prepared`].
    Prepare {
        /// The pod, assumed on its node from now on.
        pod: Arc<PodInfo>,
        /// The writes; the first that fails ends it.
        writes: Vec<Write>,
    },
    /// Take back what was written for a pod that is not bound.
    TakeBack {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The writes, each whatever becomes of the others.
        writes: Vec<Write>,
    },
    /// POST the binding; answered by [`Event::Bound`].
    Bind {
        /// The pod, assumed on the node from now on.
        pod: Arc<PodInfo>,
        /// Where to.
        node: NodeName,
        /// The body.
        body: serde_json::Value,
    },
    /// Ask the extenders which of these nodes will do; answered by [`Event::Advised`].
    Extend {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The nodes that the plugins let pass.
        nodes: Vec<NodeName>,
    },
    /// Ask the extenders on which of these nodes room may be made, and by whom; answered by [`Event::VictimsChosen`].
    ChooseVictims {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The nodes on which it can.
        offers: Vec<Offer>,
    },
    /// The pod could not be placed: condition PodScheduled=False, and the node it was promised, if any.
    Unplaced {
        /// The pod.
        pod: Arc<PodInfo>,
        /// `Unschedulable` or `SchedulerError`.
        reason: &'static str,
        /// The whole text.
        message: String,
        /// What to do with `status.nominatedNodeName`.
        nomination: Nomination,
    },
    /// Delete a pod to make room.
    Evict {
        /// Who goes.
        victim: Arc<PodInfo>,
        /// For whom.
        preemptor: Arc<PodInfo>,
        /// From where.
        node: NodeName,
    },
    /// Clear `status.nominatedNodeName` of a pod whose room a more important pod takes.
    Unnominate {
        /// The pod.
        pod: Arc<PodInfo>,
    },
    /// Tell what a pod waits for before it is bound.
    Waits {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The reason of the event.
        reason: &'static str,
        /// What it says.
        message: String,
    },
    /// Tell whether a group of pods could be scheduled: condition PodGroupScheduled.
    GroupScheduled {
        /// The group.
        group: Arc<PodGroup>,
        /// Whether it could.
        scheduled: bool,
    },
    /// Tell that the pod was placed.
    Placed {
        /// The pod.
        pod: Arc<PodInfo>,
        /// Where.
        node: NodeName,
    },
}

/// What happens to `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// Stays as it is.
    Keep,
    /// Is taken away.
    Clear,
    /// Is set: room is being made there.
    Set(NodeName),
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The API server refused it.
    #[error("{message}")]
    Api {
        /// HTTP status code.
        code: u16,
        /// The text of the Status.
        message: String,
    },
    /// No answer came; whether it was carried out is unknown.
    #[error("no answer from the API server: {0}")]
    NoAnswer(String),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Api { code: status.code, message: status.message.clone() },
            other => Self::NoAnswer(other.to_string()),
        }
    }
}
