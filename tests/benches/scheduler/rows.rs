//! The rows of the benchmark: which pods on which nodes, and what upstream makes of the same.
//!
//! Shapes and gates: kubernetes `test/integration/scheduler_perf/*/performance-config.yaml`; a gate is the least
//! throughput its CI accepts, on machines with more cores than ours. The measured figures are upstream's scheduler
//! with its client limits lifted, beside its own API server and etcd, on a machine of 2 cores.

use crate::objects::{GANG_SIZE, Shape};

/// One workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// What it is called, without the number of nodes.
    pub name: &'static str,
    /// Nodes in the plain run.
    pub nodes: usize,
    /// Zones the nodes are dealt to in turn.
    pub zones: &'static [&'static str],
    /// Pods that are there before: a shape and how many; at another number of nodes as many for each node.
    pub init: &'static [(Shape, usize)],
    /// Whether the pods before stand in a hundred namespaces, and not in one.
    pub many_namespaces: bool,
    /// Shape and number of the pods that are measured.
    pub measured: (Shape, usize),
    /// Pods that come beside them, one every 200 ms.
    pub churn: Option<Shape>,
    /// What must hold of the measured pods' places.
    pub rule: Rule,
    /// Upstream's gate, pods/s.
    pub gate: Option<u32>,
    /// Upstream's throughput on a machine of this size, pods/s.
    pub upstream: Option<u32>,
    /// Whether the store keeps its log on disk and waits for it.
    pub on_disk: bool,
    /// Whether the row is also run at other numbers of nodes.
    pub grows: bool,
}

/// What must hold of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Each has a node that has room.
    Room,
    /// And the zones differ by at most this many pods.
    Skew(usize),
    /// And no node has two.
    Apart,
    /// And all are in one zone.
    Together,
    /// And all are on the named node.
    Named,
}

const PLAIN: Row = Row {
    name: "",
    nodes: 5000,
    zones: &[],
    init: &[],
    many_namespaces: false,
    measured: (Shape::Plain, 10_000),
    churn: None,
    rule: Rule::Room,
    gate: None,
    upstream: None,
    on_disk: false,
    grows: true,
};
const MOONS: &[&str] = &["moon-1", "moon-2", "moon-3"];
const ZONE: &[&str] = &["zone1"];

/// All of them, in the order in which they run.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "basic 10k pods",
        init: &[(Shape::Plain, 1000)],
        gate: Some(680),
        upstream: Some(190),
        ..PLAIN
    },
    Row {
        name: "basic 10k pods, on disk",
        init: &[(Shape::Plain, 1000)],
        gate: Some(680),
        upstream: Some(190),
        on_disk: true,
        grows: false,
        ..PLAIN
    },
    Row {
        name: "basic 50k pods",
        init: &[(Shape::Plain, 5000)],
        measured: (Shape::Plain, 50_000),
        gate: Some(810),
        upstream: Some(190),
        grows: false,
        ..PLAIN
    },
    Row {
        name: "spreading, required",
        zones: MOONS,
        init: &[(Shape::Plain, 5000)],
        measured: (Shape::Spread(true), 5000),
        rule: Rule::Skew(5),
        gate: Some(460),
        upstream: Some(76),
        ..PLAIN
    },
    Row {
        name: "spreading, preferred",
        zones: MOONS,
        init: &[(Shape::Plain, 5000)],
        measured: (Shape::Spread(false), 5000),
        gate: Some(340),
        ..PLAIN
    },
    Row {
        name: "spreading, default",
        zones: MOONS,
        init: &[(Shape::Plain, 5000)],
        measured: (Shape::OfService, 50_000),
        gate: Some(160),
        ..PLAIN
    },
    Row {
        name: "node affinity",
        zones: ZONE,
        init: &[(Shape::NodeAffinity, 5000)],
        measured: (Shape::NodeAffinity, 10_000),
        gate: Some(220),
        ..PLAIN
    },
    Row {
        name: "pod affinity",
        zones: ZONE,
        init: &[(Shape::Affinity, 5000)],
        measured: (Shape::Affinity, 5000),
        rule: Rule::Together,
        gate: Some(35),
        upstream: Some(77),
        ..PLAIN
    },
    Row {
        name: "pod anti-affinity",
        init: &[(Shape::AntiAffinity, 1000)],
        measured: (Shape::AntiAffinity, 2000),
        rule: Rule::Apart,
        gate: Some(60),
        upstream: Some(77),
        ..PLAIN
    },
    Row {
        name: "preferred pod affinity",
        init: &[(Shape::PreferredAffinity, 5000)],
        measured: (Shape::PreferredAffinity, 5000),
        gate: Some(90),
        ..PLAIN
    },
    Row {
        name: "preferred pod anti-affinity",
        init: &[(Shape::PreferredAntiAffinity, 5000)],
        measured: (Shape::PreferredAntiAffinity, 5000),
        gate: Some(90),
        ..PLAIN
    },
    Row {
        name: "anti-affinity with namespace selector",
        nodes: 6000,
        init: &[(Shape::AntiAffinityOfTeam, 4000)],
        many_namespaces: true,
        measured: (Shape::AntiAffinityOfTeam, 2000),
        rule: Rule::Apart,
        gate: Some(24),
        ..PLAIN
    },
    Row {
        name: "mixed",
        zones: ZONE,
        init: &[
            (Shape::Plain, 2000),
            (Shape::Affinity, 2000),
            (Shape::AntiAffinity, 2000),
            (Shape::PreferredAffinity, 2000),
            (Shape::PreferredAntiAffinity, 2000),
        ],
        measured: (Shape::Plain, 5000),
        gate: Some(140),
        ..PLAIN
    },
    Row {
        name: "preemption",
        init: &[(Shape::Low, 20_000)],
        measured: (Shape::Plain, 5000),
        churn: Some(Shape::Preemptor),
        gate: Some(570),
        ..PLAIN
    },
    Row {
        name: "unschedulable",
        init: &[(Shape::Plain, 100)],
        churn: Some(Shape::Impossible),
        gate: Some(590),
        ..PLAIN
    },
    Row {
        name: "daemonset",
        nodes: 15_000,
        measured: (Shape::Daemon, 30_000),
        rule: Rule::Named,
        gate: Some(1100),
        ..PLAIN
    },
    Row { name: "gangs of 3", measured: (Shape::Gang, 6000), ..PLAIN },
];

impl Row {
    /// Pods that are there before at this number of nodes.
    pub(crate) fn init(&self, nodes: usize) -> impl Iterator<Item = (Shape, usize)> {
        self.init.iter().map(move |(shape, count)| (*shape, (count * nodes / self.nodes).max(1)))
    }

    /// The pods that are measured: as many as asked for at the row's own number of nodes, at others at most `most`
    /// and not more than fit.
    pub(crate) fn measured(&self, nodes: usize, most: usize) -> usize {
        let (shape, count) = self.measured;
        let fits = match shape {
            Shape::AntiAffinity | Shape::AntiAffinityOfTeam => count * nodes / self.nodes,
            Shape::Plain if self.churn == Some(Shape::Preemptor) => count * nodes / self.nodes,
            _ => count,
        };
        let measured = fits.min(most);
        // A gang that lacks a pod would wait for ever.
        if shape == Shape::Gang { measured - measured % GANG_SIZE } else { measured }
    }

    /// The shape in a sentence.
    pub(crate) fn shape(&self, nodes: usize, measured: usize) -> String {
        let mut text = format!("{measured} pods ({})", described(self.measured.0));
        for (at, (shape, count)) in self.init(nodes).enumerate() {
            text += if at == 0 { "; before them " } else { ", " };
            text += &format!("{count} ({})", described(shape));
        }
        if self.many_namespaces {
            text += " in 100 namespaces";
        }
        if let Some(shape) = self.churn {
            text += &format!("; 5/s beside them ({})", described(shape));
        }
        match self.zones.len() {
            0 => {}
            1 => text += "; 1 zone",
            zones => text += &format!("; {zones} zones"),
        }
        text
    }
}

fn described(shape: Shape) -> &'static str {
    match shape {
        Shape::Plain => "100m, 500Mi",
        Shape::Spread(true) => "zone skew <= 5 required",
        Shape::Spread(false) => "zone skew <= 5 preferred",
        Shape::OfService => "of a Service, no requests",
        Shape::NodeAffinity => "zone in 2 values",
        Shape::Affinity => "required affinity to its like, zone",
        Shape::AntiAffinity => "required anti-affinity to its like, hostname",
        Shape::PreferredAffinity => "preferred affinity to its like, hostname",
        Shape::PreferredAntiAffinity => "preferred anti-affinity to its like, hostname",
        Shape::AntiAffinityOfTeam => "required anti-affinity, hostname, namespaces by label",
        Shape::Low => "900m, priority 0",
        Shape::Preemptor => "3 CPUs, priority 10, evicts 3",
        Shape::Impossible => "9 CPUs, priority 10, fits nowhere",
        Shape::Daemon => "names one node by field, no requests",
        Shape::Gang => "100m, 100Mi, PodGroup of 3",
    }
}
