//! What the enforcement of policies counts.

use component::metrics::{Counter, Gauge, Histogram, Registry, exponential_buckets};

use super::model::{Direction, World};

/// Counters and histograms of one node.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) sync: Histogram,
    pub(super) failures: Counter,
    pub(super) last_sync: Gauge,
    pub(super) guarding: Histogram,
    policies: Gauge,
    isolated: [(Direction, Gauge); 2],
    entries: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let seconds =
            |name: &str, help: &str| registry.histogram(name, help, exponential_buckets(0.001, 2.0, 15));
        let gauge = |name: &str, help: &str| registry.gauge(name, help);
        Self {
            sync: seconds("steersman_network_policy_sync_duration_seconds", "Time of a sync with the kernel"),
            failures: registry
                .counter("steersman_network_policy_sync_failures_total", "Syncs that the kernel refused"),
            last_sync: gauge(
                "steersman_network_policy_last_sync_timestamp_seconds",
                "When the rules were last in step, in seconds since 1970",
            ),
            guarding: seconds(
                "steersman_network_policy_pod_guard_duration_seconds",
                "Time that the first container of a pod waited for the pod's policies",
            ),
            policies: gauge("steersman_network_policies", "NetworkPolicies that are known"),
            isolated: [
                (
                    Direction::Ingress,
                    gauge(
                        "steersman_network_policy_ingress_isolated_addresses",
                        "Addresses of this node's pods that not everybody may reach",
                    ),
                ),
                (
                    Direction::Egress,
                    gauge(
                        "steersman_network_policy_egress_isolated_addresses",
                        "Addresses of this node's pods that may not reach everybody",
                    ),
                ),
            ],
            entries: gauge(
                "steersman_network_policy_entries",
                "Members of groups, blocks and ports that rules look up",
            ),
        }
    }

    /// Notes how much is in force.
    pub(super) fn note(&self, world: &World) {
        self.policies.set(world.policies() as i64);
        for (direction, gauge) in &self.isolated {
            let isolated = world.plane.isolated.keys().filter(|(of, _)| of == direction).count();
            gauge.set(isolated as i64);
        }
        self.entries.set(world.plane.entries.len() as i64);
    }
}
