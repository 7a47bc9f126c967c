//! The node's own check of a pod before it starts it.
//!
//! Promise: a pod that does not fit what is left of the node, or that does not want this node, is refused with
//! upstream's reason and text; a pod that was admitted once stays admitted. The scheduler checked too, but it may have
//! been wrong or circumvented.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::quantity::Quantity;
use parking_lot::Mutex;

use super::observed::Verdict;
use crate::containers::resources::{pod_total, request};
use crate::node::Capacity;

/// What the admitted pods of a node ask for, by uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<String, Asked>>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    milli_cpu: i64,
    memory: i64,
    host_ports: Vec<(String, i32)>,
}

impl Ledger {
    /// Books the pod, or says why not. `certain`: it runs already.
    pub(super) fn admit(
        &self,
        uid: &str,
        spec: &core::PodSpec,
        labels: &BTreeMap<String, String>,
        node_name: &str,
        capacity: &Capacity,
        certain: bool,
    ) -> Result<(), Verdict> {
        let asked = asked(spec);
        let mut booked = self.0.lock();
        if !certain && !booked.contains_key(uid) {
            fits(&asked, booked.values(), capacity)?;
            wants(spec, labels, node_name)?;
        }
        booked.insert(uid.to_owned(), asked);
        Ok(())
    }

    /// The pod no longer uses anything.
    pub(super) fn release(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn fits<'a>(
    asked: &Asked,
    booked: impl Iterator<Item = &'a Asked> + Clone,
    capacity: &Capacity,
) -> Result<(), Verdict> {
    let refuse = |what: &str, requested: i64, used: i64, capacity: i64| {
        Err(Verdict {
            reason: format!("OutOf{what}"),
            message: format!(
                "Pod was rejected: Node didn't have enough resource: {what}, requested: {requested}, used: {used}, \
                 capacity: {capacity}"
            ),
        })
    };
    let pods = booked.clone().count() as i64;
    if pods + 1 > i64::from(capacity.pods) {
        return refuse("pods", 1, pods, capacity.pods.into());
    }
    let milli_cpu: i64 = booked.clone().map(|other| other.milli_cpu).sum();
    if asked.milli_cpu > 0 && milli_cpu + asked.milli_cpu > capacity.milli_cpu {
        return refuse("cpu", asked.milli_cpu, milli_cpu, capacity.milli_cpu);
    }
    let memory: i64 = booked.clone().map(|other| other.memory).sum();
    if asked.memory > 0 && memory + asked.memory > capacity.memory {
        return refuse("memory", asked.memory, memory, capacity.memory);
    }
    let mut taken = booked.flat_map(|other| &other.host_ports);
    if taken.any(|port| asked.host_ports.contains(port)) {
        let message = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the \
                       requested pod ports";
        return Err(Verdict { reason: "NodePorts".to_owned(), message: message.to_owned() });
    }
    Ok(())
}

fn wants(spec: &core::PodSpec, labels: &BTreeMap<String, String>, node_name: &str) -> Result<(), Verdict> {
    let node =
        ObjectMeta { name: Some(node_name.to_owned()), labels: Some(labels.clone()), ..Default::default() };
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affine = objects::affinity::required(spec.affinity.as_ref())
        .is_none_or(|selector| objects::affinity::selector_matches(selector, &node));
    // Labels that were never read say nothing.
    if labels.is_empty() || selected && affine {
        return Ok(());
    }
    let message =
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    Err(Verdict { reason: "NodeAffinity".to_owned(), message: message.to_owned() })
}

fn asked(spec: &core::PodSpec) -> Asked {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let host_ports = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
    });
    Asked {
        milli_cpu: pod_total(spec, |container| request(container, "cpu").map_or(0, Quantity::milli_value)),
        memory: pod_total(spec, |container| request(container, "memory").map_or(0, Quantity::value)),
        host_ports: host_ports.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_refused_with_upstreams_words() {
        let ledger = Ledger::default();
        let capacity = Capacity { milli_cpu: 1000, memory: 1 << 30, ephemeral: 0, pods: 3 };
        let labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let admit = |uid: &str, spec: serde_json::Value, certain| {
            let spec = serde_json::from_value(spec).unwrap();
            ledger.admit(uid, &spec, &labels, "n", &capacity, certain).map_err(|verdict| verdict.reason)
        };
        let cpu = |cpu| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        assert_eq!(admit("a", cpu("600m"), false), Ok(()));
        assert_eq!(admit("a", cpu("600m"), false), Ok(()), "the same pod counts once");
        assert_eq!(admit("b", cpu("600m"), false), Err("OutOfcpu".into()));
        assert_eq!(admit("b", cpu("600m"), true), Ok(()), "what runs stays");
        let picky = json!({"containers": [], "nodeSelector": {"disk": "hdd"}});
        assert_eq!(admit("c", picky, false), Err("NodeAffinity".into()));
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        assert_eq!(admit("d", port.clone(), false), Ok(()));
        assert_eq!(admit("e", port.clone(), false), Err("OutOfpods".into()));
        ledger.release("b");
        assert_eq!(admit("e", port, false), Err("NodePorts".into()));
    }
}
