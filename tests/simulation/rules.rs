//! What must hold at every moment, whatever happens: read from a watch of all pods, event by event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use harness::cluster::TestCluster;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};

/// CPU that each pod of the runs requests, and that the harness's nodes have, in thousandths. Six pods fill a node, and
/// all that users may want fills all nodes: room that is given away twice shows at once.
pub(crate) const REQUEST_MILLI_CPU: i64 = 1300;
const ALLOCATABLE_MILLI_CPU: i64 = 8000;

/// Rules that were broken so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken(Arc<Mutex<Vec<String>>>);

impl Broken {
    pub(crate) fn never_broken(&self) {
        let broken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(broken.is_empty(), "rules were broken:\n{}", broken.join("\n"));
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// Watches the pods of a cluster, without faults, until it stops.
pub(crate) fn watch(cluster: &TestCluster) -> Broken {
    let broken = Broken::default();
    let noted = broken.clone();
    let pods = watcher::watcher(Api::<Pod>::all(cluster.client.clone()), watcher::Config::default());
    cluster.tasks.spawn_until_stopped("simulation rules", async move {
        let mut seen = Seen::default();
        let mut pods = pods.into_stream().boxed();
        while let Ok(Some(event)) = pods.try_next().await {
            match event {
                Event::Apply(pod) | Event::InitApply(pod) => seen.applied(pod, &noted),
                Event::Delete(pod) => _ = seen.pods.remove(&pod.name_any()),
                Event::Init => seen.pods.clear(),
                Event::InitDone => {}
            }
        }
    });
    broken
}

#[derive(Debug, Default)]
struct Seen {
    pods: BTreeMap<String, Pod>,
}

impl Seen {
    fn applied(&mut self, pod: Pod, broken: &Broken) {
        let name = pod.name_any();
        if let Some(before) = self.pods.get(&name).filter(|before| before.uid() == pod.uid()) {
            if node(before).is_some() && node(before) != node(&pod) {
                broken.note(format!("{name} moved from {:?} to {:?}", node(before), node(&pod)));
            }
            let (old, new) = (restarts(before), restarts(&pod));
            if new < old {
                broken.note(format!("{name}: restarts went from {old} back to {new}"));
            }
        }
        self.pods.insert(name, pod);
        self.no_node_is_overcommitted(broken);
    }

    fn no_node_is_overcommitted(&self, broken: &Broken) {
        let mut used = BTreeMap::<&str, i64>::new();
        for pod in self.pods.values().filter(|pod| !finished(pod)) {
            if let Some(node) = node(pod) {
                *used.entry(node).or_default() += REQUEST_MILLI_CPU;
            }
        }
        for (node, milli_cpu) in used.into_iter().filter(|(_, milli_cpu)| *milli_cpu > ALLOCATABLE_MILLI_CPU)
        {
            broken.note(format!("{node} has pods for {milli_cpu}m of {ALLOCATABLE_MILLI_CPU}m"));
        }
    }
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().map(|status| status.restart_count).sum()
}
