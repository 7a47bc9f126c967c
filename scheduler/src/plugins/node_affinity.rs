//! Admits the nodes that `nodeSelector` and the required node affinity terms name, and prefers those that the
//! preferred terms name. A pod bound to nodes by `metadata.name` (a DaemonSet's) is checked on those only.

use super::args::NodeAffinityArgs;
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    Atom, Change, Filter, ForPod, Lack, NodeCheck, NodeScore, Plugin, Reads, Scale, Score, Verdict, Wakeup,
    normalise_by_max,
};
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1 as core;
use objects::affinity;

/// Upstream's NodeAffinity.
#[derive(Debug, Default)]
pub struct NodeAffinity {
    /// Holds for every pod of the profile, besides its own affinity.
    pub added: Option<core::Affinity>,
}

impl NodeAffinity {
    /// The plugin with these arguments.
    pub fn new(args: &NodeAffinityArgs) -> Self {
        let added = args.added_affinity.clone();
        let affinity = |node| core::Affinity { node_affinity: Some(node), ..core::Affinity::default() };
        Self { added: added.map(affinity) }
    }

    /// True when the profile lets its pods run on this node.
    fn admits(&self, node: &NodeInfo) -> bool {
        let required = affinity::required(self.added.as_ref());
        required.is_none_or(|selector| affinity::selector_matches(selector, &node.node.metadata))
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::NodeAdded, Wakeup::NodeLabels]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| Check { plugin: self, pod }.check(node).fits())
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn lacks(&self, pod: &PodInfo, _: Wakeup) -> Lack {
        // The node needs all of these labels, so it can be found by any one of them.
        let wanted = pod.spec().node_selector.iter().next();
        wanted.map_or(Lack::Anything, |(key, value)| Lack::OneOf(vec![Atom::node_label(key, value)]))
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Filter for NodeAffinity {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> ForPod<'a> {
        let affinity = pod.spec().affinity.as_deref();
        let added = affinity::required(self.added.as_ref());
        if added.is_none() && pod.spec().node_selector.is_empty() && affinity::required(affinity).is_none() {
            return ForPod::Nothing;
        }
        match affinity::named_nodes(affinity) {
            Some(names) if names.is_empty() => {
                ForPod::Refuse(Verdict::Never("pod affinity terms conflict".into()))
            }
            only => ForPod::Check { check: Box::new(Check { plugin: self, pod }), only },
        }
    }
}

#[derive(Debug)]
struct Check<'a> {
    plugin: &'a NodeAffinity,
    pod: &'a PodInfo,
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.plugin.admits(node) {
            return Verdict::Never("node(s) didn't match scheduler-enforced node affinity".into());
        }
        if affinity::required_matches(self.pod.spec(), &node.node.metadata) {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) didn't match Pod's node affinity/selector".into())
    }
}

impl Score for NodeAffinity {
    fn scale(&self) -> Scale {
        Scale::ByMax { reverse: false }
    }

    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let affinities = [self.added.as_ref(), pod.spec().affinity.as_deref()];
        let wishes = affinities.iter().any(|affinity| !affinity::preferred(*affinity).is_empty());
        wishes.then(|| Box::new(Preferred { affinities }) as Box<dyn NodeScore + 'a>)
    }
}

#[derive(Debug)]
struct Preferred<'a> {
    /// The profile's and the pod's.
    affinities: [Option<&'a core::Affinity>; 2],
}

impl NodeScore for Preferred<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.affinities
            .iter()
            .map(|affinity| affinity::preferred_weight(*affinity, &node.node.metadata))
            .sum()
    }

    fn normalise(&self, scores: &mut [i64], _: &[&NodeInfo]) {
        normalise_by_max(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Subject;
    use crate::plugins::fixtures::{ask, cluster, node, pod, scores};
    use serde_json::{Value, json};

    fn required(terms: &Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    fn labelled(name: &str, labels: Value) -> NodeInfo {
        node(name, json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn filter_table() {
        let node = labelled("n1", json!({"zone": "a", "cores": "8"}));
        let named = |names: &[&str]| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]});
        for (name, spec, fits) in [
            ("nothing asked", json!({}), true),
            ("selector", json!({"nodeSelector": {"zone": "a"}}), true),
            ("selector, other value", json!({"nodeSelector": {"zone": "b"}}), false),
            ("in", required(&json!([expression("zone", "In", &["a", "b"])])), true),
            ("not in", required(&json!([expression("zone", "NotIn", &["a"])])), false),
            ("exists", required(&json!([expression("disk", "Exists", &[])])), false),
            ("does not exist", required(&json!([expression("disk", "DoesNotExist", &[])])), true),
            ("greater", required(&json!([expression("cores", "Gt", &["4"])])), true),
            ("less", required(&json!([expression("cores", "Lt", &["4"])])), false),
            (
                "terms are alternatives",
                required(&json!([expression("zone", "In", &["b"]), expression("zone", "In", &["a"])])),
                true,
            ),
            ("an empty term matches nothing", required(&json!([{}])), false),
            ("no term", required(&json!([])), false),
            ("by name", required(&json!([named(&["n1"])])), true),
            ("by other name", required(&json!([named(&["n2"])])), false),
            ("conflicting names", required(&json!([named(&[])])), false),
        ] {
            assert_eq!(ask(&NodeAffinity::default(), &pod("p", spec), &node).fits(), fits, "{name}");
        }
    }

    #[test]
    fn a_pod_bound_to_names_asks_only_those() {
        let names =
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1", "n2"]}]}]);
        let (pod, cluster) = (pod("p", required(&names)), cluster([]));
        match Filter::for_pod(&NodeAffinity::default(), &pod, &cluster) {
            ForPod::Check { only, .. } => assert_eq!(only, Some(vec!["n1", "n2"])),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn score_table() {
        let wish = |weight: i32, key: &str, value: &str| json!({"weight": weight, "preference": expression(key, "In", &[value])});
        let pod = pod(
            "p",
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                [wish(2, "zone", "a"), wish(4, "disk", "ssd"), wish(5, "zone", "b")]}}}),
        );
        let nodes = [
            labelled("both", json!({"zone": "a", "disk": "ssd"})),
            labelled("zone", json!({"zone": "b"})),
            labelled("none", json!({})),
        ];
        // 6, 5, 0 scaled by the greatest.
        assert_eq!(scores(&NodeAffinity::default(), &pod, &nodes), [100, 83, 0]);
    }

    #[test]
    fn the_profile_adds_its_own_affinity() {
        let args = json!({"addedAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression("zone", "In", &["a"])]},
            "preferredDuringSchedulingIgnoredDuringExecution":
                [{"weight": 3, "preference": expression("disk", "In", &["ssd"])}],
        }});
        let plugin = NodeAffinity::new(&serde_json::from_value(args).unwrap());
        let never = |reason: &'static str| Verdict::Never(reason.into());
        for (name, spec, zone, want) in [
            ("a pod that asks nothing", json!({}), "a", Verdict::Fits),
            (
                "which the profile keeps out",
                json!({}),
                "b",
                never("node(s) didn't match scheduler-enforced node affinity"),
            ),
            ("both hold", json!({"nodeSelector": {"zone": "a"}}), "a", Verdict::Fits),
            (
                "only the profile's holds",
                json!({"nodeSelector": {"zone": "b"}}),
                "a",
                never("node(s) didn't match Pod's node affinity/selector"),
            ),
            (
                "only the pod's holds",
                json!({"nodeSelector": {"zone": "b"}}),
                "b",
                never("node(s) didn't match scheduler-enforced node affinity"),
            ),
        ] {
            assert_eq!(ask(&plugin, &pod("p", spec), &labelled("n", json!({"zone": zone}))), want, "{name}");
        }
        let wish = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 1, "preference": expression("zone", "In", &["a"])}]}}});
        let nodes = [labelled("x", json!({"disk": "ssd"})), labelled("y", json!({"zone": "a"}))];
        assert_eq!(scores(&plugin, &pod("p", wish), &nodes), [100, 33], "the weights of both add up");
    }

    #[test]
    fn a_node_helps_when_it_matches() {
        let pod = pod("p", json!({"nodeSelector": {"zone": "a"}}));
        for (zone, helps) in [("a", true), ("b", false)] {
            let now = labelled("n", json!({"zone": zone}));
            let change = Change::new(Wakeup::NodeLabels, Subject::Node { now: &now, before: None });
            assert_eq!(NodeAffinity::default().helps(&pod, &change), helps);
        }
    }
}
