//! Refuses nodes with NoSchedule or NoExecute taints that the pod does not tolerate, and prefers those with fewer
//! untolerated PreferNoSchedule taints.

use crate::cache::{Gauge, NodeInfo, Snapshot};
use crate::framework::{
    Change, Filter, ForPod, NodeCheck, NodeScore, Plugin, Reads, Scale, Score, Verdict, Wakeup,
    check_doubtful, normalise_by_max,
};
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Toleration;
use objects::taints;

/// Upstream's TaintToleration.
#[derive(Debug)]
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::NodeAdded, Wakeup::NodeTaints, Wakeup::OwnTolerations]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| Check { tolerations: pod.tolerations() }.check(node).fits())
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Filter for TaintToleration {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        ForPod::check(Check { tolerations: pod.tolerations() })
    }
}

#[derive(Debug)]
struct Check<'a> {
    tolerations: &'a [Toleration],
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        match taints::untolerated(node.taints(), self.tolerations, &[taints::NO_SCHEDULE, taints::NO_EXECUTE])
        {
            None => Verdict::Fits,
            Some(_) => Verdict::Never("node(s) had untolerated taint(s)".into()),
        }
    }

    fn check_each(&self, cluster: &Snapshot, left: &mut Vec<u32>, refused: &mut Vec<(u32, Verdict)>) {
        check_doubtful(self, cluster, Gauge::is_tainted, left, refused);
    }
}

impl Score for TaintToleration {
    fn scale(&self) -> Scale {
        Scale::ByMax { reverse: true }
    }

    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let soft = |toleration: &&Toleration| {
            matches!(toleration.effect.as_deref(), None | Some("" | taints::PREFER_NO_SCHEDULE))
        };
        Some(Box::new(Untolerated { tolerations: pod.tolerations().iter().filter(soft).collect() }))
    }
}

#[derive(Debug)]
struct Untolerated<'a> {
    tolerations: Vec<&'a Toleration>,
}

impl NodeScore for Untolerated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let untolerated = node.taints().iter().filter(|taint| {
            taint.effect == taints::PREFER_NO_SCHEDULE
                && !self.tolerations.iter().any(|toleration| taints::tolerates(toleration, taint))
        });
        i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
    }

    fn score_each(&self, cluster: &Snapshot, places: &[u32], scores: &mut Vec<i64>) {
        let (nodes, gauges) = (cluster.nodes(), cluster.gauges());
        let places = places.iter().map(|at| *at as usize);
        scores.extend(places.map(|at| if gauges[at].is_tainted() { self.score(&nodes[at]) } else { 0 }));
    }

    fn normalise(&self, scores: &mut [i64], _: &[&NodeInfo]) {
        normalise_by_max(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{ask, node, pod, scores};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn tainted(name: &str, taints: &Value) -> NodeInfo {
        node(name, json!({"spec": {"taints": taints}}))
    }

    fn tolerating(tolerations: &Value) -> Arc<PodInfo> {
        pod("p", json!({"tolerations": tolerations}))
    }

    #[test]
    fn filter_table() {
        let dedicated = |effect: &str| json!([{"key": "dedicated", "value": "user1", "effect": effect}]);
        let user1 = |effect: &str| json!([{"key": "dedicated", "operator": "Equal", "value": "user1", "effect": effect}]);
        for (name, tolerations, taints, fits) in [
            ("no toleration", json!([]), dedicated("NoSchedule"), false),
            ("no taint", json!([]), json!([]), true),
            ("equal", user1("NoSchedule"), dedicated("NoSchedule"), true),
            ("other effect", user1("PreferNoSchedule"), dedicated("NoSchedule"), false),
            ("any effect", user1(""), dedicated("NoSchedule"), true),
            ("evicting taint", json!([]), dedicated("NoExecute"), false),
            ("soft taint", json!([]), dedicated("PreferNoSchedule"), true),
            ("exists", json!([{"key": "dedicated", "operator": "Exists"}]), dedicated("NoSchedule"), true),
            ("everything", json!([{"operator": "Exists"}]), dedicated("NoExecute"), true),
            ("other value", json!([{"key": "dedicated", "value": "user2"}]), dedicated("NoSchedule"), false),
        ] {
            let verdict = ask(&TaintToleration, &tolerating(&tolerations), &tainted("n", &taints));
            let want =
                if fits { Verdict::Fits } else { Verdict::Never("node(s) had untolerated taint(s)".into()) };
            assert_eq!(verdict, want, "{name}");
        }
    }

    #[test]
    fn score_table() {
        let soft = |key: &str| json!({"key": key, "value": "v", "effect": "PreferNoSchedule"});
        let hard = json!({"key": "hard", "value": "v", "effect": "NoSchedule"});
        for (name, tolerations, nodes, want) in [
            (
                "tolerated first",
                json!([{"key": "a", "value": "v", "effect": "PreferNoSchedule"}]),
                vec![json!([soft("a")]), json!([soft("b")])],
                vec![100, 0],
            ),
            (
                "fewer is better",
                json!([]),
                vec![json!([]), json!([soft("a")]), json!([soft("a"), soft("b")])],
                vec![100, 50, 0],
            ),
            ("hard taints do not count", json!([]), vec![json!([]), json!([hard])], vec![100, 100]),
            (
                "a NoSchedule toleration is not for soft taints",
                json!([{"key": "a", "value": "v", "effect": "NoSchedule"}]),
                vec![json!([]), json!([soft("a")])],
                vec![100, 0],
            ),
        ] {
            let nodes: Vec<NodeInfo> = nodes.iter().map(|taints| tainted("n", taints)).collect();
            assert_eq!(scores(&TaintToleration, &tolerating(&tolerations), &nodes), want, "{name}");
        }
    }
}
