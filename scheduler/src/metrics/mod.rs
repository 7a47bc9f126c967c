//! The scheduler's metrics, under upstream's names.

mod plugins;
pub mod resources;
mod writes;

pub use plugins::{Code, PluginMetrics, Point, Watch};
pub use writes::{Call, WriteMetrics};

use crate::queue::{Blamed, Counts, History, Move};
use component::metrics::{Counter, Counters, Gauges, Histogram, Histograms, Registry, exponential_buckets};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// From this many attempts on the `attempts` label says `15+`.
const MOST_ATTEMPTS: u32 = 15;

/// The metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    attempts: Counters,
    attempt_seconds: Histograms,
    algorithm_seconds: Histogram,
    sli_seconds: Histograms,
    pod_attempts: Histogram,
    pending: Gauges,
    incoming: Counters,
    victims: Histogram,
    preemptions: Counter,
    cache_size: Gauges,
    unschedulable: Gauges,
    after_flush: Counter,
    permit_seconds: Histograms,
    /// Of plugins.
    pub plugins: PluginMetrics,
    /// Of requests.
    pub writes: WriteMetrics,
    told: Option<Told>,
}

/// Is told how long each decision took.
#[derive(Clone)]
struct Told(Arc<dyn Fn(Duration) + Send + Sync>);

/// How an attempt to place a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod is bound.
    Scheduled,
    /// No node fits.
    Unschedulable,
    /// Something broke.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

impl Metrics {
    /// The metrics of a scheduler, in a registry.
    pub fn new(registry: &Registry) -> Self {
        let milliseconds = || exponential_buckets(0.001, 2.0, 15);
        let plugins = PluginMetrics::new(registry);
        Self {
            attempts: registry.counters(
                "scheduler_schedule_attempts_total",
                "Number of attempts to schedule pods, by the result",
            ),
            attempt_seconds: registry.histograms(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                milliseconds(),
            ),
            algorithm_seconds: registry.histogram(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Scheduling algorithm latency in seconds",
                milliseconds(),
            ),
            sli_seconds: registry.histograms(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "E2e latency for a pod being scheduled, from the time it could first be tried, over all attempts",
                exponential_buckets(0.01, 2.0, 20),
            ),
            pod_attempts: registry.histogram(
                "scheduler_pod_scheduling_attempts",
                "Number of attempts to successfully schedule a pod",
                exponential_buckets(1.0, 2.0, 5),
            ),
            pending: registry.gauges("scheduler_pending_pods", "Number of pending pods, by the queue type"),
            incoming: registry.counters(
                "scheduler_queue_incoming_pods_total",
                "Number of pods added to scheduling queues by event and queue type",
            ),
            victims: registry.histogram(
                "scheduler_preemption_victims",
                "Number of selected preemption victims",
                exponential_buckets(1.0, 2.0, 7),
            ),
            preemptions: registry.counter(
                "scheduler_preemption_attempts_total",
                "Total preemption attempts in the cluster till now",
            ),
            cache_size: registry.gauges(
                "scheduler_cache_size",
                "Number of nodes, pods, and assumed (bound) pods in the scheduler cache",
            ),
            unschedulable: registry.gauges(
                "scheduler_unschedulable_pods",
                "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all \
                 plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin",
            ),
            after_flush: registry.counter(
                "scheduler_pod_scheduled_after_flush_total",
                "Number of pods that were successfully scheduled after being tried again only because they had waited \
                 long enough",
            ),
            permit_seconds: registry.histograms(
                "scheduler_permit_wait_duration_seconds",
                "Duration of waiting on permit",
                milliseconds(),
            ),
            writes: WriteMetrics::new(registry, plugins.clone()),
            plugins,
            told: None,
        }
    }

    /// The same, telling how long each decision took: upstream's buckets begin at a millisecond, which is too coarse
    /// for a benchmark.
    #[must_use]
    pub fn telling(self, told: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { told: Some(Told(Arc::new(told))), ..self }
    }

    /// Measures how long a decision takes.
    pub fn decide<T>(&self, cycle: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let decision = cycle();
        let took = start.elapsed();
        self.algorithm_seconds.observe(took.as_secs_f64());
        if let Some(Told(told)) = &self.told {
            told(took);
        }
        decision
    }

    /// An attempt ended that began at `history.last_attempt`.
    pub fn attempted(&self, profile: &str, outcome: Outcome, history: History, now: Timestamp) {
        let labels = vec![("result", outcome.label().to_owned()), ("profile", profile.to_owned())];
        self.attempts.get_or_create(&labels).inc();
        self.attempt_seconds
            .get_or_create(&labels)
            .observe(seconds(now.duration_since(history.last_attempt)));
        if outcome == Outcome::Scheduled {
            self.pod_attempts.observe(f64::from(history.attempts));
            if history.flushed {
                self.after_flush.inc();
            }
            let attempts = match history.attempts {
                MOST_ATTEMPTS.. => format!("{MOST_ATTEMPTS}+"),
                attempts => attempts.to_string(),
            };
            let since = history.ready_since.unwrap_or(now);
            self.sli_seconds
                .get_or_create(&vec![("attempts", attempts)])
                .observe(seconds(now.duration_since(since)));
        }
    }

    /// It was looked whether room can be made for a pod.
    pub fn tried_to_preempt(&self) {
        self.preemptions.inc();
    }

    /// Room was made by evicting this many pods.
    pub fn preempted(&self, victims: usize) {
        self.victims.observe(f64::from(u32::try_from(victims).unwrap_or(u32::MAX)));
    }

    /// A pod that had to wait for others waits no more.
    pub fn permitted(&self, code: Code, waited: SignedDuration) {
        let labels = vec![("result", code.label().to_owned())];
        self.permit_seconds.get_or_create(&labels).observe(seconds(waited));
    }

    /// How many pods wait because of which plugin, where that has changed.
    pub fn blame(&self, blamed: Vec<Blamed>) {
        for (profile, plugin, pods) in blamed {
            let labels = vec![("plugin", plugin.to_owned()), ("profile", profile)];
            self.unschedulable.get_or_create(&labels).set(pods);
        }
    }

    /// Sets the gauges, and adds what moved since the last call. `sizes` is (nodes, pods, assumed pods).
    pub fn publish(&self, counts: Counts, moves: BTreeMap<Move, u64>, sizes: (usize, usize, usize)) {
        let set = |gauges: &Gauges, label: &'static str, value: &'static str, count: usize| {
            let gauge = gauges.get_or_create(&vec![(label, value.to_owned())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.pending, "queue", "active", counts.active);
        set(&self.pending, "queue", "backoff", counts.backoff);
        set(&self.pending, "queue", "unschedulable", counts.unschedulable);
        set(&self.pending, "queue", "gated", counts.gated);
        set(&self.cache_size, "type", "nodes", sizes.0);
        set(&self.cache_size, "type", "pods", sizes.1);
        set(&self.cache_size, "type", "assumed_pods", sizes.2);
        for ((queue, event), count) in moves {
            let labels = vec![("queue", queue.to_owned()), ("event", event.to_owned())];
            self.incoming.get_or_create(&labels).inc_by(count);
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

fn seconds(duration: SignedDuration) -> f64 {
    duration.as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shows_upstreams_names() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let start = Timestamp::UNIX_EPOCH;
        let history = History { attempts: 2, ready_since: Some(start), last_attempt: start, flushed: true };
        metrics.decide(|| ());
        let end = start + SignedDuration::from_secs(1);
        metrics.attempted("default-scheduler", Outcome::Scheduled, history, end);
        metrics.tried_to_preempt();
        metrics.preempted(3);
        let counts = Counts { active: 1, ..Counts::default() };
        metrics.publish(counts, BTreeMap::from([(("active", "UnschedulablePodAdd"), 4)]), (5, 6, 7));
        metrics.permitted(Code::Unschedulable, SignedDuration::from_secs(3));
        metrics.blame(vec![("default-scheduler".to_owned(), "NodePorts", 8)]);
        metrics.writes.called(Call::Binding, true, Duration::from_secs(2));
        metrics.writes.point(Point::Bind, "default-scheduler", false, Duration::from_secs(2));
        metrics.writes.evicted(true, Duration::from_secs(2));
        metrics.writes.claim_made(true);
        metrics.writes.under_way(9, [(Call::Binding, 10), (Call::StatusPatch, 11)]);
        let text = registry.encode();
        for line in [
            "scheduler_unschedulable_pods{plugin=\"NodePorts\",profile=\"default-scheduler\"} 8",
            "scheduler_pod_scheduled_after_flush_total 1",
            "scheduler_permit_wait_duration_seconds_sum{result=\"Unschedulable\"} 3.0",
            "scheduler_async_api_call_execution_total{call_type=\"pod_binding\",result=\"success\"} 1",
            "scheduler_async_api_call_execution_duration_seconds_sum{call_type=\"pod_binding\",result=\"success\"} 2.0",
            "scheduler_framework_extension_point_duration_seconds_sum{extension_point=\"Bind\",status=\"Error\",profile=\"default-scheduler\"} 2.0",
            "scheduler_preemption_goroutines_execution_total{result=\"success\"} 1",
            "scheduler_preemption_goroutines_duration_seconds_sum{result=\"success\"} 2.0",
            "scheduler_goroutines{operation=\"binding\"} 9",
            "scheduler_resourceclaim_creates_total{status=\"success\"} 1",
            "scheduler_pending_async_api_calls{call_type=\"pod_status_patch\"} 11",
            "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"default-scheduler\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_sum{result=\"scheduled\",profile=\"default-scheduler\"} 1.0",
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"2\"} 1",
            "scheduler_pod_scheduling_attempts_sum 2.0",
            "scheduler_pending_pods{queue=\"active\"} 1",
            "scheduler_queue_incoming_pods_total{queue=\"active\",event=\"UnschedulablePodAdd\"} 4",
            "scheduler_preemption_victims_sum 3.0",
            "scheduler_preemption_attempts_total 1",
            "scheduler_cache_size{type=\"assumed_pods\"} 7",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_tenth_of_the_cycles_is_measured() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        for _ in 0..30 {
            let watch = metrics.plugins.cycle("p");
            let code = |fits: &bool| if *fits { Code::Success } else { Code::Unschedulable };
            let fits = watch.point(Point::Filter, code, || {
                watch.evaluated("NodePorts", Point::Filter, 5);
                watch.plugin_on(5, "NodePorts", Point::Filter, code, || false)
            });
            assert!(!fits);
            assert!(metrics.plugins.hint("NodePorts", "AssignedPodDelete", || true));
        }
        let text = registry.encode();
        for line in [
            "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"Filter\",status=\"Unschedulable\",profile=\"p\"} 4",
            "scheduler_plugin_execution_duration_seconds_count{plugin=\"NodePorts\",extension_point=\"Filter\",status=\"Unschedulable\"} 4",
            "scheduler_plugin_evaluation_total{plugin=\"NodePorts\",extension_point=\"Filter\",profile=\"p\"} 150",
            "scheduler_queueing_hint_execution_duration_seconds_count{plugin=\"NodePorts\",event=\"AssignedPodDelete\",hint=\"Queue\"} 4",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert_eq!(Watch::OFF.point(Point::Score, |_: &u8| Code::Success, || 7), 7);
        // Of two that come in turns each is measured.
        let turns: Vec<bool> = (0..100).map(|_| metrics.plugins.cycle("p").measures()).collect();
        let measured =
            |first: usize| turns.iter().skip(first).step_by(2).filter(|measures| **measures).count();
        assert!((4..=7).contains(&measured(0)) && (4..=7).contains(&measured(1)), "{turns:?}");
    }
}
