//! The metrics of a process.
//!
//! Promise: names are upstream's, written in full as dashboards know them (`workqueue_adds_total`); the text is
//! OpenMetrics, which Prometheus asks for first. A thin cover over `prometheus-client`, whose types are handed out.

mod process;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry;

/// The type of [`Registry::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of one series, in the order in which they are written.
pub type Labels = Vec<(&'static str, String)>;

/// Counters that differ in their labels.
pub type Counters = Family<Labels, Counter>;

/// Gauges that differ in their labels.
pub type Gauges = Family<Labels, Gauge>;

/// Histograms that differ in their labels; all have the same buckets.
pub type Histograms = Family<Labels, Histogram, Buckets>;

/// Makes the histograms of a family.
#[derive(Clone, Debug)]
pub struct Buckets(Arc<[f64]>);

impl prometheus_client::metrics::family::MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// All metrics of a process. Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Mutex<registry::Registry>>,
}

impl Registry {
    /// A registry without metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that also shows the CPU time, memory and files of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let registry = Self::new();
        registry.inner.lock().register_collector(Box::new(process::Process));
        registry
    }

    /// A counter; the name ends with `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// Counters with labels; the name ends with `_total`.
    pub fn counters(&self, name: &str, help: &str) -> Counters {
        self.register(name, help, Counters::default())
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// Gauges with labels.
    pub fn gauges(&self, name: &str, help: &str) -> Gauges {
        self.register(name, help, Gauges::default())
    }

    /// A gauge whose value is asked for at each scrape.
    pub fn computed(
        &self,
        name: &str,
        help: &str,
        labels: Labels,
        value: impl Fn() -> i64 + Send + Sync + 'static,
    ) {
        self.register(name, help, Computed { labels, value: Arc::new(value) });
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histogram {
        self.register(name, help, Histogram::new(buckets))
    }

    /// Histograms with labels and these upper bounds.
    pub fn histograms(&self, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histograms {
        let buckets = Buckets(buckets.into_iter().collect());
        self.register(name, help, Histograms::new_with_constructor(buckets))
    }

    /// Any metric of `prometheus-client`. It appends `_total` to the names of counters itself, and a full stop to
    /// the help.
    pub fn register<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: Clone + registry::Metric,
    {
        let (name, help) = (name.trim_end_matches("_total"), help.trim_end_matches('.'));
        self.inner.lock().register(name, help, metric.clone());
        metric
    }

    /// Everything, as text of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.inner.lock())
            .expect("writing to a string does not fail");
        text
    }
}

#[derive(Clone)]
struct Computed {
    labels: Labels,
    value: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl EncodeMetric for Computed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let value = (self.value)();
        if self.labels.is_empty() {
            return encoder.encode_gauge(&value);
        }
        encoder.encode_family(&self.labels)?.encode_gauge(&value)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_shows_itself() {
        let text = Registry::of_process().encode();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("is shown");
            line.trim().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") > 2.0);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
    }

    #[test]
    fn names_are_written_in_full() {
        let registry = Registry::new();
        registry
            .counters("queue_adds_total", "Keys added.")
            .get_or_create(&vec![("name", "pods".into())])
            .inc();
        registry.gauge("queue_depth", "Keys that wait").set(3);
        registry.computed("leads", "Whether", vec![("name", "x".into())], || 7);
        registry.histogram("seconds", "Time", [1.0, 2.0]).observe(1.5);
        let text = registry.encode();
        assert!(text.contains("queue_adds_total{name=\"pods\"} 1\n"), "{text}");
        assert!(text.contains("# HELP queue_adds Keys added.\n"), "{text}");
        assert!(text.contains("leads{name=\"x\"} 7\n"), "{text}");
        assert!(text.contains("queue_depth 3\n"), "{text}");
        assert!(text.contains("seconds_bucket{le=\"2.0\"} 1\n"), "{text}");
    }
}
