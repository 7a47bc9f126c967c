//! What queues count, under client-go's names.

use std::collections::BTreeMap;
use std::fmt;

use tokio::time::Instant;

use super::queue::Item;
use crate::metrics::{
    Counter, Counters, Gauge, Gauges, Histogram, Histograms, Registry, exponential_buckets,
};

/// The metrics of all queues of a process. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    depth: Gauges,
    adds: Counters,
    retries: Counters,
    waits: Histograms,
    passes: Histograms,
}

impl Metrics {
    /// Registers the metrics; once a registry.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let buckets = || exponential_buckets(1e-8, 10.0, 12);
        Self {
            depth: registry.gauges("workqueue_depth", "Current depth of workqueue"),
            adds: registry.counters("workqueue_adds_total", "Total number of adds handled by workqueue"),
            retries: registry
                .counters("workqueue_retries_total", "Total number of retries handled by workqueue"),
            waits: registry.histograms(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
                buckets(),
            ),
            passes: registry.histograms(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes",
                buckets(),
            ),
        }
    }
}

/// The metrics of one queue.
pub(super) struct Measured<T> {
    depth: Gauge,
    adds: Counter,
    retries: Counter,
    waits: Histogram,
    passes: Histogram,
    /// Since when a key waits or is worked on.
    since: BTreeMap<T, Instant>,
}

impl<T: Item> Measured<T> {
    pub(super) fn new(name: &'static str, metrics: &Metrics) -> Self {
        let labels = vec![("name", name.to_owned())];
        Self {
            depth: metrics.depth.get_or_create_owned(&labels),
            adds: metrics.adds.get_or_create_owned(&labels),
            retries: metrics.retries.get_or_create_owned(&labels),
            waits: metrics.waits.get_or_create_owned(&labels),
            passes: metrics.passes.get_or_create_owned(&labels),
            since: BTreeMap::new(),
        }
    }

    pub(super) fn added(&mut self, key: &T, depth: usize) {
        self.adds.inc();
        self.set_depth(depth);
        self.since.entry(key.clone()).or_insert_with(Instant::now);
    }

    pub(super) fn taken(&mut self, key: &T, depth: usize) {
        self.set_depth(depth);
        if let Some(since) = self.since.insert(key.clone(), Instant::now()) {
            self.waits.observe(since.elapsed().as_secs_f64());
        }
    }

    pub(super) fn done(&mut self, key: &T) {
        if let Some(since) = self.since.remove(key) {
            self.passes.observe(since.elapsed().as_secs_f64());
        }
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    fn set_depth(&self, depth: usize) {
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }
}

impl<T> fmt::Debug for Measured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}
