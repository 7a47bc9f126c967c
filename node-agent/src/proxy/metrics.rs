//! What a proxy counts, under kube-proxy's names.

use std::time::Duration;

use component::metrics::{Counter, Gauge, Histogram, Registry, exponential_buckets};

/// Counters and histograms of one proxy.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) sync: Histogram,
    pub(super) full_sync: Histogram,
    pub(super) partial_sync: Histogram,
    pub(super) network_programming: Histogram,
    pub(super) failures: Counter,
    pub(super) last_sync: Gauge,
    pub(super) last_queued: Gauge,
    pub(super) endpoint_changes: Counter,
    pub(super) endpoint_changes_pending: Gauge,
    pub(super) service_changes: Counter,
    pub(super) service_changes_pending: Gauge,
    pub(super) frontends: Gauge,
    pub(super) stale_flows: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let seconds =
            |name: &str, help: &str| registry.histogram(name, help, exponential_buckets(0.001, 2.0, 15));
        Self {
            sync: seconds("kubeproxy_sync_proxy_rules_duration_seconds", "Time of a sync"),
            full_sync: seconds(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "Time of a sync that compared everything with the kernel's state",
            ),
            partial_sync: seconds(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                "Time of a sync of what changed",
            ),
            network_programming: registry.histogram(
                "kubeproxy_network_programming_duration_seconds",
                "Time from a change of a pod or Service to the rules being in force",
                // Upstream's buckets: quarters up to a second, whole seconds up to a minute, then minutes.
                [0.0, 0.25, 0.5]
                    .into_iter()
                    .chain((1..60).map(f64::from))
                    .chain((60..=300).step_by(5).map(f64::from)),
            ),
            failures: registry.counter(
                "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                "Syncs that the kernel refused",
            ),
            last_sync: registry.gauge(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the rules were last in step, in seconds since 1970",
            ),
            last_queued: registry.gauge(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change last asked for a sync, in seconds since 1970",
            ),
            endpoint_changes: registry.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "Changes of endpoints that were seen",
            ),
            endpoint_changes_pending: registry.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Changes of endpoints that wait for a sync",
            ),
            service_changes: registry.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "Changes of Services that were seen",
            ),
            service_changes_pending: registry.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Changes of Services that wait for a sync",
            ),
            frontends: registry.gauge(
                "steersman_proxy_frontends",
                "Addresses, protocols and ports on which Services are reached",
            ),
            stale_flows: registry.counter(
                "steersman_proxy_stale_flows_total",
                "UDP flows that were deleted, as they led to endpoints that went",
            ),
        }
    }

    /// Notes a sync.
    pub(super) fn synced(&self, full: bool, took: Duration) {
        let seconds = took.as_secs_f64();
        self.sync.observe(seconds);
        if full { &self.full_sync } else { &self.partial_sync }.observe(seconds);
        self.endpoint_changes_pending.set(0);
        self.service_changes_pending.set(0);
    }
}
