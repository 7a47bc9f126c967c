//! Asks extenders who is to go for a pod, of the nodes on which room can be made.
//!
//! Promise: an answer names only nodes that were offered and pods that are on them; an extender may leave nodes out, and
//! choose other pods. Writes nothing. Upstream: `ProcessPreemption` in `extender.go`, `callExtenders` in `preemption.go`.

use super::config::Extender;
use super::{Extenders, send, wire};
use crate::cache::NodeInfo;
use crate::pod::PodInfo;
use component::informers::Key;
use serde_json::{Value, json};
use std::sync::Arc;

/// A node on which room can be made, and who would go.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The node, with the pods on it.
    pub node: Arc<NodeInfo>,
    /// Who would go.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them break a disruption budget.
    pub violations: usize,
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.node.name == other.node.name
            && self.victims == other.victims
            && self.violations == other.violations
    }
}

impl Extenders {
    /// Asks all that are concerned which of these nodes room may be made on, and by whom.
    ///
    /// # Errors
    ///
    /// A sentence that names the extender that failed.
    pub async fn choose_victims(&self, pod: &PodInfo, mut offers: Vec<Offer>) -> Result<Vec<Offer>, String> {
        let whole = self.whole_pod(pod).await?;
        for extender in self.concerned(pod) {
            let Some(verb) = extender.preempt.as_ref().filter(|_| !offers.is_empty()) else { continue };
            match self.process_preemption(extender, verb, &whole, &offers).await {
                Ok(left) => offers = left,
                Err(error) if extender.ignorable => {
                    tracing::warn!(extender = extender.url, error, "extender failed and is ignored");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(offers)
    }

    async fn process_preemption(
        &self,
        extender: &Extender,
        verb: &str,
        pod: &Value,
        offers: &[Offer],
    ) -> Result<Vec<Offer>, String> {
        let arguments = self.preemption_arguments(extender, pod, offers);
        let answer: wire::Preempted = send(extender, verb, &arguments).await?;
        let mut left = Vec::new();
        for (node, victims) in answer.by_node.unwrap_or_default() {
            let offer = offers.iter().find(|offer| *offer.node.name == *node);
            let url = &extender.url;
            let Some(offer) = offer else {
                return Err(format!(
                    "extender: {url} claims to preempt pods on node {node:?}, which was not offered"
                ));
            };
            let victims = victims.unwrap_or_default();
            let pods = victims.pods.unwrap_or_default();
            if pods.is_empty() {
                if extender.ignorable {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {node:?}"));
            }
            let on_node = |uid: &str| offer.node.pods.iter().find(|pod| *pod.uid == *uid).cloned();
            let pods = pods.iter().map(|pod| {
                on_node(&pod.uid).ok_or_else(|| {
                    let uid = &pod.uid;
                    format!(
                        "extender: {url} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not \
                         found on that node"
                    )
                })
            });
            left.push(Offer {
                node: offer.node.clone(),
                victims: pods.collect::<Result<_, _>>()?,
                violations: victims.violations,
            });
        }
        Ok(left)
    }

    fn preemption_arguments(
        &self,
        extender: &Extender,
        pod: &Value,
        offers: &[Offer],
    ) -> wire::PreemptionArguments {
        let (mut whole, mut meta) = (None, None);
        if extender.keeps_nodes {
            let short = |pod: &Arc<PodInfo>| wire::MetaPod { uid: pod.uid.to_string() };
            meta = Some(offers.iter().map(|offer| offer.written(short)).collect());
        } else {
            whole = Some(offers.iter().map(|offer| offer.written(|pod| self.whole_victim(pod))).collect());
        }
        wire::PreemptionArguments {
            pod: pod.clone(),
            node_name_to_victims: whole,
            node_name_to_meta_victims: meta,
        }
    }

    /// A victim as the API server has it; by its names, if it is gone there.
    fn whole_victim(&self, pod: &PodInfo) -> Value {
        let key = Key::new(pod.namespace(), pod.name());
        let whole = self.pods.as_ref().and_then(|pods| pods.get(&key));
        let whole = whole.filter(|whole| whole.metadata.uid.as_deref() == Some(&*pod.uid));
        whole.map_or_else(
            || json!({"metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": &*pod.uid}}),
            |whole| json!(*whole),
        )
    }
}

impl Offer {
    fn written<P>(&self, pod: impl Fn(&Arc<PodInfo>) -> P) -> (String, wire::Victims<P>) {
        let pods = self.victims.iter().map(pod).collect();
        (self.node.name.to_string(), wire::Victims { pods, violations: self.violations })
    }
}
