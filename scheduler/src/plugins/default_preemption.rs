//! Makes room for a pod by evicting pods of lower priority, if the pod may do that at all.

use super::args::DefaultPreemptionArgs;
use crate::framework::{Plugin, Preempt, Verdict};
use crate::preempt::{Attempt, Limit, Room, Rooms, curable};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// Upstream's DefaultPreemption.
#[derive(Debug, Default)]
pub struct DefaultPreemption {
    /// `None`: every node is looked at.
    least: Option<Least>,
}

/// The candidates that are enough: the greater of the two.
#[derive(Clone, Copy, Debug)]
struct Least {
    /// Percent of the nodes that eviction may help.
    share: usize,
    candidates: usize,
}

impl DefaultPreemption {
    /// The plugin with these arguments, which are valid.
    pub fn new(args: &DefaultPreemptionArgs) -> Self {
        let number = |given: Option<i32>| given.and_then(|given| usize::try_from(given).ok());
        let (share, candidates) =
            (number(args.min_candidate_nodes_percentage), number(args.min_candidate_nodes_absolute));
        let least = Least { share: share.unwrap_or(0), candidates: candidates.unwrap_or(0) };
        Self { least: (share.is_some() || candidates.is_some()).then_some(least) }
    }

    /// Where the search ends; `None`: at the last node.
    fn limit(&self, attempt: &Attempt<'_>) -> Option<Limit> {
        let Least { share, candidates } = self.least?;
        let nodes = curable(attempt.failure).count();
        let enough = (nodes * share / 100).max(candidates);
        if enough >= nodes {
            return None;
        }
        // Upstream draws it. From pod to pod and from try to try another one will do, and can be repeated.
        let mut hasher = FxHasher::default();
        (&attempt.pod.uid, attempt.now).hash(&mut hasher);
        let start = usize::try_from(hasher.finish() % nodes as u64).unwrap_or(0);
        Some(Limit { enough, start })
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn preempt(&self) -> Option<&dyn Preempt> {
        Some(self)
    }
}

impl Preempt for DefaultPreemption {
    fn make_room(&self, attempt: &Attempt<'_>, rooms: &dyn Rooms) -> Room {
        if attempt.pod.never_preempts() {
            let why = "not eligible due to preemptionPolicy=Never.".to_owned();
            return Room::None { why, promise_is_void: false, refused_by: Vec::new() };
        }
        if waits_for_victims(attempt) {
            let why = "not eligible due to a terminating pod on the nominated node.".to_owned();
            return Room::None { why, promise_is_void: false, refused_by: Vec::new() };
        }
        rooms.find(attempt, self.limit(attempt))
    }
}

/// True while victims of an earlier attempt are on their way out of a node that is still worth waiting for.
fn waits_for_victims(attempt: &Attempt<'_>) -> bool {
    let cluster = attempt.cluster;
    let Some(node) = cluster.promised_to(&attempt.pod.uid).and_then(|name| cluster.node(name)) else {
        return false;
    };
    let place = cluster.position(&node.name);
    let mut told = attempt.failure.rejections.iter();
    let hopeless = told.any(|(at, _, verdict)| Some(at) == place && matches!(verdict, Verdict::Never(_)));
    !hopeless && node.pods.iter().any(|pod| pod.priority < attempt.pod.priority && pod.is_preempted())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Rejection};
    use crate::framework::Profile;
    use crate::plugins::fixtures::{node_with, pod, pod_from};
    use crate::pod::PodInfo;
    use crate::preempt::Afresh;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// Who goes for a pod that takes the whole of the only node, where `there` is; or why nobody does.
    fn asked(
        wanted: &Value,
        there: Arc<PodInfo>,
        promised: bool,
        verdict: Verdict,
    ) -> Result<Vec<String>, String> {
        let room = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}});
        let mut cluster = crate::plugins::fixtures::cluster([node_with("n", room, [there])]);
        let mut spec =
            json!({"priority": 10, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        spec.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        let pod = pod("p", spec);
        if promised {
            cluster.nominate(&pod, "n".into());
        }
        let profile = Profile::new("default-scheduler", crate::plugins::defaults());
        let failure =
            Failure::no_fit(1, vec![Rejection { node: 0, plugin: "NodeResourcesFit", verdict }], vec![]);
        let attempt = Attempt {
            pod: &pod,
            profile: &profile,
            cluster: &cluster,
            failure: &failure,
            budgets: &[],
            now: Timestamp::UNIX_EPOCH,
        };
        match DefaultPreemption::default().make_room(&attempt, &Afresh) {
            Room::Made { victims, .. } => Ok(victims.iter().map(|pod| pod.name().to_owned()).collect()),
            Room::None { why, .. } => Err(why),
        }
    }

    fn running(priority: i32, metadata: Value, status: Value) -> Arc<PodInfo> {
        let mut metadata = metadata;
        metadata["name"] = json!("old");
        let spec = json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        pod_from(json!({"metadata": metadata, "spec": spec, "status": status}))
    }

    #[test]
    fn who_may_preempt_whom() {
        let later = || Verdict::Later("Insufficient cpu".into());
        let never = || Verdict::Never("node(s) were unschedulable".into());
        let plain = |priority| running(priority, json!({}), json!({}));
        let going = |reason: &str| {
            running(
                0,
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]}),
            )
        };
        let nothing = |why: &str| Err(format!("0/1 nodes are available: 1 {why}."));
        for (name, wanted, there, promised, verdict, want) in [
            ("a less important pod goes", json!({}), plain(0), false, later(), Ok(vec!["old".to_owned()])),
            (
                "none is less important",
                json!({}),
                plain(10),
                false,
                later(),
                nothing("No preemption victims found for incoming pod"),
            ),
            (
                "eviction does not help",
                json!({}),
                plain(0),
                false,
                never(),
                nothing("Preemption is not helpful for scheduling"),
            ),
            (
                "a pod that never preempts",
                json!({"preemptionPolicy": "Never"}),
                plain(0),
                false,
                later(),
                Err("not eligible due to preemptionPolicy=Never.".to_owned()),
            ),
            (
                "its victim is on its way out",
                json!({}),
                going("PreemptionByScheduler"),
                true,
                later(),
                Err("not eligible due to a terminating pod on the nominated node.".to_owned()),
            ),
            (
                "a pod that goes for another reason",
                json!({}),
                going("EvictionByEvictionAPI"),
                true,
                later(),
                Ok(vec!["old".to_owned()]),
            ),
            (
                "the promised node is of no use any more",
                json!({}),
                going("PreemptionByScheduler"),
                true,
                never(),
                nothing("Preemption is not helpful for scheduling"),
            ),
        ] {
            assert_eq!(asked(&wanted, there, promised, verdict), want, "{name}");
        }
    }
}
