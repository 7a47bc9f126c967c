//! What the controllers are told: which of them run, how many passes at once, and their periods.
//!
//! Names and defaults are kube-controller-manager's flags.

use std::time::Duration;

use component::leader::LeaderConfig;

use crate::node_lifecycle::Rates;

/// The controllers' configuration. The default is upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--controllers`: names, `-name` to leave one out, `*` for all that are on by default.
    pub controllers: Vec<String>,
    /// Who may lead; none: this process does, without asking.
    pub leader: Option<LeaderConfig>,
    /// `--concurrent-deployment-syncs`.
    pub concurrent_deployment_syncs: usize,
    /// `--concurrent-replicaset-syncs`.
    pub concurrent_replicaset_syncs: usize,
    /// `--concurrent-service-endpoint-syncs`: EndpointSlices of Services.
    pub concurrent_endpoint_syncs: usize,
    /// `--concurrent-namespace-syncs`.
    pub concurrent_namespace_syncs: usize,
    /// `--concurrent-serviceaccount-token-syncs` upstream; here also for service accounts and root certificates.
    pub concurrent_account_syncs: usize,
    /// `--concurrent-gc-syncs`.
    pub concurrent_gc_syncs: usize,
    /// `--max-endpoints-per-slice`.
    pub max_endpoints_per_slice: usize,
    /// `--terminated-pod-gc-threshold`: finished pods that may stay; 0 lets all stay.
    pub terminated_pod_threshold: usize,
    /// `--node-monitor-period`.
    pub node_monitor_period: Duration,
    /// `--node-monitor-grace-period`.
    pub node_grace_period: Duration,
    /// `--node-startup-grace-period`.
    pub node_startup_grace_period: Duration,
    /// `--node-eviction-rate` and its companions.
    pub rates: Rates,
    /// The content of `--root-ca-file`, published as `kube-root-ca.crt`; nothing is published without it.
    pub root_ca: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            leader: None,
            concurrent_deployment_syncs: 5,
            concurrent_replicaset_syncs: 5,
            concurrent_endpoint_syncs: 5,
            concurrent_namespace_syncs: 10,
            concurrent_account_syncs: 5,
            concurrent_gc_syncs: 20,
            max_endpoints_per_slice: 100,
            terminated_pod_threshold: 12_500,
            node_monitor_period: Duration::from_secs(5),
            node_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            rates: Rates::default(),
            root_ca: None,
        }
    }
}
