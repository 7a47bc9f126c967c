//! The file of `--config`: `KubeSchedulerConfiguration` of `kubescheduler.config.k8s.io/v1`, field by field.
//!
//! Promise: reads what upstream reads and refuses what it does not know, with the place in the file; what is absent
//! stays `None` here and gets its default in `complete`.

use super::ConfigError;
use super::duration::GoDuration;
use objects::views::nullable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The API version that is understood.
pub(super) const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
/// The kind that is understood.
pub(super) const KIND: &str = "KubeSchedulerConfiguration";

macro_rules! fields {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $(
                #[serde(deserialize_with = "nullable", skip_serializing_if = "is_absent")]
                $(#[$attribute])*
                pub $field: $type,
            )*
        }
    };
}

fields! {
    /// The whole file.
    File {
        /// `kubescheduler.config.k8s.io/v1`.
        api_version: String,
        /// `KubeSchedulerConfiguration`.
        kind: String,
        /// Threads that look at nodes.
        parallelism: Option<i32>,
        /// Whether and how copies take turns.
        leader_election: LeaderElection,
        /// How the API server is reached.
        client_connection: ClientConnection,
        /// Whether profiles of the process are served.
        enable_profiling: Option<bool>,
        /// Whether lock contention is profiled.
        enable_contention_profiling: Option<bool>,
        /// Percent of the nodes after which no more are looked for.
        percentage_of_nodes_to_score: Option<i32>,
        /// First back-off.
        pod_initial_backoff_seconds: Option<i64>,
        /// Longest back-off.
        pod_max_backoff_seconds: Option<i64>,
        /// One for each scheduler name.
        profiles: Vec<Profile>,
        /// HTTP services that are asked too.
        extenders: Vec<Extender>,
        /// Whether a copy that does not lead keeps no cache.
        delay_cache_until_active: bool,
    }
}

fields! {
    /// `leaderElection`.
    LeaderElection {
        /// Whether to take part.
        leader_elect: Option<bool>,
        /// How long others wait.
        lease_duration: Option<GoDuration>,
        /// How long a leader tries to renew.
        renew_deadline: Option<GoDuration>,
        /// Pause between attempts.
        retry_period: Option<GoDuration>,
        /// `leases`.
        resource_lock: Option<String>,
        /// Name of the lease.
        resource_name: Option<String>,
        /// Namespace of the lease.
        resource_namespace: Option<String>,
    }
}

fields! {
    /// `clientConnection`.
    ClientConnection {
        /// Path of the kubeconfig.
        kubeconfig: Option<String>,
        /// Media types the client takes.
        accept_content_types: Option<String>,
        /// Media type the client sends.
        content_type: Option<String>,
        /// Requests a second.
        qps: Option<f64>,
        /// Requests at once.
        burst: Option<i32>,
    }
}

fields! {
    /// One of `profiles`.
    Profile {
        /// `spec.schedulerName` of its pods.
        scheduler_name: Option<String>,
        /// In the place of the file's.
        percentage_of_nodes_to_score: Option<i32>,
        /// Which plugins.
        plugins: Option<Plugins>,
        /// Their arguments.
        plugin_config: Vec<PluginConfig>,
    }
}

fields! {
    /// `plugins`, by extension point.
    Plugins {
        /// Before a pod is queued.
        pre_enqueue: PluginSet,
        /// The order of the queue.
        queue_sort: PluginSet,
        /// Once a pod, before nodes are looked at.
        pre_filter: PluginSet,
        /// For each node.
        filter: PluginSet,
        /// When no node fits.
        post_filter: PluginSet,
        /// Once a pod, before nodes are scored.
        pre_score: PluginSet,
        /// For each node that fits.
        score: PluginSet,
        /// When a node is chosen.
        reserve: PluginSet,
        /// Before it is bound.
        permit: PluginSet,
        /// Before it is bound, with requests.
        pre_bind: PluginSet,
        /// Who binds.
        bind: PluginSet,
        /// After it is bound.
        post_bind: PluginSet,
        /// Of pod groups: candidate placements.
        placement_generate: PluginSet,
        /// Of pod groups: which placement is best.
        placement_score: PluginSet,
        /// Every extension point that the plugin has.
        multi_point: PluginSet,
    }
}

fields! {
    /// Changes to the plugins of one extension point.
    PluginSet {
        /// Added, or given another weight.
        enabled: Vec<Plugin>,
        /// Taken away; `*`: all of them.
        disabled: Vec<Plugin>,
    }
}

fields! {
    /// A plugin in a set.
    Plugin {
        /// Its name.
        name: String,
        /// What its score counts.
        weight: Option<i32>,
    }
}

fields! {
    /// Arguments of one plugin.
    PluginConfig {
        /// Its name.
        name: String,
        /// An object of kind NAMEArgs.
        args: Value,
    }
}

fields! {
    /// One of `extenders`.
    Extender {
        /// Where it is: `http://127.0.0.1:8888/scheduler`.
        url_prefix: String,
        /// Path below it that filters; none: it does not filter.
        filter_verb: String,
        /// Path below it that looks at victims.
        preempt_verb: String,
        /// Path below it that scores.
        prioritize_verb: String,
        /// What its scores count.
        weight: i64,
        /// Path below it that binds.
        bind_verb: String,
        /// HTTPS even if the URL says otherwise.
        #[serde(rename = "enableHTTPS")]
        enable_https: bool,
        /// Certificates.
        tls_config: Option<ExtenderTls>,
        /// How long an answer may take.
        http_timeout: Option<GoDuration>,
        /// It has a cache of nodes: names are enough.
        node_cache_capable: bool,
        /// It is asked only about pods that request one of these.
        managed_resources: Vec<ManagedResource>,
        /// A pod is scheduled also when it does not answer.
        ignorable: bool,
    }
}

fields! {
    /// One of `managedResources`.
    ManagedResource {
        /// Name of the extended resource.
        name: String,
        /// NodeResourcesFit leaves it to the extender.
        ignored_by_scheduler: bool,
    }
}

fields! {
    /// `tlsConfig` of an extender; `Data` is base64 of PEM.
    ExtenderTls {
        /// Take any certificate.
        insecure: bool,
        /// Name to expect in the certificate.
        server_name: String,
        /// Own certificate.
        cert_file: String,
        /// Its key.
        key_file: String,
        /// Whom to trust.
        ca_file: String,
        /// In the place of `certFile`.
        cert_data: String,
        /// In the place of `keyFile`.
        key_data: String,
        /// In the place of `caFile`.
        ca_data: String,
    }
}

/// What kind of file it is, whatever else is in it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    #[serde(deserialize_with = "nullable")]
    api_version: String,
    #[serde(deserialize_with = "nullable")]
    kind: String,
}

impl File {
    /// A file with the default profile for each of these scheduler names; for `default-scheduler` if there is none.
    ///
    /// # Errors
    ///
    /// When a name is empty or given twice.
    pub fn for_names(names: &[String]) -> Result<Self, ConfigError> {
        let mut seen = BTreeSet::new();
        for name in names {
            if name.is_empty() {
                return Err(ConfigError::EmptyName);
            }
            if !seen.insert(name) {
                return Err(ConfigError::DuplicateName(name.clone()));
            }
        }
        let profile = |name: &String| Profile { scheduler_name: Some(name.clone()), ..Profile::default() };
        Ok(Self { profiles: names.iter().map(profile).collect(), ..Self::default() })
    }

    /// The same without a filter of the default list, in every profile and whatever it says of it: upstream's does nothing
    /// while its feature gate is off.
    #[must_use]
    pub fn without_filter(mut self, name: &str) -> Self {
        if self.profiles.is_empty() {
            self.profiles.push(Profile::default());
        }
        for profile in &mut self.profiles {
            let plugins = profile.plugins.get_or_insert_default();
            for set in [&mut plugins.pre_filter, &mut plugins.filter, &mut plugins.multi_point] {
                set.enabled.retain(|plugin| plugin.name != name);
            }
            plugins.multi_point.disabled.push(Plugin { name: name.to_owned(), weight: None });
        }
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is another kind of file, or has a field that is unknown or of another type.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let wrong = |source| ConfigError::Syntax { path: path.to_owned(), source };
        let header: Header = serde_yaml_ng::from_str(&text).map_err(wrong)?;
        if (header.api_version.as_str(), header.kind.as_str()) != (API_VERSION, KIND) {
            let Header { api_version, kind } = header;
            return Err(ConfigError::Kind { path: path.to_owned(), api_version, kind });
        }
        serde_yaml_ng::from_str(&text).map_err(wrong)
    }

    /// Writes it, as `--write-config-to` does.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let text = serde_yaml_ng::to_string(self).expect("every field has a YAML form");
        std::fs::write(path, text).map_err(|source| ConfigError::Write { path: path.to_owned(), source })
    }
}

fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
