//! What the server counts about itself, under upstream's names.

use std::fmt;

use ::http::{Method, StatusCode};
use component::metrics::{Counters, Gauge, Histograms, Registry};
use tokio::time::Instant;

use crate::http::route::{Target, Verb};

/// Upper bounds of request durations in seconds (apiserver `pkg/endpoints/metrics`), thinned out.
const DURATIONS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// The server's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters,
    durations: Histograms,
    /// Changes and reads in flight: made once, they are counted at every request.
    mutating: Gauge,
    reading: Gauge,
}

/// A request being counted.
pub(crate) struct Measured {
    metrics: Metrics,
    began: Instant,
    labels: Vec<(&'static str, String)>,
    in_flight: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn new(registry: Registry) -> Self {
        let in_flight = registry.gauges("apiserver_current_inflight_requests", "Requests being worked on");
        let of = |kind: &str| in_flight.get_or_create(&vec![("request_kind", kind.to_owned())]).clone();
        Self {
            mutating: of("mutating"),
            reading: of("readOnly"),
            requests: registry
                .counters("apiserver_request_total", "Requests by what they were for and how they ended"),
            durations: registry.histograms(
                "apiserver_request_duration_seconds",
                "Seconds until the answer began, without watches",
                DURATIONS,
            ),
            registry,
        }
    }

    /// Starts counting a request.
    pub(crate) fn begin(&self, target: &Target, method: &Method) -> Measured {
        let labels = match target {
            Target::Resource(path) => vec![
                ("verb", verb(path.verb).to_owned()),
                ("group", path.group.clone()),
                ("version", path.version.clone()),
                ("resource", path.resource.clone()),
                ("subresource", path.subresource.clone()),
                ("scope", scope(path.name.is_empty(), path.namespace.is_empty()).to_owned()),
                ("component", "apiserver".to_owned()),
            ],
            Target::Path(_) => vec![("verb", method.to_string()), ("component", "apiserver".to_owned())],
        };
        let writes = matches!(target, Target::Resource(path) if path.verb.writes());
        let in_flight = if writes { &self.mutating } else { &self.reading };
        in_flight.inc();
        Measured { metrics: self.clone(), began: Instant::now(), labels, in_flight: in_flight.clone() }
    }

    /// Where they are shown.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The exposition text.
    pub(crate) fn encode(&self) -> String {
        self.registry.encode()
    }
}

impl Measured {
    /// The answer has begun.
    pub(crate) fn end(mut self, code: StatusCode) {
        let labels = std::mem::take(&mut self.labels);
        if labels.first().is_some_and(|(_, verb)| verb != "WATCH") {
            self.metrics.durations.get_or_create(&labels).observe(self.began.elapsed().as_secs_f64());
        }
        let mut labels = labels;
        labels.push(("code", code.as_u16().to_string()));
        self.metrics.requests.get_or_create(&labels).inc();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Upstream names verbs by their method here.
fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Unknown => "other",
    }
}

fn scope(collection: bool, cluster: bool) -> &'static str {
    match (collection, cluster) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}
