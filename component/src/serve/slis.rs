//! How often each health check passed and failed (KEP-3466): `/metrics/slis`, under upstream's names.
//!
//! Promise: counts what questions for a whole endpoint have found; a check that was excluded counts nothing.

use crate::metrics::{Counters, Gauges, Registry};

/// Where they are.
pub(super) const PATH: &str = "/metrics/slis";

/// The counts. Clones share them.
#[derive(Clone)]
pub(super) struct Slis {
    registry: Registry,
    last: Gauges,
    total: Counters,
}

impl Default for Slis {
    fn default() -> Self {
        let registry = Registry::new();
        let last = registry
            .gauges("kubernetes_healthcheck", "This metric records the result of a single healthcheck");
        let total = registry
            .counters("kubernetes_healthchecks_total", "This metric records the results of all healthcheck");
        Self { registry, last, total }
    }
}

impl Slis {
    /// A check of an endpoint has passed, or not.
    pub(super) fn saw(&self, endpoint: &str, check: &str, passed: bool) {
        let mut labels = vec![("name", check.to_owned()), ("type", endpoint.to_owned())];
        self.last.get_or_create(&labels).set(passed.into());
        let status = if passed { "success" } else { "error" };
        labels.insert(1, ("status", status.to_owned()));
        self.total.get_or_create(&labels).inc();
    }

    /// The page.
    pub(super) fn encode(&self) -> String {
        self.registry.encode()
    }
}
