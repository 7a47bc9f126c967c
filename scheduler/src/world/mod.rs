//! A cluster out of objects, for questions that are asked outside of a running scheduler: read from an API server
//! once, or from a file, and put into the same state that a scheduler keeps.
//!
//! Reads only: `reader` can send nothing but GET.

mod dump;
mod kinds;
mod reader;

pub use dump::{DumpError, documents};
pub use kinds::{KINDS, Kind, Use};
pub use reader::{ReadError, Reader};

use crate::framework::Profiles;
use crate::metrics::Metrics;
use crate::pod::PodInfo;
use crate::preempt::Budget;
use crate::queue::Backoff;
use crate::state::{Event, State};
use crate::watch;
use component::metrics::Registry;
use component::random::Random;
use jiff::Timestamp;
use objects::views::{Node, Pod};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The seed with which equally good nodes are drawn: the same question has the same answer.
const SEED: u64 = 1;

/// Marks the storage class of claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// An object cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name} is not valid")]
pub struct ObjectError {
    kind: String,
    name: String,
    source: serde_json::Error,
}

/// A cluster as it was read.
#[derive(Debug, Default)]
pub struct World {
    /// All nodes.
    pub nodes: Vec<Arc<Node>>,
    /// All pods, with and without a node.
    pub pods: Vec<Arc<Pod>>,
    /// Deployments, DaemonSets and other objects that make pods, as they are.
    pub workloads: Vec<Value>,
    /// The values of priority classes.
    pub priorities: Priorities,
    /// (namespace, name) of all claims.
    pub claims: BTreeSet<(String, String)>,
    /// The storage class of claims that name none.
    default_class: Option<String>,
    budgets: Vec<Budget>,
    facts: Vec<Event>,
    /// What could not be read, for the reader of an answer.
    pub notes: Vec<String>,
}

/// What priority classes stand for.
#[derive(Debug)]
pub struct Priorities {
    by_name: BTreeMap<String, i32>,
    default: i32,
}

impl Default for Priorities {
    fn default() -> Self {
        let builtin = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
        Self { by_name: builtin.map(|(name, value)| (name.to_owned(), value)).into(), default: 0 }
    }
}

impl Priorities {
    /// The value of a class; of the default one for none. `None`: there is no such class.
    pub fn of(&self, class: Option<&str>) -> Option<i32> {
        match class.filter(|class| !class.is_empty()) {
            Some(class) => self.by_name.get(class).copied(),
            None => Some(self.default),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriorityClass {
    value: i32,
    #[serde(default)]
    global_default: bool,
}

impl World {
    /// Everything of these uses that the API server shows.
    ///
    /// # Errors
    ///
    /// When nodes or pods cannot be read. Other kinds that may not be read leave a note.
    pub async fn read(reader: &Reader, workloads: bool) -> Result<Self, ReadError> {
        let mut world = Self::default();
        for kind in KINDS.iter().filter(|kind| workloads || kind.used == Use::Scheduling) {
            let all = reader
                .list(kind, |object| world.add(object).map_err(|error| ReadError::Object(Box::new(error))))
                .await;
            match all {
                Ok(()) => {}
                Err(error) if kind.needed => return Err(error),
                Err(error @ (ReadError::Api { .. } | ReadError::Object(_))) => {
                    world.notes.push(format!("{}: none known: {error}", kind.plural()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(world)
    }

    /// Takes an object in. Kinds that have nothing to do with scheduling are passed over; answers whether it was one
    /// that counts.
    ///
    /// # Errors
    ///
    /// When the object is not one of its kind.
    pub fn add(&mut self, mut object: Value) -> Result<bool, ObjectError> {
        self.note_storage(&mut object);
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
        let name = match metadata["namespace"].as_str() {
            Some(namespace) => format!("{namespace}/{}", text(&metadata["name"])),
            None => text(&metadata["name"]),
        };
        let error = |source| ObjectError { kind: kind.clone(), name: name.clone(), source };
        if kinds::makes_pods(&kind) {
            self.workloads.push(object.clone());
        }
        match kind.as_str() {
            "Node" => self.nodes.push(Arc::new(serde_json::from_value(object).map_err(error)?)),
            "Pod" => self.pods.push(Arc::new(pod(object).map_err(error)?)),
            "PodDisruptionBudget" => self.budgets.extend(watch::budget_of(object).map_err(error)?),
            "PriorityClass" => {
                let class: PriorityClass = serde_json::from_value(object).map_err(error)?;
                if class.global_default {
                    self.priorities.default = class.value;
                }
                self.priorities.by_name.insert(name, class.value);
            }
            other => match watch::event(other, object).map_err(error)? {
                Some(event) => self.facts.push(event),
                None => return Ok(kinds::makes_pods(&kind)),
            },
        }
        Ok(true)
    }

    /// Takes in what scheduling reads of an object, not what it would have made.
    pub(crate) fn add_fact(&mut self, object: Value) -> Result<(), ObjectError> {
        let made = self.workloads.len();
        self.add(object)?;
        self.workloads.truncate(made);
        Ok(())
    }

    /// The disruption budgets.
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// Remembers claims and the default storage class, which admission gives to claims that name none.
    fn note_storage(&mut self, object: &mut Value) {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let name = text(&metadata["name"]);
        match object["kind"].as_str() {
            Some("StorageClass") if metadata["annotations"][DEFAULT_CLASS] == "true" => {
                self.default_class = Some(name);
            }
            Some("PersistentVolumeClaim") => {
                self.claims.insert((text(&metadata["namespace"]), name));
                if let (true, Some(class)) =
                    (object["spec"]["storageClassName"].is_null(), self.default_class.clone())
                {
                    object["spec"]["storageClassName"] = class.into();
                }
            }
            _ => {}
        }
    }

    /// A scheduler's state that has seen all of it. Pods that have ended are left out.
    pub fn into_state(self, profiles: Arc<Profiles>, now: Timestamp) -> State {
        let metrics = Metrics::new(&Registry::new());
        let mut state = State::new(profiles, Backoff::default(), Random::from_seed(SEED), metrics);
        let nodes = self.nodes.into_iter().map(Event::Node);
        let pods = self.pods.into_iter().filter(|pod| !PodInfo::has_ended(pod)).map(Event::Pod);
        let events = self.facts.into_iter().chain(nodes).chain([Event::Budgets(self.budgets)]).chain(pods);
        events.for_each(|event| state.apply(event, now));
        state
    }
}

/// A pod; one that no API server has seen yet gets a namespace and an identity.
pub(crate) fn pod(mut object: Value) -> Result<Pod, serde_json::Error> {
    let metadata = &mut object["metadata"];
    if metadata["namespace"].is_null() {
        metadata["namespace"] = "default".into();
    }
    if metadata["uid"].is_null() {
        let part = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        metadata["uid"] = format!("{}/{}", part("namespace"), part("name")).into();
    }
    serde_json::from_value(object)
}

#[cfg(test)]
mod tests;
