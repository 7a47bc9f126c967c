//! What the requests to the API server do: how many are under way or wait, how they end, how long they take.

use super::plugins::{Code, PluginMetrics, Point};
use component::metrics::{Counters, Gauges, Histograms, Registry, exponential_buckets};
use std::time::Duration;

/// A kind of request, under upstream's name of its asynchronous calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// POST of a binding.
    Binding,
    /// PATCH of a pod's status.
    StatusPatch,
}

impl Call {
    fn label(self) -> &'static str {
        match self {
            Self::Binding => "pod_binding",
            Self::StatusPatch => "pod_status_patch",
        }
    }
}

/// What is counted and measured of writes. Clones share it.
#[derive(Clone, Debug)]
pub struct WriteMetrics {
    plugins: PluginMetrics,
    calls: Counters,
    call_seconds: Histograms,
    pending: Gauges,
    running: Gauges,
    evictions: Counters,
    eviction_seconds: Histograms,
    claims: Counters,
}

impl WriteMetrics {
    pub(super) fn new(registry: &Registry, plugins: PluginMetrics) -> Self {
        Self {
            plugins,
            calls: registry.counters(
                "scheduler_async_api_call_execution_total",
                "Total number of API calls executed by the async dispatcher",
            ),
            call_seconds: registry.histograms(
                "scheduler_async_api_call_execution_duration_seconds",
                "Duration in seconds for executing API call in the async dispatcher",
                exponential_buckets(0.001, 2.0, 15),
            ),
            pending: registry.gauges(
                "scheduler_pending_async_api_calls",
                "Number of API calls currently pending in the async queue",
            ),
            running: registry.gauges(
                "scheduler_goroutines",
                "Number of running tasks split by the work they do such as binding",
            ),
            evictions: registry.counters(
                "scheduler_preemption_goroutines_execution_total",
                "Number of preemption tasks executed, by whether all victims could be evicted",
            ),
            eviction_seconds: registry.histograms(
                "scheduler_preemption_goroutines_duration_seconds",
                "Duration in seconds for running tasks for the preemption, by whether all victims could be evicted",
                exponential_buckets(0.01, 2.0, 20),
            ),
            claims: registry.counters(
                "scheduler_resourceclaim_creates_total",
                "Number of ResourceClaims creation requests within scheduler",
            ),
        }
    }

    /// A request has ended.
    pub fn called(&self, call: Call, succeeded: bool, took: Duration) {
        let labels = vec![("call_type", call.label().to_owned()), ("result", result(succeeded))];
        self.calls.get_or_create(&labels).inc();
        self.call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An extension point that is a request, or several, has ended.
    pub fn point(&self, point: Point, profile: &str, succeeded: bool, took: Duration) {
        let code = if succeeded { Code::Success } else { Code::Error };
        self.plugins.point(point, code, profile, took.as_secs_f64());
    }

    /// A claim was to be made.
    pub fn claim_made(&self, succeeded: bool) {
        let status = if succeeded { "success" } else { "failure" };
        self.claims.get_or_create(&vec![("status", status.to_owned())]).inc();
    }

    /// All victims of a pod are evicted, or could not be.
    pub fn evicted(&self, succeeded: bool, took: Duration) {
        let labels = vec![("result", result(succeeded))];
        self.evictions.get_or_create(&labels).inc();
        self.eviction_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// So many binds and evictions are under way, and so many requests of each kind wait for their turn.
    pub fn under_way(&self, binding: usize, waiting: [(Call, usize); 2]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.get_or_create(&vec![("operation", "binding".to_owned())]).set(number(binding));
        for (call, count) in waiting {
            let labels = vec![("call_type", call.label().to_owned())];
            self.pending.get_or_create(&labels).set(number(count));
        }
    }
}

fn result(succeeded: bool) -> String {
    if succeeded { "success" } else { "error" }.to_owned()
}
