//! From a file to a configuration: defaults are filled in, everything is checked, nothing is left to be found out later.
//!
//! All faults are told at once, as upstream does.

use super::args::Args;
use super::duration::GoDuration;
use super::faults::Faults;
use super::file::{API_VERSION, File, KIND, LeaderElection, Plugin, PluginConfig, Profile};
use super::{Config, ProfileConfig, resolve, validate};
use crate::extender::Interests;
use crate::pod::DEFAULT_SCHEDULER;
use crate::queue::Backoff;
use component::leader::LeaderConfig;
use jiff::SignedDuration;
use serde_json::Value;

/// Upstream's number of threads that look at nodes. Ours needs one.
const PARALLELISM: i32 = 16;
/// The only lock there is.
const LOCK: &str = "leases";
/// The lease of kube-scheduler, and its namespace.
const LEASE: (&str, &str) = ("kube-scheduler", "kube-system");

impl File {
    /// What is absent gets its default.
    #[must_use]
    pub fn complete(mut self) -> Self {
        (self.api_version, self.kind) = (API_VERSION.to_owned(), KIND.to_owned());
        self.parallelism.get_or_insert(PARALLELISM);
        self.percentage_of_nodes_to_score.get_or_insert(0);
        self.pod_initial_backoff_seconds.get_or_insert(1);
        self.pod_max_backoff_seconds.get_or_insert(10);
        let election = &mut self.leader_election;
        let times = LeaderConfig::new(LEASE.0, LEASE.1, "");
        election.leader_elect.get_or_insert(true);
        election.lease_duration.get_or_insert(GoDuration(times.lease_duration));
        election.renew_deadline.get_or_insert(GoDuration(times.renew_deadline));
        election.retry_period.get_or_insert(GoDuration(times.retry_period));
        election.resource_lock.get_or_insert_with(|| LOCK.to_owned());
        election.resource_name.get_or_insert(times.name);
        election.resource_namespace.get_or_insert(times.namespace);
        if self.profiles.is_empty() {
            self.profiles.push(Profile::default());
        }
        if let [only] = self.profiles.as_mut_slice() {
            only.scheduler_name.get_or_insert_with(|| DEFAULT_SCHEDULER.to_owned());
        }
        self
    }

    /// The same with every plugin and every argument spelt out, as `--write-config-to` writes it.
    #[must_use]
    pub fn spelt_out(self) -> Self {
        let mut file = self.complete();
        for profile in &mut file.profiles {
            let plugins = profile.plugins.get_or_insert_default();
            let named = |(name, weight): &(&str, i64)| Plugin {
                name: (*name).to_owned(),
                weight: i32::try_from(*weight).ok().filter(|weight| *weight != 0),
            };
            plugins.multi_point.enabled =
                resolve::multi_point(&plugins.multi_point).iter().map(named).collect();
            let args = plugin_args(profile, "", &mut Faults::default());
            let config = |(name, args): (&str, Value)| PluginConfig { name: name.to_owned(), args };
            profile.plugin_config = args.all().into_iter().map(config).collect();
        }
        file
    }

    /// How many requests a second, and how many at once; `None`: no limit, which is also what is absent or zero means
    /// (upstream: 50 and 100).
    #[must_use]
    pub fn request_limit(&self) -> Option<(f64, u32)> {
        let qps = self.client_connection.qps.filter(|qps| *qps > 0.0)?;
        let burst = self.client_connection.burst.and_then(|burst| u32::try_from(burst).ok());
        Some((qps, burst.filter(|burst| *burst > 0).unwrap_or(1)))
    }

    /// The configuration it asks for. `identity` is what this process calls itself in an election.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn config(self, identity: &str) -> Result<Config, Faults> {
        let file = self.complete();
        let mut faults = Faults::default();
        if let Some(parallelism) = file.parallelism.filter(|threads| *threads <= 0) {
            faults.invalid("parallelism", parallelism, "should be an integer value greater than zero");
        }
        if let Some(burst) = file.client_connection.burst.filter(|burst| *burst < 0) {
            faults.invalid("clientConnection.burst", burst, "must be non-negative");
        }
        let backoff = backoff(&file, &mut faults);
        let leader = leader(&file.leader_election, identity, &mut faults);
        validate::names(&file.profiles, &mut faults);
        validate::queue_order(&file.profiles, &mut faults);
        validate::extenders(&file.extenders, &mut faults);
        let resources = file.extenders.iter().flat_map(|extender| &extender.managed_resources);
        let left_to_extenders: Vec<String> = resources
            .filter(|resource| resource.ignored_by_scheduler)
            .map(|resource| resource.name.clone())
            .collect();
        let all = "percentageOfNodesToScore";
        let percentage = validate::percentage(file.percentage_of_nodes_to_score, all, &mut faults);
        let profile = |(at, profile): (usize, &Profile)| {
            let path = format!("profiles[{at}]");
            let own = profile.percentage_of_nodes_to_score;
            let own = own.map(|own| validate::percentage(Some(own), &format!("{path}.{all}"), &mut faults));
            let mut args = plugin_args(profile, &path, &mut faults);
            args.fit.ignored_resources.extend(left_to_extenders.iter().cloned());
            let custom = profile.plugins.clone().unwrap_or_default();
            ProfileConfig {
                scheduler_name: profile.scheduler_name.clone().unwrap_or_default(),
                plugins: resolve::resolve(&custom, &format!("{path}.plugins"), &mut faults),
                percentage_of_nodes_to_score: own.unwrap_or(percentage),
                args,
            }
        };
        let profiles = file.profiles.iter().enumerate().map(profile).collect();
        let interests = Interests::of(&file.extenders);
        faults.or(Config { profiles, backoff, leader, seed: None, interests })
    }
}

fn plugin_args(profile: &Profile, path: &str, faults: &mut Faults) -> Args {
    let mut args = Args::default();
    let mut seen: Vec<&str> = Vec::new();
    for (at, config) in profile.plugin_config.iter().enumerate() {
        let path = format!("{path}.pluginConfig[{at}]");
        if seen.contains(&config.name.as_str()) {
            faults.duplicate(&path, &config.name);
        }
        seen.push(&config.name);
        if !args.set(&config.name, &config.args, &format!("{path}.args"), faults) {
            let why = "there is no plugin of that name that takes arguments";
            faults.invalid(format!("{path}.name"), format!("{:?}", config.name), why);
        }
    }
    args
}

fn backoff(file: &File, faults: &mut Faults) -> Backoff {
    let initial = file.pod_initial_backoff_seconds.unwrap_or(1);
    let max = file.pod_max_backoff_seconds.unwrap_or(10);
    if initial <= 0 {
        faults.invalid("podInitialBackoffSeconds", initial, "must be greater than 0");
    }
    if max < initial {
        faults.invalid(
            "podMaxBackoffSeconds",
            max,
            "must be greater than or equal to PodInitialBackoffSeconds",
        );
    }
    let seconds = SignedDuration::from_secs;
    Backoff { initial: seconds(initial), max: seconds(max), ..Backoff::default() }
}

fn leader(election: &LeaderElection, identity: &str, faults: &mut Faults) -> Option<LeaderConfig> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = |time: Option<GoDuration>| time.unwrap_or_default().0;
    let leader = LeaderConfig {
        name: text(&election.resource_name),
        namespace: text(&election.resource_namespace),
        identity: identity.to_owned(),
        lease_duration: time(election.lease_duration),
        renew_deadline: time(election.renew_deadline),
        retry_period: time(election.retry_period),
    };
    if election.leader_elect == Some(false) {
        return None;
    }
    validate::election(&leader, &text(&election.resource_lock), "leaderElection", faults);
    Some(leader)
}
