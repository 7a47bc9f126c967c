//! The scheduler's metrics, under upstream's names.

use crate::queue::{Counts, History, Move};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// From how many attempts on the `attempts` label says `15+`.
const MOST_ATTEMPTS: u32 = 15;

/// The metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    attempts: Family<ResultLabels, Counter>,
    attempt_seconds: Family<ResultLabels, Histogram>,
    algorithm_seconds: Histogram,
    sli_seconds: Family<AttemptsLabel, Histogram>,
    pod_attempts: Histogram,
    pending: Family<QueueLabel, Gauge>,
    incoming: Family<MoveLabels, Counter>,
    victims: Histogram,
    preemptions: Counter,
    cache_size: Family<TypeLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptsLabel {
    attempts: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MoveLabels {
    queue: &'static str,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

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

impl Default for Metrics {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            algorithm_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            sli_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 20))),
            pod_attempts: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending: Family::default(),
            incoming: Family::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            preemptions: Counter::default(),
            cache_size: Family::default(),
        }
    }
}

impl Metrics {
    /// Makes them appear in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("scheduler");
        registry.register(
            "schedule_attempts",
            "Number of attempts to schedule pods, by the result",
            self.attempts.clone(),
        );
        registry.register(
            "scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            self.attempt_seconds.clone(),
        );
        registry.register(
            "scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            self.algorithm_seconds.clone(),
        );
        registry.register(
            "pod_scheduling_sli_duration_seconds",
            "E2e latency for a pod being scheduled, from the time it could be tried first, over all its attempts",
            self.sli_seconds.clone(),
        );
        registry.register(
            "pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod",
            self.pod_attempts.clone(),
        );
        registry.register("pending_pods", "Number of pending pods, by the queue type", self.pending.clone());
        registry.register(
            "queue_incoming_pods",
            "Number of pods added to scheduling queues by event and queue type",
            self.incoming.clone(),
        );
        registry.register(
            "preemption_victims",
            "Number of selected preemption victims",
            self.victims.clone(),
        );
        registry.register(
            "preemption_attempts",
            "Total preemption attempts in the cluster till now",
            self.preemptions.clone(),
        );
        registry.register(
            "cache_size",
            "Number of nodes, pods, and assumed (bound) pods in the scheduler cache",
            self.cache_size.clone(),
        );
    }

    /// Starts the clock of one cycle; measures how long deciding takes.
    pub fn decide<T>(&self, cycle: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let decision = cycle();
        self.algorithm_seconds.observe(start.elapsed().as_secs_f64());
        decision
    }

    /// An attempt ended that began at `history.last_attempt`.
    pub fn attempted(&self, profile: &str, outcome: Outcome, history: History, now: Timestamp) {
        let labels = ResultLabels { result: outcome.label(), profile: profile.to_owned() };
        self.attempts.get_or_create(&labels).inc();
        self.attempt_seconds
            .get_or_create(&labels)
            .observe(seconds(now.duration_since(history.last_attempt)));
        if outcome == Outcome::Scheduled {
            self.pod_attempts.observe(f64::from(history.attempts));
            let attempts = match history.attempts {
                MOST_ATTEMPTS.. => format!("{MOST_ATTEMPTS}+"),
                attempts => attempts.to_string(),
            };
            let since = history.ready_since.unwrap_or(now);
            self.sli_seconds
                .get_or_create(&AttemptsLabel { attempts })
                .observe(seconds(now.duration_since(since)));
        }
    }

    /// Room was made by evicting this many pods.
    pub fn preempted(&self, victims: usize) {
        self.preemptions.inc();
        self.victims.observe(victims as f64);
    }

    /// Sets the gauges, and adds what moved since the last call. `sizes` is (nodes, pods, assumed pods).
    pub fn publish(&self, counts: Counts, moves: BTreeMap<Move, u64>, sizes: (usize, usize, usize)) {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        for (queue, count) in [
            ("active", counts.active),
            ("backoff", counts.backoff),
            ("unschedulable", counts.unschedulable),
            ("gated", counts.gated),
        ] {
            set(&self.pending.get_or_create(&QueueLabel { queue }), count);
        }
        for ((queue, event), count) in moves {
            self.incoming.get_or_create(&MoveLabels { queue, event }).inc_by(count);
        }
        for (r#type, count) in [("nodes", sizes.0), ("pods", sizes.1), ("assumed_pods", sizes.2)] {
            set(&self.cache_size.get_or_create(&TypeLabel { r#type }), count);
        }
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
        let metrics = Metrics::default();
        let start = Timestamp::UNIX_EPOCH;
        let history = History { attempts: 2, ready_since: Some(start), last_attempt: start };
        metrics.decide(|| ());
        metrics.attempted(
            "default-scheduler",
            Outcome::Scheduled,
            history,
            start + SignedDuration::from_secs(1),
        );
        metrics.preempted(3);
        let counts = Counts { active: 1, ..Counts::default() };
        metrics.publish(counts, BTreeMap::from([(("active", "PodAdd"), 4)]), (5, 6, 7));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"default-scheduler\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_sum{result=\"scheduled\",profile=\"default-scheduler\"} 1.0",
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"2\"} 1",
            "scheduler_pod_scheduling_attempts_sum 2.0",
            "scheduler_pending_pods{queue=\"active\"} 1",
            "scheduler_queue_incoming_pods_total{queue=\"active\",event=\"PodAdd\"} 4",
            "scheduler_preemption_victims_sum 3.0",
            "scheduler_preemption_attempts_total 1",
            "scheduler_cache_size{type=\"assumed_pods\"} 7",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
