//! A pod as scheduling needs it: the view from the watch, with everything computed once that cycles ask often.

use crate::cache::{HostPort, Scored, normal_image_name};
use crate::framework::{Wakeup, WakeupSet};
use crate::terms::Terms;
use component::informers::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;
use objects::resources::{Resources, pod_requests_for_scores_with_status, pod_requests_with_status};
use objects::views::{Container, Node, Pod, PodSpec, Volume};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The scheduler of a pod that names none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

macro_rules! shared_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

shared_text!(
    /// The UID of a pod.
    Uid
);
shared_text!(
    /// The name of a node.
    NodeName
);

impl Uid {
    /// `metadata.uid`.
    pub fn of(pod: &Pod) -> Self {
        pod.uid().into()
    }
}

impl NodeName {
    /// `metadata.name`.
    pub fn of(node: &Node) -> Self {
        node.name().into()
    }
}

/// A volume claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodClaim {
    /// Its name, in the namespace of the pod.
    pub name: String,
    /// It is made for the pod, which has to own it.
    pub ephemeral: bool,
}

/// A pod. See the file header.
#[derive(Debug, PartialEq)]
pub struct PodInfo {
    /// `metadata.uid`.
    pub uid: Uid,
    /// `spec.priority`, 0 if it has none.
    pub priority: i32,
    /// What it requests: containers, init containers, sidecars, overhead, pod level.
    pub requests: Resources,
    /// The same as scores count it: a container without a request counts 100m and 200 MiB.
    pub requests_for_scoring: Scored,
    /// Host ports of its containers and sidecars.
    pub ports: Vec<HostPort>,
    /// `status.startTime`.
    pub start_time: Option<Timestamp>,
    images: Vec<Arc<str>>,
    claims: Box<[PodClaim]>,
    terms: Option<Box<Terms>>,
    nominated: Option<NodeName>,
    view: Arc<Pod>,
}

impl PodInfo {
    /// Computes it from the view.
    pub fn new(view: Arc<Pod>) -> Self {
        let scoring = pod_requests_for_scores_with_status(&view);
        Self {
            uid: Uid::of(&view),
            priority: view.spec.priority.unwrap_or(0),
            requests: pod_requests_with_status(&view),
            requests_for_scoring: Scored { milli_cpu: scoring.milli_cpu, memory: scoring.memory },
            ports: host_ports(&view.spec),
            start_time: view.status.start_time.as_ref().map(|time| time.0),
            images: images(&view.spec),
            claims: claims(&view),
            terms: Terms::new(
                view.spec.affinity.as_deref(),
                view.namespace(),
                view.metadata.labels.as_ref().unwrap_or(&NO_LABELS),
            ),
            nominated: view
                .status
                .nominated_node_name
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(NodeName::from),
            view,
        }
    }

    /// True for a pod that runs no more and holds nothing.
    pub fn has_ended(pod: &Pod) -> bool {
        matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.view.name()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.view.namespace()
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        self.view.metadata.labels.as_ref().unwrap_or(&NO_LABELS)
    }

    /// The spec.
    pub fn spec(&self) -> &PodSpec {
        &self.view.spec
    }

    /// The view it was computed from.
    pub fn view(&self) -> &Arc<Pod> {
        &self.view
    }

    /// Which scheduler is to place it.
    pub fn scheduler_name(&self) -> &str {
        self.view.spec.scheduler_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_SCHEDULER)
    }

    /// `spec.nodeName`.
    pub fn node(&self) -> Option<NodeName> {
        self.view.spec.node_name.as_deref().filter(|name| !name.is_empty()).map(NodeName::from)
    }

    /// `status.nominatedNodeName`.
    pub fn nominated_node(&self) -> Option<&NodeName> {
        self.nominated.as_ref()
    }

    /// Image names of all containers, `:latest` added where there is no tag.
    pub fn images(&self) -> &[Arc<str>] {
        &self.images
    }

    /// The group of pods it is scheduled with.
    pub fn group(&self) -> Option<Key> {
        group_of(&self.view)
    }

    /// The volume claims it mounts.
    pub fn claims(&self) -> &[PodClaim] {
        &self.claims
    }

    /// Its inter-pod affinity terms, if it has any.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_deref()
    }

    /// `spec.tolerations`.
    pub fn tolerations(&self) -> &[Toleration] {
        &self.view.spec.tolerations
    }

    /// Names of `spec.schedulingGates`.
    pub fn scheduling_gates(&self) -> impl Iterator<Item = &str> {
        self.view.spec.scheduling_gates.iter().map(|gate| gate.name.as_str())
    }

    /// True when `spec.preemptionPolicy` is `Never`.
    pub fn never_preempts(&self) -> bool {
        self.view.spec.preemption_policy.as_deref() == Some("Never")
    }

    /// True once `metadata.deletionTimestamp` is set.
    pub fn is_deleting(&self) -> bool {
        self.view.metadata.deletion_timestamp.is_some()
    }

    /// True for a pod on its way out because a scheduler evicted it for another.
    pub fn is_preempted(&self) -> bool {
        self.is_deleting()
            && self.view.status.conditions.iter().any(|condition| {
                condition.type_ == "DisruptionTarget"
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some("PreemptionByScheduler")
            })
    }

    /// True when it takes up exactly what `other` does on a node, and other pods see it as the same: nothing that is
    /// counted about its node changes when one takes the place of the other.
    pub fn counts_as(&self, other: &Self) -> bool {
        self.priority == other.priority
            && self.is_deleting() == other.is_deleting()
            && self.requests == other.requests
            && self.requests_for_scoring == other.requests_for_scoring
            && self.namespace() == other.namespace()
            && self.labels() == other.labels()
            && self.ports == other.ports
            && self.terms == other.terms
    }

    /// What changed since `before`, in the words of a waiting pod's own changes.
    pub fn changes_since(&self, before: &Self) -> WakeupSet {
        let mut kinds = WakeupSet::default();
        if self.labels() != before.labels() {
            kinds.insert(Wakeup::OwnLabels);
        }
        if self.tolerations() != before.tolerations() {
            kinds.insert(Wakeup::OwnTolerations);
        }
        if self.asks_less_than(before) {
            kinds.insert(Wakeup::OwnScaledDown);
        }
        if self.view.status.resource_claim_statuses != before.view.status.resource_claim_statuses {
            kinds.insert(Wakeup::OwnClaims);
        }
        if self.scheduling_gates().next().is_none() && before.scheduling_gates().next().is_some() {
            kinds.insert(Wakeup::OwnGates);
        }
        kinds
    }

    /// What changed since `before`, in the words of those who wait for a change of pods on nodes.
    pub fn changes_as_assigned(&self, before: &Self) -> WakeupSet {
        let mut kinds = WakeupSet::default();
        if self.labels() != before.labels() {
            kinds.insert(Wakeup::PodLabels);
        }
        if self.asks_less_than(before) {
            kinds.insert(Wakeup::PodScaledDown);
        }
        if self.is_deleting() && !before.is_deleting() {
            // Spreading no longer counts it.
            kinds.insert(Wakeup::PodRemoved);
        }
        kinds
    }

    fn asks_less_than(&self, before: &Self) -> bool {
        let (now, before) = (&self.requests, &before.requests);
        now.milli_cpu < before.milli_cpu
            || now.memory < before.memory
            || now.ephemeral < before.ephemeral
            || before
                .scalars
                .iter()
                .any(|(name, amount)| now.scalars.get(name).is_none_or(|now| now < amount))
    }
}

/// `NAMESPACE/NAME`.
impl fmt::Display for PodInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.name())
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container: &Container| &container.ports);
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort::new(port.host_ip.as_deref(), port.protocol.as_deref(), port.host_port))
        .collect()
}

/// The `PodGroup` that a pod names.
pub(crate) fn group_of(view: &Pod) -> Option<Key> {
    let name = view.spec.scheduling_group.as_ref()?.pod_group_name.as_deref()?;
    Some(Key::new(view.namespace(), name))
}

fn claims(view: &Pod) -> Box<[PodClaim]> {
    let claim = |volume: &Volume| match &volume.claim {
        Some(name) => Some(PodClaim { name: name.clone(), ephemeral: false }),
        None if volume.ephemeral => {
            Some(PodClaim { name: format!("{}-{}", view.name(), volume.name), ephemeral: true })
        }
        None => None,
    };
    view.spec.volumes.iter().filter_map(claim).collect()
}

fn images(spec: &PodSpec) -> Vec<Arc<str>> {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    containers.filter_map(|container| container.image.as_deref()).map(normal_image_name).collect()
}
