//! How often plugins are asked, and how long they take.
//!
//! Promise: the clock is read in one of ten cycles (upstream samples plugins alike), and never for every node: what a
//! filter takes is measured on one node, what a score takes on all of them at once. Only plugins that are really asked
//! count: a decision of the engine asks none.

use crate::framework::Verdict;
use component::metrics::{Counter, Counters, Histograms, Registry, exponential_buckets};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Of so many cycles one is measured (upstream: pluginMetricsSamplePercent is 10).
const MEASURED_ONE_OF: u64 = 10;

/// An extension point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before a pod is queued.
    PreEnqueue,
    /// Once a pod, before nodes are looked at.
    PreFilter,
    /// For each node.
    Filter,
    /// When no node fits.
    PostFilter,
    /// Once a pod, before nodes are scored.
    PreScore,
    /// For each node that fits.
    Score,
    /// After the choice.
    Reserve,
    /// The same, taken back.
    Unreserve,
    /// Before the way to the bind.
    Permit,
    /// What is written before the bind.
    PreBind,
    /// The bind.
    Bind,
}

impl Point {
    fn label(self) -> &'static str {
        match self {
            Self::PreEnqueue => "PreEnqueue",
            Self::PreFilter => "PreFilter",
            Self::Filter => "Filter",
            Self::PostFilter => "PostFilter",
            Self::PreScore => "PreScore",
            Self::Score => "Score",
            Self::Reserve => "Reserve",
            Self::Unreserve => "Unreserve",
            Self::Permit => "Permit",
            Self::PreBind => "PreBind",
            Self::Bind => "Bind",
        }
    }
}

/// How it ended, as upstream writes its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing against it.
    Success,
    /// The plugin has nothing to say.
    Skip,
    /// Refused.
    Unschedulable,
    /// Refused, whatever other pods do.
    UnschedulableAndUnresolvable,
    /// Others have to come first.
    Wait,
    /// Something broke.
    Error,
}

impl Code {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Skip => "Skip",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Wait => "Wait",
            Self::Error => "Error",
        }
    }

    /// Of what a plugin said of a pod or node.
    pub fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Fits => Self::Success,
            Verdict::Later(_) => Self::Unschedulable,
            Verdict::Never(_) => Self::UnschedulableAndUnresolvable,
        }
    }

    /// Of what worked or did not.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Success } else { Self::Error }
    }
}

/// What is counted and measured of plugins. Clones share it.
#[derive(Clone, Debug)]
pub struct PluginMetrics {
    points: Histograms,
    executions: Histograms,
    evaluations: Counters,
    hints: Histograms,
    events: Histograms,
    /// Counters by plugin and point, with their profiles: looking one up by its labels costs more than what it counts.
    known: Arc<Mutex<Known>>,
    cycles: Arc<AtomicU64>,
    changes: Arc<AtomicU64>,
}

type Known = FxHashMap<(&'static str, Point), Vec<(String, Counter)>>;

impl PluginMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            points: registry.histograms(
                "scheduler_framework_extension_point_duration_seconds",
                "Latency for running all plugins of a specific extension point, in about a tenth of the cycles",
                exponential_buckets(0.0001, 2.0, 12),
            ),
            executions: registry.histograms(
                "scheduler_plugin_execution_duration_seconds",
                "Duration for running a plugin at a specific extension point, in about a tenth of the cycles",
                exponential_buckets(0.00001, 1.5, 20),
            ),
            evaluations: registry.counters(
                "scheduler_plugin_evaluation_total",
                "Number of attempts to schedule pods by each plugin and the extension point (available only in \
                 PreFilter, Filter, PreScore, and Score)",
            ),
            hints: registry.histograms(
                "scheduler_queueing_hint_execution_duration_seconds",
                "Latency for running a queueing hint function of a plugin, of about a tenth of the questions",
                exponential_buckets(0.00001, 1.5, 20),
            ),
            events: registry.histograms(
                "scheduler_event_handling_duration_seconds",
                "Event handling latency in seconds, of about a tenth of the events",
                exponential_buckets(0.0001, 2.0, 12),
            ),
            known: Arc::default(),
            cycles: Arc::default(),
            changes: Arc::default(),
        }
    }

    /// Watches one cycle.
    pub fn cycle<'m>(&'m self, profile: &'m str) -> Watch<'m> {
        let measures = its_turn(&self.cycles);
        Watch { metrics: Some(self), profile, measures }
    }

    /// One extension point took so long.
    pub(super) fn point(&self, point: Point, code: Code, profile: &str, seconds: f64) {
        let labels = vec![
            ("extension_point", point.label().to_owned()),
            ("status", code.label().to_owned()),
            ("profile", profile.to_owned()),
        ];
        self.points.get_or_create(&labels).observe(seconds);
    }

    /// Runs what a change in the cluster causes.
    pub fn event<T>(&self, event: &'static str, run: impl FnOnce() -> T) -> T {
        if !its_turn(&self.changes) {
            return run();
        }
        let (out, seconds) = timed(run);
        self.events.get_or_create(&vec![("event", event.to_owned())]).observe(seconds);
        out
    }

    /// Asks a plugin whether a change helps a pod.
    pub fn hint(&self, plugin: &'static str, event: &'static str, ask: impl FnOnce() -> bool) -> bool {
        if !its_turn(&self.changes) {
            return ask();
        }
        let (helps, seconds) = timed(ask);
        let hint = if helps { "Queue" } else { "QueueSkip" };
        let labels =
            vec![("plugin", plugin.to_owned()), ("event", event.to_owned()), ("hint", hint.to_owned())];
        self.hints.get_or_create(&labels).observe(seconds);
        helps
    }

    fn evaluated(&self, plugin: &'static str, point: Point, profile: &str, times: u64) {
        let mut known = self.known.lock();
        let of = known.entry((plugin, point)).or_default();
        let at = of.iter().position(|(name, _)| name == profile).unwrap_or_else(|| {
            let labels = vec![
                ("plugin", plugin.to_owned()),
                ("extension_point", point.label().to_owned()),
                ("profile", profile.to_owned()),
            ];
            of.push((profile.to_owned(), self.evaluations.get_or_create_owned(&labels)));
            of.len() - 1
        });
        of[at].1.inc_by(times);
    }
}

/// Watches one cycle: counts, and reads the clock if it is the turn of this cycle to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'m> {
    metrics: Option<&'m PluginMetrics>,
    profile: &'m str,
    measures: bool,
}

impl Watch<'_> {
    /// Watches nothing.
    pub const OFF: Watch<'static> = Watch { metrics: None, profile: "", measures: false };

    /// Whether this cycle is measured.
    pub fn measures(&self) -> bool {
        self.measures
    }

    /// Runs an extension point.
    pub fn point<T>(&self, point: Point, ended: impl FnOnce(&T) -> Code, run: impl FnOnce() -> T) -> T {
        let Some(metrics) = self.metrics.filter(|_| self.measures) else { return run() };
        let (out, seconds) = timed(run);
        metrics.point(point, ended(&out), self.profile, seconds);
        out
    }

    /// Runs a plugin at an extension point.
    pub fn plugin<T>(
        &self,
        plugin: &'static str,
        point: Point,
        ended: impl FnOnce(&T) -> Code,
        run: impl FnOnce() -> T,
    ) -> T {
        self.plugin_on(1, plugin, point, ended, run)
    }

    /// Runs a plugin for so many nodes; what is noted is its share for one.
    pub fn plugin_on<T>(
        &self,
        nodes: usize,
        plugin: &'static str,
        point: Point,
        ended: impl FnOnce(&T) -> Code,
        run: impl FnOnce() -> T,
    ) -> T {
        let Some(metrics) = self.metrics.filter(|_| self.measures) else { return run() };
        let (out, seconds) = timed(run);
        let labels = vec![
            ("plugin", plugin.to_owned()),
            ("extension_point", point.label().to_owned()),
            ("status", ended(&out).label().to_owned()),
        ];
        let nodes = f64::from(u32::try_from(nodes.max(1)).unwrap_or(u32::MAX));
        metrics.executions.get_or_create(&labels).observe(seconds / nodes);
        out
    }

    /// A plugin was asked so many times.
    pub fn evaluated(&self, plugin: &'static str, point: Point, times: usize) {
        if let Some(metrics) = self.metrics.filter(|_| times > 0) {
            metrics.evaluated(plugin, point, self.profile, times as u64);
        }
    }
}

/// Whether the next one is measured. Spread by the golden ratio, so that of things that come in turns none is left out.
fn its_turn(count: &AtomicU64) -> bool {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    count.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN) < u64::MAX / MEASURED_ONE_OF
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let out = run();
    (out, start.elapsed().as_secs_f64())
}
