//! Refuses nodes without room for what the pod requests, naming every resource that is short, and scores nodes by
//! how full they would be: emptiest first (the default), fullest first, or along a given curve. An extended resource
//! that the node does not have, and for which a DeviceClass stands, is left to DynamicResources.

use super::args::{NodeResourcesFitArgs, ResourceSpec, ScoringStrategyType, UtilizationShapePoint};
use crate::cache::{Counting, Gauge, NodeInfo, Resource, Snapshot};
use crate::devices::{Stock, stands_for};
use crate::framework::{
    Change, Filter, ForPod, Lack, MAX_NODE_SCORE, NodeCheck, NodeScore, Plugin, Reads, Reason, Scale, Score,
    Space, Subject, Verdict, Wakeup, check_doubtful,
};
use crate::pod::PodInfo;
use crate::related::Related;
use objects::resources::Resources;
use std::sync::atomic::{AtomicBool, Ordering};

/// Upstream's NodeResourcesFit.
#[derive(Debug)]
pub struct NodeResourcesFit {
    /// How nodes are scored.
    pub strategy: Strategy,
    /// Which resources count, and how much.
    pub resources: Vec<ScoredResource>,
    /// Extended resources that the filter leaves out: their names, and the parts of names before the `/`.
    pub ignored: Vec<String>,
    /// Whether classes ever stood for resources of a pod. A waiting pod is then not held back by extended resources
    /// that a node does not have.
    leaves_some: AtomicBool,
}

/// The scoring strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The emptiest node is best.
    LeastAllocated,
    /// The fullest node is best.
    MostAllocated,
    /// By (utilisation in percent, score 0..=10) points, in order of utilisation, straight lines between them.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// A resource in a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredResource {
    /// Which.
    pub resource: Resource,
    /// How much it counts.
    pub weight: i64,
}

impl ScoredResource {
    /// As configuration names them; CPU and memory, equally, if it names none.
    pub fn all(specs: &[ResourceSpec]) -> Vec<Self> {
        if specs.is_empty() {
            return [Resource::Cpu, Resource::Memory].map(|resource| Self { resource, weight: 1 }).into();
        }
        let one =
            |spec: &ResourceSpec| Self { resource: Resource::named(&spec.name), weight: spec.weight.max(1) };
        specs.iter().map(one).collect()
    }
}

impl NodeResourcesFit {
    /// The plugin with these arguments.
    pub fn new(args: &NodeResourcesFitArgs) -> Self {
        let scoring = &args.scoring_strategy;
        let strategy = match scoring.kind {
            ScoringStrategyType::LeastAllocated => Strategy::LeastAllocated,
            ScoringStrategyType::MostAllocated => Strategy::MostAllocated,
            ScoringStrategyType::RequestedToCapacityRatio => {
                let points = scoring.requested_to_capacity_ratio.iter().flat_map(|param| &param.shape);
                let point = |point: &UtilizationShapePoint| (point.utilization.into(), point.score.into());
                Strategy::RequestedToCapacityRatio(points.map(point).collect())
            }
        };
        Self {
            strategy,
            resources: ScoredResource::all(&scoring.resources),
            ignored: args.ignored_resources.iter().chain(&args.ignored_resource_groups).cloned().collect(),
            leaves_some: AtomicBool::new(false),
        }
    }

    fn ignores(&self, resource: &str) -> bool {
        let group = resource.split('/').next().unwrap_or(resource);
        is_extended(resource) && self.ignored.iter().any(|ignored| ignored == resource || ignored == group)
    }
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self::new(&NodeResourcesFitArgs::default())
    }
}

/// Resources of a domain other than Kubernetes' own.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/")
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[
            Wakeup::PodRemoved,
            Wakeup::PodScaledDown,
            Wakeup::OwnScaledDown,
            Wakeup::NodeAdded,
            Wakeup::NodeAllocatable,
            Wakeup::DeviceClassAdded,
            Wakeup::DeviceClassUpdated,
        ]
    }

    fn helps(&self, pod: &PodInfo, change: &Change<'_>) -> bool {
        match change.subject {
            Subject::Node { now, .. } => self.may_fit(pod, now),
            Subject::Pod(_) => change.at.is_none_or(|node| self.may_fit(pod, node)),
            Subject::Related(Related::DeviceClass(class)) => {
                pod.requests.scalars.keys().any(|resource| stands_for(class, resource))
            }
            _ => true,
        }
    }

    fn reads(&self) -> Reads {
        Reads::Node
    }

    fn lacks(&self, pod: &PodInfo, kind: Wakeup) -> Lack {
        match kind {
            Wakeup::DeviceClassAdded | Wakeup::DeviceClassUpdated if pod.requests.scalars.is_empty() => {
                Lack::OneOf(Vec::new())
            }
            Wakeup::DeviceClassAdded | Wakeup::DeviceClassUpdated => Lack::Anything,
            _ => Lack::Space(Space::needed_by(pod)),
        }
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl NodeResourcesFit {
    /// Whether the pod fits the node as it is, or would if pods of less priority were evicted from it.
    fn may_fit(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let leaves_some = self.leaves_some.load(Ordering::Relaxed);
        let left = pod.requests.scalars.keys().filter(|_| leaves_some).map(String::as_str).collect();
        let check = Check { plugin: self, pod, left };
        if check.check(node).fits() {
            return true;
        }
        let lower = || node.pods.iter().filter(|other| other.priority < pod.priority);
        if pod.never_preempts() || lower().next().is_none() {
            return false;
        }
        let mut used = node.requested.clone();
        lower().for_each(|other| used -= &other.requests);
        check.verdict(&used, &node.allocatable).fits()
    }
}

impl Filter for NodeResourcesFit {
    fn for_pod<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> ForPod<'a> {
        let left: Vec<&str> = cluster.devices().resources_of(pod).into_keys().collect();
        if !left.is_empty() {
            self.leaves_some.store(true, Ordering::Relaxed);
        }
        ForPod::check(Check { plugin: self, pod, left })
    }
}

#[derive(Debug)]
struct Check<'a> {
    plugin: &'a NodeResourcesFit,
    pod: &'a PodInfo,
    /// Resources that are left to classes where the node does not have them.
    left: Vec<&'a str>,
}

impl NodeCheck for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        self.verdict(&node.requested, &node.allocatable)
    }

    fn check_each(&self, cluster: &Snapshot, left: &mut Vec<u32>, refused: &mut Vec<(u32, Verdict)>) {
        let shown = Gauge::shows_all_of(self.pod);
        check_doubtful(self, cluster, |gauge| !shown || !gauge.has_room_for(self.pod), left, refused);
    }
}

impl Check<'_> {
    fn verdict(&self, used: &Resources, room: &Resources) -> Verdict {
        let wanted = &self.pod.requests;
        let mut short = Shortage::default();
        if used.pods + 1 > room.pods {
            short.reasons.push("Too many pods".into());
        }
        short.ask("Insufficient cpu", wanted.milli_cpu, used.milli_cpu, room.milli_cpu);
        short.ask("Insufficient memory", wanted.memory, used.memory, room.memory);
        short.ask("Insufficient ephemeral-storage", wanted.ephemeral, used.ephemeral, room.ephemeral);
        for (name, wanted) in &wanted.scalars {
            let amount = |of: &Resources| of.scalars.get(name).copied().unwrap_or(0);
            let (used, room) = (amount(used), amount(room));
            if room <= 0 && self.left.contains(&name.as_str()) {
                continue;
            }
            if *wanted > 0 && *wanted > room - used && !self.plugin.ignores(name) {
                short.note(format!("Insufficient {name}").into(), *wanted > room);
            }
        }
        short.verdict()
    }
}

#[derive(Default)]
struct Shortage {
    reasons: Vec<Reason>,
    /// The pod asks for more than the node has in all: no eviction helps.
    hopeless: bool,
}

impl Shortage {
    fn ask(&mut self, reason: &'static str, wanted: i64, used: i64, room: i64) {
        if wanted > 0 && wanted > room - used {
            self.note(reason.into(), wanted > room);
        }
    }

    fn note(&mut self, reason: Reason, hopeless: bool) {
        self.reasons.push(reason);
        self.hopeless |= hopeless;
    }

    fn verdict(self) -> Verdict {
        match (self.reasons.is_empty(), self.hopeless) {
            (true, _) => Verdict::Fits,
            (false, true) => Verdict::Never(self.reasons.into()),
            (false, false) => Verdict::Later(self.reasons.into()),
        }
    }
}

impl Score for NodeResourcesFit {
    fn scale(&self) -> Scale {
        Scale::AsIs
    }

    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let scored = self.resources.iter().map(|scored| &scored.resource);
        Some(Box::new(Fullness { plugin: self, pod, stock: Stock::for_pod(cluster.devices(), pod, scored) }))
    }
}

#[derive(Debug)]
struct Fullness<'a> {
    plugin: &'a NodeResourcesFit,
    pod: &'a PodInfo,
    stock: Option<Stock<'a>>,
}

impl NodeScore for Fullness<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = (0, 0);
        for ScoredResource { resource, weight } in &self.plugin.resources {
            let by_class = || self.stock.as_ref()?.with_pod(resource, self.pod, node);
            let counted = node.with_pod(resource, self.pod, Counting::NonZero).or_else(by_class);
            if let Some((room, used)) = counted {
                self.add(&mut sum, *weight, room, used);
            }
        }
        self.mean(sum)
    }

    fn score_each(&self, cluster: &Snapshot, places: &[u32], scores: &mut Vec<i64>) {
        if !Gauge::shows_all_of(self.pod) {
            return scores.extend(places.iter().map(|at| self.score(&cluster.nodes()[*at as usize])));
        }
        let mut sums = vec![(0, 0); places.len()];
        for ScoredResource { resource, weight } in &self.plugin.resources {
            let add = |at: usize, room, used| self.add(&mut sums[at], *weight, room, used);
            Gauge::each_with_pod(cluster.gauges(), places, resource, self.pod, Counting::NonZero, add);
        }
        scores.extend(sums.into_iter().map(|sum| self.mean(sum)));
    }
}

impl Fullness<'_> {
    /// Adds the score of one resource to (the sum of scores, the sum of weights) of a node.
    #[inline]
    fn add(&self, (sum, weights): &mut (i64, i64), weight: i64, room: i64, used: i64) {
        let score = match &self.plugin.strategy {
            Strategy::LeastAllocated if used > room => 0,
            Strategy::LeastAllocated => (room - used) * MAX_NODE_SCORE / room,
            Strategy::MostAllocated => used.min(room) * MAX_NODE_SCORE / room,
            Strategy::RequestedToCapacityRatio(shape) => {
                let utilisation = if used > room { 100 } else { used * 100 / room };
                // Upstream leaves resources without a score out of the mean.
                match along(shape, utilisation) {
                    0 => return,
                    score => score,
                }
            }
        };
        *sum += score * weight;
        *weights += weight;
    }

    fn mean(&self, (sum, weights): (i64, i64)) -> i64 {
        match (&self.plugin.strategy, weights) {
            (_, 0) => 0,
            (Strategy::RequestedToCapacityRatio(_), _) => rounded_ratio(sum, weights),
            _ => sum / weights,
        }
    }
}

/// The score at `utilisation` on a broken line of (utilisation, score 0..=10) points, scaled to 0..=100.
fn along(shape: &[(i64, i64)], utilisation: i64) -> i64 {
    const SCALE: i64 = MAX_NODE_SCORE / 10;
    let after = shape.iter().position(|(at, _)| utilisation <= *at);
    match (after, shape) {
        (_, []) => 0,
        (Some(0), [(_, first), ..]) => first * SCALE,
        (None, [.., (_, last)]) => last * SCALE,
        (Some(after), _) => {
            let ((x0, y0), (x1, y1)) = (shape[after - 1], shape[after]);
            y0 * SCALE + (y1 - y0) * SCALE * (utilisation - x0) / (x1 - x0)
        }
    }
}

/// `sum / weights`, halves rounded away from zero; both are non-negative.
fn rounded_ratio(sum: i64, weights: i64) -> i64 {
    (2 * sum + weights) / (2 * weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{
        ask, ask_in, cluster_of, node, node_with, pod, requesting, scores, scores_in,
    };
    use serde_json::json;

    fn room(cpu: &str, memory: &str, pods: u32) -> serde_json::Value {
        json!({"status": {"allocatable": {"cpu": cpu, "memory": memory, "ephemeral-storage": "20Gi", "pods": pods.to_string(), "example.com/gpu": "2"}}})
    }

    #[test]
    fn what_a_class_stands_for_is_left_to_it_where_the_node_has_none() {
        let class = json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
        let other = json!({"kind": "DeviceClass", "metadata": {"name": "nic"}, "spec": {"extendedResourceName": "example.com/nic"}});
        let pod = requesting("p", json!({"example.com/gpu": "3"}));
        let by_name = requesting("p", json!({"deviceclass.resource.kubernetes.io/nic": "1"}));
        let with = || node("with", room("4", "8Gi", 10));
        let without = || {
            node("without", json!({"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}}))
        };
        let none = json!({"status": {"allocatable": {"cpu": "4", "pods": "10", "example.com/gpu": "0"}}});
        let never = |name: &str| Verdict::Never(vec![Reason::from(format!("Insufficient {name}"))].into());
        let gpu = || never("example.com/gpu");
        for (name, pod, node, objects, want) in [
            ("a class stands for it", &pod, without(), vec![class.clone()], Verdict::Fits),
            ("the node says that it has none", &pod, node("none", none), vec![class.clone()], Verdict::Fits),
            ("the node has too few of its own", &pod, with(), vec![class.clone()], gpu()),
            ("no class", &pod, without(), vec![], gpu()),
            ("a class for another", &pod, without(), vec![other.clone()], gpu()),
            ("by the name of the class", &by_name, without(), vec![other], Verdict::Fits),
            (
                "of an unknown class",
                &by_name,
                without(),
                vec![class.clone()],
                never("deviceclass.resource.kubernetes.io/nic"),
            ),
        ] {
            let plugin = NodeResourcesFit::default();
            let cluster = cluster_of([node], &objects);
            assert_eq!(ask_in(&plugin, pod, &cluster.nodes()[0], &cluster), want, "{name}");
        }
        let wakes = |pod: &PodInfo, class: &serde_json::Value| {
            let class = Related::from_json(class.clone()).unwrap().unwrap();
            NodeResourcesFit::default()
                .helps(pod, &Change::new(Wakeup::DeviceClassAdded, Subject::Related(&class)))
        };
        assert!(wakes(&pod, &class));
        assert!(!wakes(&by_name, &class));
        // A node that could run the pod with devices of a class wakes it, though it has none of the resource.
        let plugin = NodeResourcesFit::default();
        let free = without();
        let change = Change::new(Wakeup::NodeAdded, Subject::Node { now: &free, before: None });
        assert!(!plugin.helps(&pod, &change));
        let cluster = cluster_of([without()], &[class]);
        ask_in(&plugin, &pod, &cluster.nodes()[0], &cluster);
        assert!(plugin.helps(&pod, &change));
    }

    #[test]
    fn devices_of_a_class_count_in_the_score() {
        let resource = "example.com/gpu";
        let args: NodeResourcesFitArgs = serde_json::from_value(
            json!({"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": resource, "weight": 1}]}}),
        )
        .unwrap();
        let slice = |node: &str, count: usize| {
            let devices: Vec<_> = (0..count).map(|at| json!({"name": format!("d{at}")})).collect();
            json!({"kind": "ResourceSlice", "apiVersion": "resource.k8s.io/v1", "metadata": {"name": node},
                "spec": {"driver": "gpu", "nodeName": node, "devices": devices,
                    "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}}})
        };
        let taken = json!({"kind": "ResourceClaim", "apiVersion": "resource.k8s.io/v1", "spec": {},
            "metadata": {"name": "x", "namespace": "default"}, "status": {"allocation": {"devices": {"results":
                [{"request": "r", "driver": "gpu", "pool": "b", "device": "d0"}]}}}});
        let class = |selector: &str| {
            json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": resource,
                "selectors": [{"cel": {"expression": selector}}]}})
        };
        let own = node("c", json!({"status": {"allocatable": {resource: "10"}}}));
        let nodes = || [node("a", json!({})), node("b", json!({})), own.clone(), node("d", json!({}))];
        let pod = requesting("p", json!({resource: "1"}));
        for (selector, want) in
            [("device.driver == 'gpu'", [25, 50, 10, 0]), ("device.driver == 'nic'", [0, 0, 10, 0])]
        {
            let objects = [class(selector), slice("a", 4), slice("b", 4), taken.clone()];
            let cluster = cluster_of(nodes(), &objects);
            assert_eq!(scores_in(&NodeResourcesFit::new(&args), &pod, &cluster), want, "{selector}");
        }
    }

    #[test]
    fn filter_table() {
        let later = |reasons: &[&'static str]| {
            Verdict::Later(reasons.iter().map(|text| Reason::from(*text)).collect::<Vec<_>>().into())
        };
        let never = |reason: &'static str| Verdict::Never(reason.into());
        for (name, wanted, pods, want) in [
            ("fits", json!({"cpu": "1", "memory": "1Gi"}), 10, Verdict::Fits),
            ("exactly", json!({"cpu": "2", "memory": "2Gi"}), 10, Verdict::Fits),
            ("cpu short", json!({"cpu": "2001m"}), 10, later(&["Insufficient cpu"])),
            (
                "both short",
                json!({"cpu": "3", "memory": "3Gi"}),
                10,
                later(&["Insufficient cpu", "Insufficient memory"]),
            ),
            ("more than there is", json!({"cpu": "5"}), 10, never("Insufficient cpu")),
            ("nothing asked", json!({}), 10, Verdict::Fits),
            ("too many pods", json!({}), 1, later(&["Too many pods"])),
            (
                "too many pods and no cpu",
                json!({"cpu": "3"}),
                1,
                later(&["Too many pods", "Insufficient cpu"]),
            ),
            ("disk", json!({"ephemeral-storage": "21Gi"}), 10, never("Insufficient ephemeral-storage")),
            ("extended", json!({"example.com/gpu": "1"}), 10, Verdict::Fits),
            ("extended short", json!({"example.com/gpu": "2"}), 10, later(&["Insufficient example.com/gpu"])),
            (
                "unknown extended",
                json!({"example.com/fpga": "1"}),
                10,
                never("Insufficient example.com/fpga"),
            ),
        ] {
            let old = requesting("old", json!({"cpu": "2", "memory": "2Gi", "example.com/gpu": "1"}));
            let node = node_with("n", room("4", "4Gi", pods), [old]);
            assert_eq!(ask(&NodeResourcesFit::default(), &requesting("p", wanted), &node), want, "{name}");
        }
    }

    #[test]
    fn ignored_resources_are_not_asked_for() {
        let fits = |args: serde_json::Value, resource: &str| {
            let plugin = NodeResourcesFit::new(&serde_json::from_value(args).unwrap());
            ask(&plugin, &requesting("p", json!({resource: "9"})), &node("n", room("4", "4Gi", 10))).fits()
        };
        for (name, args, resource, want) in [
            ("nothing ignored", json!({}), "example.com/gpu", false),
            ("by name", json!({"ignoredResources": ["example.com/gpu"]}), "example.com/gpu", true),
            ("another name", json!({"ignoredResources": ["example.com/fpga"]}), "example.com/gpu", false),
            ("by group", json!({"ignoredResourceGroups": ["example.com"]}), "example.com/gpu", true),
            ("another group", json!({"ignoredResourceGroups": ["example.org"]}), "example.com/gpu", false),
            ("only extended ones", json!({"ignoredResources": ["hugepages-2Mi"]}), "hugepages-2Mi", false),
        ] {
            assert_eq!(fits(args, resource), want, "{name}");
        }
    }

    #[test]
    fn arguments_choose_strategy_and_resources() {
        let plugin = |strategy| {
            NodeResourcesFit::new(&serde_json::from_value(json!({"scoringStrategy": strategy})).unwrap())
        };
        let wanted = requesting("p", json!({"cpu": "1", "memory": "1Gi", "example.com/gpu": "1"}));
        let nodes = [node("n", room("4", "10Gi", 10))];
        for (name, strategy, want) in [
            ("least, cpu alone", json!({"resources": [{"name": "cpu"}]}), 75),
            (
                "least, weighted",
                json!({"resources": [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]}),
                78,
            ),
            ("most", json!({"type": "MostAllocated"}), 17),
            (
                "most, an extended resource",
                json!({"type": "MostAllocated", "resources": [{"name": "example.com/gpu"}]}),
                50,
            ),
            (
                "curve",
                json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio":
                {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}}),
                18,
            ),
        ] {
            assert_eq!(scores(&plugin(strategy), &wanted, &nodes), [want], "{name}");
        }
    }

    #[test]
    fn least_and_most_allocated() {
        let nodes = || {
            vec![
                node_with(
                    "half",
                    room("4", "10Gi", 10),
                    [requesting("old", json!({"cpu": "1", "memory": "4Gi"}))],
                ),
                node("empty", room("4", "10Gi", 10)),
            ]
        };
        let wanted = requesting("p", json!({"cpu": "1", "memory": "1Gi"}));
        let with = |strategy| NodeResourcesFit { strategy, ..NodeResourcesFit::default() };
        // half: cpu 2/4, memory 5/10; empty: cpu 1/4, memory 1/10.
        assert_eq!(scores(&with(Strategy::LeastAllocated), &wanted, &nodes()), [50, 82]);
        assert_eq!(scores(&with(Strategy::MostAllocated), &wanted, &nodes()), [50, 17]);
        // Pods without requests count 100m and 200Mi: 100m of 4, 200Mi of 10Gi.
        let idle = pod("idle", json!({"containers": [{"name": "c"}]}));
        assert_eq!(scores(&with(Strategy::LeastAllocated), &idle, &nodes()[1..]), [97]);
    }

    #[test]
    fn requested_to_capacity_ratio() {
        let shape = vec![(0, 10), (100, 0)];
        assert_eq!([0, 25, 50, 100, 120].map(|at| along(&shape, at)), [100, 75, 50, 0, 0]);
        let shape = vec![(0, 0), (40, 8), (100, 10)];
        assert_eq!([0, 20, 40, 70, 100].map(|at| along(&shape, at)), [0, 40, 80, 90, 100]);
        let plugin = NodeResourcesFit {
            strategy: Strategy::RequestedToCapacityRatio(shape),
            ..NodeResourcesFit::default()
        };
        // cpu 1/4 = 25 % -> 50, memory 1/10 -> 20; mean 35.
        let wanted = requesting("p", json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(scores(&plugin, &wanted, &[node("n", room("4", "10Gi", 10))]), [35]);
        assert_eq!([rounded_ratio(1, 2), rounded_ratio(3, 2), rounded_ratio(1, 3)], [1, 2, 0]);
    }

    #[test]
    fn a_node_helps_when_the_pod_fits_it() {
        let wanted = requesting("p", json!({"cpu": "2"}));
        for (cpu, helps) in [("1", false), ("2", true)] {
            let now = node("n", room(cpu, "1Gi", 10));
            let change = Change::new(Wakeup::NodeAdded, Subject::Node { now: &now, before: None });
            assert_eq!(NodeResourcesFit::default().helps(&wanted, &change), helps);
        }
    }
}
