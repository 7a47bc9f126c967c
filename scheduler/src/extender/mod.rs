//! Extenders: HTTP services that filter, score, choose victims and bind beside the plugins.
//!
//! Promise: an extender is asked about a pod only if it manages a resource that the pod requests, or manages none in
//! particular; one that fails is passed over if it is ignorable, and else fails the attempt. Upstream: `extender.go`.

mod config;
mod victims;
mod wire;

pub use config::{Error, Interest, Interests};
pub use victims::Offer;

use crate::cache::NodeInfo;
use crate::pod::{NodeName, PodInfo};
use crate::state::WriteError;
use component::informers::{Informer, Informers, Key};
use config::Extender;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::time::timeout;

/// What an extender's points count beside a plugin's: an extender gives 0 to 10, a plugin 0 to 100.
const SCALE: i64 = 10;

/// Said of a node that an extender left out without a word.
const NO_REASON: &str = "node(s) were refused by an extender";

/// All extenders of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Extenders {
    all: Arc<Vec<Extender>>,
    /// Where whole pods are read.
    client: Option<Client>,
    /// Whole nodes, kept only if an extender is to be sent them.
    nodes: Option<Informer<Node>>,
    /// Whole pods, kept only if an extender is to be sent them as victims.
    pods: Option<Informer<Pod>>,
}

/// What the extenders say about a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The nodes that are left, each with the points that all extenders give it together.
    pub fits: Vec<(NodeName, i64)>,
    /// The nodes that were refused.
    pub refused: Vec<Refused>,
}

/// A node that an extender refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub node: NodeName,
    /// What the extender says.
    pub why: String,
    /// Evicting pods would not help.
    pub hopeless: bool,
}

impl Extenders {
    /// The extenders of a configuration.
    ///
    /// # Errors
    ///
    /// When an address or a certificate cannot be used.
    pub async fn connect(
        extenders: &[crate::config::Extender],
        client: &Client,
        informers: &Informers,
    ) -> Result<Self, Error> {
        let mut all = Vec::new();
        for extender in extenders {
            all.push(Extender::connect(extender).await?);
        }
        let whole = |extender: &Extender| !extender.keeps_nodes;
        let nodes = all.iter().any(|extender| whole(extender) && extender.is_sent_nodes());
        let pods = all.iter().any(|extender| whole(extender) && extender.preempt.is_some());
        Ok(Self {
            nodes: nodes.then(|| informers.of()),
            pods: pods.then(|| informers.of()),
            client: Some(client.clone()),
            all: Arc::new(all),
        })
    }

    /// Waits until the nodes and pods that extenders are sent are there.
    pub async fn synced(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.synced().await;
        }
        if let Some(pods) = &self.pods {
            pods.synced().await;
        }
    }

    /// Asks all that are concerned which of these nodes will do and how well.
    ///
    /// # Errors
    ///
    /// A sentence that names the extender that failed.
    pub async fn ask(&self, pod: &PodInfo, nodes: Vec<NodeName>) -> Result<Advice, String> {
        let whole = self.whole_pod(pod).await?;
        let mut advice =
            Advice { fits: nodes.into_iter().map(|node| (node, 0)).collect(), ..Advice::default() };
        for extender in self.concerned(pod) {
            if advice.fits.is_empty() {
                break;
            }
            if let Err(error) = self.filter(extender, &whole, &mut advice).await {
                if !extender.ignorable {
                    return Err(error);
                }
                tracing::warn!(extender = extender.url, error, "extender failed and is ignored");
            }
        }
        for extender in self.concerned(pod) {
            // As upstream, an extender that cannot score has no say.
            if let Err(error) = self.prioritize(extender, &whole, &mut advice).await {
                tracing::warn!(extender = extender.url, error, "extender gave no scores");
            }
        }
        Ok(advice)
    }

    /// Has the pod bound by the extender that binds such pods; `None`: there is none.
    pub async fn bind(&self, pod: &PodInfo, node: &NodeName) -> Option<Result<(), WriteError>> {
        let extender = self.concerned(pod).find(|extender| extender.bind.is_some())?;
        let binding = wire::Binding {
            pod_name: pod.name().to_owned(),
            pod_namespace: pod.namespace().to_owned(),
            pod_uid: pod.uid.to_string(),
            node: node.to_string(),
        };
        let bound = send::<wire::Bound>(extender, extender.bind.as_deref()?, &binding).await;
        let error = match bound {
            Ok(bound) => bound.error.filter(|error| !error.is_empty()),
            Err(error) => Some(error),
        };
        match error {
            None => Some(Ok(())),
            Some(error) if extender.ignorable => {
                tracing::warn!(extender = extender.url, error, "extender did not bind and is ignored");
                None
            }
            Some(error) => Some(Err(WriteError::NoAnswer(error))),
        }
    }

    fn concerned<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a Extender> {
        self.all.iter().filter(|extender| extender.interest.concerns(pod))
    }

    async fn filter(&self, extender: &Extender, pod: &Value, advice: &mut Advice) -> Result<(), String> {
        let Some(verb) = &extender.filter else { return Ok(()) };
        let answer: wire::Filtered = send(extender, verb, &self.arguments(extender, pod, advice)).await?;
        if let Some(error) = answer.error.filter(|error| !error.is_empty()) {
            return Err(error);
        }
        let names = match (answer.node_names.filter(|_| extender.keeps_nodes), answer.nodes) {
            (Some(names), _) => names,
            (None, Some(list)) => {
                list.items.unwrap_or_default().into_iter().map(|node| node.metadata.name).collect()
            }
            (None, None) => Vec::new(),
        };
        if let Some(unknown) =
            names.iter().find(|name| !advice.fits.iter().any(|(node, _)| **node == ***name))
        {
            let url = &extender.url;
            return Err(format!(
                "extender {url:?} claims a filtered node {unknown:?} which is not found in the input node list"
            ));
        }
        let (failed, hopeless) = (answer.failed.unwrap_or_default(), answer.hopeless.unwrap_or_default());
        let (left, gone): (Vec<_>, Vec<_>) =
            advice.fits.drain(..).partition(|(node, _)| names.iter().any(|name| **name == **node));
        advice.fits = left;
        advice.refused.extend(gone.into_iter().map(|(node, _)| refusal(node, &failed, &hopeless)));
        Ok(())
    }

    async fn prioritize(&self, extender: &Extender, pod: &Value, advice: &mut Advice) -> Result<(), String> {
        let Some(verb) = extender.prioritize.as_ref().filter(|_| advice.fits.len() > 1) else {
            return Ok(());
        };
        let scores: Vec<wire::HostPriority> =
            send(extender, verb, &self.arguments(extender, pod, advice)).await?;
        for (node, points) in &mut advice.fits {
            let given = scores.iter().find(|given| *given.host == **node).map_or(0, |given| given.score);
            *points += given * extender.weight * SCALE;
        }
        Ok(())
    }

    fn arguments(&self, extender: &Extender, pod: &Value, advice: &Advice) -> wire::Arguments {
        let names = advice.fits.iter().map(|(node, _)| node.to_string());
        let (nodes, node_names) = if extender.keeps_nodes {
            (None, Some(names.collect()))
        } else {
            let whole = |name: String| self.nodes.as_ref()?.get(&Key::cluster(name));
            let whole = names.filter_map(whole).map(|node| serde_json::json!(*node));
            (Some(wire::node_list(whole.collect())), None)
        };
        wire::Arguments { pod: pod.clone(), nodes, node_names }
    }

    /// The pod as the API server has it: what is kept for scheduling is only a part.
    async fn whole_pod(&self, pod: &PodInfo) -> Result<Value, String> {
        let Some(client) = &self.client else { return Ok(Value::Null) };
        let pods: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
        let whole = pods.get(pod.name()).await.map_err(|error| format!("cannot read the pod: {error}"))?;
        Ok(serde_json::json!(whole))
    }
}

fn refusal(
    node: NodeName,
    failed: &BTreeMap<String, String>,
    hopeless: &BTreeMap<String, String>,
) -> Refused {
    match (hopeless.get(&*node), failed.get(&*node)) {
        (Some(why), _) => Refused { node, why: why.clone(), hopeless: true },
        (None, Some(why)) => Refused { node, why: why.clone(), hopeless: false },
        (None, None) => Refused { node, why: NO_REASON.to_owned(), hopeless: false },
    }
}

async fn send<T: DeserializeOwned>(
    extender: &Extender,
    verb: &str,
    body: &impl Serialize,
) -> Result<T, String> {
    let failed =
        |why: &dyn fmt::Display| format!("failed to {verb} with extender at URL {}: {why}", extender.url);
    let body = serde_json::to_vec(body).map_err(|error| failed(&error))?;
    let request = http::Request::post(format!("/{}", verb.trim_matches('/')))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| failed(&error))?;
    let answer = timeout(extender.timeout, extender.client.request_text(request)).await;
    let answer = answer.map_err(|_| failed(&"no answer in time"))?;
    let text = answer.map_err(|error| failed(&component::telemetry::chain(&error)))?;
    wire::read(&text).map_err(|error| failed(&error))
}

/// The names of nodes, in order.
pub(crate) fn names(nodes: &[&NodeInfo]) -> Vec<NodeName> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

impl fmt::Debug for Extenders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|extender| &extender.url)).finish()
    }
}
